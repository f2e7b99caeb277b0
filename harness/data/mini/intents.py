"""Logical forms on a table: (table, aggregate, operators) -> gold query with a real answer.

A query starts from a row that it must find, so that it has a result; aggregates look for two rows
or more. With ``hopeless`` one value is exchanged so that nothing matches, as about one in twenty of
WikiSQL's own gold queries do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.data.mini.rng import Rng
from harness.data.mini.tables import BLANKS, BuiltTable
from harness.data.records import Cell, Condition, LogicalForm, Table

COUNT = 3
_TRIES = 60


@dataclass(frozen=True, slots=True)
class Plan:
    """What one example should be: its aggregate and one operator a condition."""

    agg: int
    operators: tuple[int, ...]
    hopeless: bool = False


def matching_rows(table: Table, conds: Sequence[Condition]) -> list[tuple[Cell, ...]]:
    """The rows that satisfy all ``conds``: text by lower case, numbers by value."""
    return [row for row in table.rows if all(_holds(row[c.column], c) for c in conds)]


def is_degenerate(table: Table, gold: LogicalForm) -> bool:
    """Whether no row matches or every cell of the result is NULL."""
    return all(row[gold.sel] is None for row in matching_rows(table, gold.conds))


def make(rng: Rng, built: BuiltTable, plan: Plan) -> LogicalForm | None:
    """A query on ``built`` as ``plan`` asks, or None where the table cannot have one."""
    for attempt in range(_TRIES):
        gold = _attempt(rng, built, plan)
        if gold is None:
            continue
        matches = len(matching_rows(built.table, gold.conds))
        # Aggregating one row is the same as selecting it: look for more, then settle for one.
        if plan.agg not in (0, COUNT) and matches < 2 and attempt < _TRIES // 2:
            continue
        if not plan.hopeless and (matches == 0 or is_degenerate(built.table, gold)):
            continue
        if plan.hopeless and matches:
            continue
        return gold
    return None


def _attempt(rng: Rng, built: BuiltTable, plan: Plan) -> LogicalForm | None:
    sel = _selected(rng, built, plan.agg)
    if sel is None:
        return None
    row = rng.choice(built.table.rows)
    used = {sel}
    conds: list[Condition] = []
    for operator in plan.operators:
        column = _condition_column(rng, built, plan, operator, used)
        if column is None or row[column] in BLANKS:
            return None
        used.add(column)
        source = rng.choice(built.table.rows) if plan.hopeless else row
        value = _value(rng, built.table, column, operator, source[column])
        if plan.hopeless and len(plan.operators) == 1:
            value = _absent(value, operator)
        if value is None or value in BLANKS:
            return None
        conds.append(Condition(column, operator, value))
    if rng.chance(0.6):
        conds.sort()
    return LogicalForm(sel, plan.agg, tuple(conds))


def _selected(rng: Rng, built: BuiltTable, agg: int) -> int | None:
    columns = built.columns
    if agg in (0, COUNT):
        weights = [1.0 if c.values.kind == "text" else 0.6 for c in columns]
    else:
        weights = [
            0.0 if c.values.kind == "text" else 0.35 if c.scale in ("rank", "year") else 1.0
            for c in columns
        ]
    return _weighted(rng, weights)


def _condition_column(
    rng: Rng, built: BuiltTable, plan: Plan, operator: int, used: set[int]
) -> int | None:
    weights = []
    for index, column in enumerate(built.columns):
        real = column.values.kind == "real"
        if index in used or (operator != 0 and not real):
            weights.append(0.0)
        elif column.role == "key":
            weights.append(2.2 if plan.agg == 0 else 1.0)
        else:
            weights.append(0.6 if real and operator == 0 else 1.0)
    return _weighted(rng, weights)


def _weighted(rng: Rng, weights: Sequence[float]) -> int | None:
    total = sum(weights)
    if total == 0:
        return None
    mark = rng.below(10_000) / 10_000 * total
    for index, weight in enumerate(weights):
        mark -= weight
        if mark < 0:
            return index
    return None


def _value(
    rng: Rng, table: Table, column: int, operator: int, cell: Cell
) -> str | float | int | None:
    if operator == 0 or isinstance(cell, str) or cell is None:
        return cell
    beyond = [
        other
        for other in (row[column] for row in table.rows)
        if isinstance(other, int | float) and (other < cell if operator == 1 else other > cell)
    ]
    if beyond and rng.chance(0.8):
        return rng.choice(beyond)
    step = 1 if abs(cell) < 100 else 5 if abs(cell) < 5000 else 100
    return round(cell - step if operator == 1 else cell + step, 3)


def _absent(value: Cell, operator: int) -> Cell:
    """A value near ``value`` that the column may lack: a name cut short, a number beyond."""
    if isinstance(value, str):
        return value.rsplit(" ", 1)[-1] if " " in value else value[:-1]
    if value is None:
        return None
    return value + 7 if operator == 0 else value * 9 + 50 if operator == 1 else 0


def _holds(cell: Cell, cond: Condition) -> bool:
    if cell is None:
        return False
    if isinstance(cell, str) or isinstance(cond.value, str):
        return cond.operator == 0 and str(cell).lower() == str(cond.value).lower()
    if cond.operator == 0:
        return cell == cond.value
    return cell > cond.value if cond.operator == 1 else cell < cond.value
