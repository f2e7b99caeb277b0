"""WikiSQL's official evaluator, decision for decision.

Structured query + table -> the result list that lib/dbengine.py of github.com/salesforce/WikiSQL
would get from SQLite, and the two verdicts of its evaluate.py (execution and logical form).
Rows are filtered here in Python, which on tables of a dozen rows is ten times faster than
planning a statement; SUM and AVG are left to SQLite, whose rounding depends on its version.
Queries that the official evaluator would splice into SQL as raw strings (a ``sel`` that is not an
index) are not covered; they are wrong answers.

These oddities are kept, because the official numbers contain them: condition values are bound by
column, so a second value for a column replaces the first; indices are Python's, so ``agg`` -1 is
AVG; a text in a real column sorts above every number; empty equals empty.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from harness.data.records import AGGREGATIONS, LogicalForm, Table
from harness.sql.values import Stored, affine_real, affine_text, official_number

Result = list[Any]

_OPERATORS = ("=", ">", "<", "OP")
_INT64 = 2**63
_DIGITS = 9
"""More than any column's number has."""


class EvaluationError(Exception):
    """The official evaluator would have raised an error: the prediction is wrong."""


class OfficialEvaluator:
    """Executes queries with the official semantics; keeps each table as SQLite stores it."""

    def __init__(self) -> None:
        self._sqlite = sqlite3.connect(":memory:", check_same_thread=False)
        self._sqlite.execute("CREATE TEMP TABLE v (x)")
        self._stored: dict[int, tuple[Table, list[list[Stored] | None]]] = {}

    def execute(self, table: Table, query: Any) -> Result:
        """The result list of ``query`` (a LogicalForm or any JSON value).

        Raises:
            EvaluationError: the official evaluator would have raised an error.
        """
        sel, agg, conds = _parts(query)
        select = _column(sel, table, "selection")
        aggregate = _indexed(AGGREGATIONS, agg)
        tests = self._tests(table, conds)
        rows: Sequence[int] = range(len(table.rows))
        for column, operator, value in tests:
            if not rows:
                break
            # A test that no value passes is also how SQLite treats a comparison with NULL.
            passes = _comparison(operator, value, table.types[column] == "real")
            cells = self._column(table, column)
            rows = [row for row in rows if passes(cells[row])]
        cells = self._column(table, select)
        return self._aggregate(aggregate, [cells[row] for row in rows])

    def _tests(self, table: Table, conds: Any) -> list[tuple[int, str, Any]]:
        tests: list[tuple[int, str]] = []
        bound: dict[int, Any] = {}
        for cond in conds:
            if not isinstance(cond, tuple | list) or len(cond) != 3:
                raise EvaluationError("a condition is [column, operator, value]")
            column = _column(cond[0], table, "condition")
            operator = _indexed(_OPERATORS, cond[1])
            if operator == "OP":
                raise EvaluationError("operator 3 is a syntax error")
            bound[column] = _converted(cond[2], table.types[column] == "real")
            tests.append((column, operator))
        # Only the last value for a column is bound, so only that one must be bindable.
        values = {
            column: self._parameter(value, table.types[column] == "real")
            for column, value in bound.items()
        }
        return [(column, operator, values[column]) for column, operator in tests]

    def _parameter(self, value: Any, real: bool) -> Stored:
        """The bound parameter: text or None for a text column, number or None for a real one."""
        if isinstance(value, str):
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                raise EvaluationError("the value is not valid Unicode") from error
            return value
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if not isinstance(value, int | float):
            raise EvaluationError(f"SQLite cannot bind {type(value).__name__}")
        if isinstance(value, int) and not -_INT64 <= value < _INT64:
            raise EvaluationError("the integer is too large for SQLite")
        return value if real else affine_text(value, self._sqlite)

    def _column(self, table: Table, index: int) -> list[Stored]:
        entry = self._stored.setdefault(id(table), (table, [None] * len(table.header)))
        column = entry[1][index]
        if column is None:
            stored = affine_real if table.types[index] == "real" else affine_text
            column = [stored(row[index], self._sqlite) for row in table.rows]
            entry[1][index] = column
        return column

    def _aggregate(self, name: str, values: list[Stored]) -> Result:
        if not name:
            return values
        present = [value for value in values if value is not None]
        if name == "COUNT":
            return [len(present)]
        if not present:
            return [None]
        texts = [value for value in present if isinstance(value, str)]
        numbers = [value for value in present if not isinstance(value, str)]
        if name == "MAX":
            return [max(texts) if texts else max(numbers)]
        if name == "MIN":
            return [min(numbers) if numbers else min(texts)]
        return [self._sqlite_aggregate(name, present)]

    def _sqlite_aggregate(self, name: str, values: Sequence[Stored]) -> Any:
        self._sqlite.execute("DELETE FROM v")
        self._sqlite.executemany("INSERT INTO v VALUES (?)", [(value,) for value in values])
        try:
            return self._sqlite.execute(f"SELECT {name}(x) FROM v").fetchone()[0]
        except sqlite3.Error as error:
            raise EvaluationError(str(error)) from error


def same_to_the_evaluator(query: LogicalForm, gold: LogicalForm) -> bool:
    """Whether ``query`` differs from gold only in what cannot change a result: the case of values,
    and a small integer written as text. Most right answers then need not be executed."""
    if query.sel != gold.sel or query.agg != gold.agg or len(query.conds) != len(gold.conds):
        return False
    for left, right in zip(query.conds, gold.conds, strict=True):
        first, second = _spelling(left.value), _spelling(right.value)
        if left[:2] != right[:2] or first is None or first != second:
            return False
    return True


def _spelling(value: str | float | int) -> str | None:
    if type(value) is int and abs(value) < 2**53:
        return str(value)
    return value.lower() if type(value) is str else None


def logical_form_match(query: Any, gold: LogicalForm) -> bool:
    """The official logical-form verdict: sets of (column, operator, lower-cased value)."""
    try:
        sel, agg, conds = _parts(query)
        found = {(column, operator, str(value).lower()) for column, operator, value in conds}
    except (EvaluationError, TypeError, ValueError, RecursionError):
        return False
    wanted = {(column, operator, str(value).lower()) for column, operator, value in gold.conds}
    return bool(sel == gold.sel and agg == gold.agg and found == wanted)


def _parts(query: Any) -> tuple[Any, Any, list[Any]]:
    if isinstance(query, LogicalForm):
        return query.sel, query.agg, list(query.conds)
    if not isinstance(query, dict):
        raise EvaluationError("the query is not an object")
    missing = [key for key in ("sel", "agg", "conds") if key not in query]
    if missing:
        raise EvaluationError(f"the query has no {missing[0]!r}")
    try:
        return query["sel"], query["agg"], list(query["conds"])
    except TypeError as error:
        raise EvaluationError("conds is not a list") from error


def _column(index: Any, table: Table, where: str) -> int:
    # The official code formats "col{index}": True and 3.0 name no column, "3" does.
    if isinstance(index, str) and index.isascii() and index.isdigit() and len(index) <= _DIGITS:
        index = int(index) if str(int(index)) == index else index
    if isinstance(index, bool) or not isinstance(index, int):
        raise EvaluationError(f"{index!r:.60} is no column index")
    if not 0 <= index < len(table.header):
        raise EvaluationError(f"{where} column {index} of {len(table.header)}")
    return index


def _indexed(names: tuple[str, ...], index: Any) -> str:
    if not isinstance(index, int) or not -len(names) <= index < len(names):
        raise EvaluationError(f"{index!r:.60} is no index into {names}")
    return names[index]


def _converted(value: Any, real: bool) -> Any:
    """A condition's value as the official code hands it to SQLite."""
    if isinstance(value, str):
        value = value.lower()
    if real and not isinstance(value, int | float):
        try:
            value = official_number(value)
        except (IndexError, ValueError, AttributeError, OverflowError) as error:
            raise EvaluationError(f"no number in {value!r:.60}") from error
    return value


def _comparison(operator: str, value: Any, real: bool) -> Callable[[Stored], bool]:
    if value is None:
        return lambda cell: False
    if operator == "=":
        return lambda cell: cell == value
    # In a real column a text sorts above every number.
    above = str if real else ()
    if operator == ">":
        return lambda cell: cell is not None and (isinstance(cell, above) or cell > value)
    return lambda cell: cell is not None and not isinstance(cell, above) and cell < value
