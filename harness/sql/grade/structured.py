"""Checking a structured prediction: any JSON value -> logical form of the table, or a failure."""

from __future__ import annotations

from typing import Any

from harness.data.records import AGGREGATIONS, OPERATORS, Condition, LogicalForm, Table
from harness.sql.failures import Failure

_MAX_CONDITIONS = 100


def read_structured(query: Any, table: Table) -> LogicalForm | Failure:
    """The logical form that ``query`` is, or a failure of kind ``malformed_query``.

    Stricter than the official evaluator, which takes Python's negative indices and booleans;
    its own verdict on such a query is official.py's.
    """
    if not isinstance(query, dict):
        return _malformed(f"expected an object, got {query!r:.60}")
    sel, agg, conds = query.get("sel"), query.get("agg"), query.get("conds")
    width = len(table.header)
    if not _index(sel, width):
        return _malformed(f"sel must be a column 0..{width - 1}, got {sel!r:.60}")
    if not _index(agg, len(AGGREGATIONS)):
        return _malformed(f"agg must be 0..{len(AGGREGATIONS) - 1}, got {agg!r:.60}")
    if not isinstance(conds, list) or len(conds) > _MAX_CONDITIONS:
        return _malformed(f"conds must be a list, got {conds!r:.60}")
    found = []
    for cond in conds:
        if not isinstance(cond, list) or len(cond) != 3:
            return _malformed(f"a condition is [column, operator, value], got {cond!r:.60}")
        column, operator, value = cond
        if not _index(column, width):
            return _malformed(f"condition column must be 0..{width - 1}, got {column!r:.60}")
        if not _index(operator, len(OPERATORS)):
            return _malformed(f"operator must be 0..{len(OPERATORS) - 1}, got {operator!r:.60}")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return _malformed(f"value must be a text or a number, got {value!r:.60}")
        found.append(Condition(column, operator, value))
    return LogicalForm(sel, agg, tuple(found))  # type: ignore[arg-type]


def _index(value: Any, size: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size


def _malformed(detail: str) -> Failure:
    return Failure("malformed_query", detail)
