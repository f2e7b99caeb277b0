"""Whether two queries are the same but for spelling: two typed queries + column kinds -> bool.

A prediction that is gold in another order or spelling needs no run. Only WikiSQL-shaped queries
are told to be the same; False says nothing about others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.sql.query import And, Comparison, Query
from harness.sql.run.batch import literal


def same_query(left: Query, right: Query, kinds: Sequence[str]) -> bool:
    """Whether two WikiSQL-shaped queries are the same but for order, repetition and spelling."""
    if left.select != right.select or len(left.select) != 1:
        return False
    if left.distinct or left.group_by or left.order_by or left.limit is not None:
        return False
    first, second = _typed_conditions(left, kinds), _typed_conditions(right, kinds)
    return first is not None and first == second


def _typed_conditions(query: Query, kinds: Sequence[str]) -> set[Any] | None:
    parts = query.where.parts if isinstance(query.where, And) else (query.where,)
    found = set()
    for part in parts:
        if part is None:
            continue
        if not isinstance(part, Comparison):
            return None
        found.add((part.column, part.operator, literal(part.value, kinds[part.column])))
    return found
