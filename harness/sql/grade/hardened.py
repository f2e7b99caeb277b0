"""Test-suite accuracy: gold and prediction must agree on perturbed copies of their table too.

Queries that agree on the original table -> a :class:`Verdict` on each. The definition:

- :class:`harness.sql.grade.perturb.Copies` makes copy number 0..K-1 of the table, seeded by table
  and gold; some of their rows are about the values that the prediction names.
- Gold and the prediction run on each copy; their results are compared by ``equal_results``
  (equality.py), as on the original table.
- The prediction fails when the results differ on a copy, and passes when they are equal on every
  copy that proves something. A copy on which gold is degenerate, or on which one of both is not run
  for want of time or memory, proves nothing; where none does, there is no verdict.

After the distilled test suites of Zhong, Yu and Klein 2020 (arXiv:2010.02840).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.data.records import (
    AGGREGATIONS,
    OPERATORS,
    Condition,
    Gold,
    LogicalForm,
    wikisql_form,
)
from harness.progress import ProgressCallback, silent
from harness.schema.execution import Counterexample
from harness.sql.grade.counterexample import smallest
from harness.sql.grade.given_tables import Given, Passed, run_on_given, used_columns
from harness.sql.grade.perturb import Copies, Literal
from harness.sql.query import (
    And,
    Between,
    Comparison,
    In,
    IsNull,
    Like,
    Or,
    Where,
    gold_query,
    leaves,
)
from harness.sql.run.database import cell_value
from harness.sql.run.executor import Executor

_EXAMPLES_PER_STATEMENT = 100
_FIRST = 1
_NEAREST = {"=": 0, ">": 1, ">=": 1, "<": 2, "<=": 2}
"""WikiSQL's operator whose near misses also tell each operator from its neighbours."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``holds`` is None where no copy proved anything; ``counterexample`` is the smallest table on
    which gold and the prediction part."""

    holds: bool | None
    counterexample: Counterexample | None = None


def hold_on_copies(
    executor: Executor, passes: Sequence[Passed], copies: int, progress: ProgressCallback = silent
) -> list[Verdict]:
    """For each prediction whether it agrees with gold on ``copies`` copies of its table."""
    parting: dict[int, Given] = {}
    proved: set[int] = set()
    stopped: set[int] = set()
    # Most wrong queries fail on the first copies, so few need the others.
    for numbers in (range(min(_FIRST, copies)), range(_FIRST, copies)):
        done = parting.keys() | stopped
        left = [index for index in range(len(passes)) if index not in done] if numbers else []
        for start in range(0, len(left), _EXAMPLES_PER_STATEMENT):
            part = left[start : start + _EXAMPLES_PER_STATEMENT]
            given = [_copied(executor, passes[index], numbers) for index in part]
            results = run_on_given(executor, given)
            for index, one, found in zip(part, given, results, strict=True):
                if (place := found.parting()) is not None:
                    parting[index] = replace(one, tables=[one.tables[place]])
                if found.proves():
                    proved.add(index)
                if found.stopped():
                    stopped.add(index)
            progress("perturbed tables", start + len(part), len(left))
    kept = dict(zip(parting, smallest(executor, list(parting.values())), strict=True))
    return [
        Verdict(False, kept[index]) if index in kept else Verdict(True if index in proved else None)
        for index in range(len(passes))
    ]


def _copied(executor: Executor, passed: Passed, numbers: Sequence[int]) -> Given:
    table = executor.tables[passed.table]
    used = used_columns(passed, len(table.header))
    outline = _outline(passed.example.gold)
    gold = passed.example.gold
    keys = gold_query(gold).group_by if wikisql_form(gold) is None else None
    maker = Copies(table, outline, _asked(passed, outline, table.types), keys)
    tables = [list(zip(*maker.columns(copy, used), strict=True)) for copy in numbers]
    return Given(passed, used, tables)


def _outline(gold: Gold) -> LogicalForm:
    """WikiSQL's form of gold, or the one whose copies tell gold from its neighbours too.

    That has the first key of an ORDER BY as a MAX or MIN, else the first aggregate or column; of
    an OR the first part, of an IN the first value, of a BETWEEN both ends; nothing that says what a
    value is not.
    """
    if (form := wikisql_form(gold)) is not None:
        return form
    query = gold_query(gold)
    keys = [order.item for order in query.order_by]
    items = [*keys, *sorted(query.select, key=lambda item: not item.aggregate)]
    item = next((item for item in items if item.column is not None), items[0])
    aggregate = item.aggregate
    if query.order_by and not aggregate:
        aggregate = "MAX" if query.order_by[0].descending else "MIN"
    conditions = [
        Condition(column, _NEAREST[operator], value)
        for leaf in _first(query.where)
        for column, operator, value in _named(leaf)[: 1 if isinstance(leaf, In) else None]
        if value is not None
    ]
    return LogicalForm(item.column or 0, AGGREGATIONS.index(aggregate), tuple(conditions))


def _first(where: Where | None) -> list[Where]:
    """The comparisons of a condition, of an OR those of its first part."""
    match where:
        case None:
            return []
        case And(parts):
            return [leaf for part in parts for leaf in _first(part)]
        case Or(parts):
            return _first(parts[0])
        case Comparison(_, "<>") | In(_, _, True) | Like(_, _, True) | Between(_, _, _, True):
            return []
        case _:
            return [where]


def _named(leaf: Where) -> list[tuple[int, str, str | None]]:
    """The values that a comparison names: (column, operator, value), None for NULL."""
    match leaf:
        case Comparison(column, operator, value):
            return [(column, operator, value)]
        case In(column, values):
            return [(column, "=", value) for value in values]
        case Between(column, low, high):
            return [(column, ">=", low), (column, "<=", high)]
        case Like(column, pattern):
            return [(column, "=", pattern.strip("%"))]
        case IsNull(column):
            return [(column, "=", None)]
        case _:
            return []


def _asked(passed: Passed, outline: LogicalForm, types: Sequence[str]) -> list[Literal]:
    """The values that the prediction's conditions name and gold's do not, with their columns; and
    those of gold that its ``outline`` leaves out.

    Values are the same as they compare in a column: in any case, and 3 is 3.0.
    """

    def condition(column: int, operator: str, value: object) -> tuple[int, str, str | None]:
        return column, operator, cell_value(str(value), types[column]).text

    known = {condition(c.column, OPERATORS[c.operator], c.value) for c in outline.conds}
    own = passed.example.gold
    queries = (passed.query,) if outline is wikisql_form(own) else passed.queries
    return [
        (column, value)
        for query in queries
        for leaf in leaves(query.where)
        for column, operator, value in _named(leaf)
        if value is None or condition(column, operator, value) not in known
    ]
