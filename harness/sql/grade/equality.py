"""Whether two results are equal, and whether two queries are the same but for spelling.

Rows of typed values (case-folded text, numbers, None) x 2 -> bool. Results are multisets of rows:
order does not count, repetition and the order of columns do; nothing is broadcast. Numbers
agree within 1e-6 relative or 1e-9 absolute; a number never equals a text (DESIGN of the project,
"Execution"). Two typed queries + how the columns are stored -> bool: a prediction that is gold in
another order or spelling need not run. Only queries of WikiSQL's shape are recognised as the same;
False means nothing for others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.sql.query import Item, Query, wikisql_shape
from harness.sql.run.batch import literal
from harness.sql.values import Storage

RELATIVE = 1e-6
ABSOLUTE = 1e-9
_MATCHED_ROWS = 300

Row = Sequence[Any]


def equal_results(left: Sequence[Row], right: Sequence[Row]) -> bool:
    """Whether both hold the same rows, each as often."""
    if len(left) != len(right):
        return False
    if not left:
        return True
    if any(len(row) != len(left[0]) for row in (*left, *right)):
        return False
    first, second = sorted(left, key=_key), sorted(right, key=_key)
    if all(equal_rows(a, b) for a, b in zip(first, second, strict=True)):
        return True
    # With several columns, numbers that differ in the last digits can sort differently.
    return len(left[0]) > 1 and len(left) <= _MATCHED_ROWS and _match(first, second)


def equal_rows(left: Row, right: Row) -> bool:
    """Whether two rows agree value by value."""
    return len(left) == len(right) and all(map(equal_values, left, right))


def equal_values(left: Any, right: Any) -> bool:
    """Whether two values agree; NULL agrees with NULL."""
    if left is None or right is None:
        return left is right
    if isinstance(left, str) or isinstance(right, str):
        return isinstance(left, str) and isinstance(right, str) and left.lower() == right.lower()
    return bool(left == right) or math.isclose(left, right, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _key(row: Row) -> list[tuple[int, Any]]:
    return [
        (0, 0) if value is None else (2, value.lower()) if isinstance(value, str) else (1, value)
        for value in row
    ]


def _match(left: Sequence[Row], right: Sequence[Row]) -> bool:
    """Whether a perfect matching of equal rows exists."""
    from scipy.sparse import csr_array  # slow to import
    from scipy.sparse.csgraph import maximum_bipartite_matching

    equal = csr_array([[equal_rows(one, other) for other in right] for one in left])
    return bool((maximum_bipartite_matching(equal) >= 0).all())


def same_query(left: Query, right: Query, storage: Sequence[Storage]) -> bool:
    """Whether two WikiSQL-shaped queries are the same but for order, repetition and spelling."""
    first, second = (_typed_shape(query, storage) for query in (left, right))
    return first is not None and first == second


def _typed_shape(query: Query, storage: Sequence[Storage]) -> tuple[Item, set[Any]] | None:
    shape = wikisql_shape(query)
    if shape is None:
        return None
    item, parts = shape
    return item, {(p.column, p.operator, literal(p.value, storage[p.column])) for p in parts}
