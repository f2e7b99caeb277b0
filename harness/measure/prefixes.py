"""Beginnings that rows have in common: token rows -> groups that share a prefix.

The questions on one table all start with its name and columns, half of a prompt and more. What
a causal model computes for those positions is the same in each row, so it is computed once a
group and copied. Found by tokens alone, so it needs to know nothing of tables or prompt styles,
and finds nothing where nothing is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MIN_SHARED = 16
"""Tokens in common below which a second pass over the group costs more than it saves."""


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """Rows that start with the same ``length`` tokens; a row that shares nothing has 0."""

    length: int
    rows: tuple[int, ...]


def shared_prefixes(rows: Sequence[Sequence[int]], minimum: int = MIN_SHARED) -> list[SharedPrefix]:
    """Partition ``rows`` into groups with a common prefix, at least one token of each row apart.

    Neighbours in lexicographic order join as long as the positions saved grow: a group of k rows
    saves k - 1 times its prefix.

    Returns:
        Every row in exactly one group, groups by their longest row first, rows of a group by
        length, longest first; equals keep input order.
    """
    order = sorted(range(len(rows)), key=lambda row: tuple(rows[row]))
    groups: list[SharedPrefix] = []
    members: list[int] = []
    length = 0
    for row in order:
        joined = min(length, _common(rows[members[-1]], rows[row])) if members else 0
        joined = min(joined, len(rows[row]) - 1)
        saved = (len(members) - 1) * length
        if members and joined >= minimum and len(members) * joined > saved:
            members.append(row)
            length = joined
        else:
            if members:
                groups.append(_group(rows, members, length))
            members, length = [row], len(rows[row]) - 1
    if members:
        groups.append(_group(rows, members, length))
    return sorted(groups, key=lambda group: (-len(rows[group.rows[0]]), min(group.rows)))


def prefix_batches(rows: Sequence[Sequence[int]], batch_size: int) -> list[list[int]]:
    """Positions of ``rows`` in batches from length order, rows with a common prefix side by side.

    Raises:
        ValueError: ``batch_size`` is below one.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    order = [row for group in shared_prefixes(rows) for row in group.rows]
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _group(rows: Sequence[Sequence[int]], members: list[int], length: int) -> SharedPrefix:
    ordered = tuple(sorted(members, key=lambda row: (-len(rows[row]), row)))
    return SharedPrefix(length if len(members) > 1 else 0, ordered)


def _common(one: Sequence[int], two: Sequence[int]) -> int:
    """How many tokens the two start with in common."""
    for position, (left, right) in enumerate(zip(one, two, strict=False)):
        if left != right:
            return position
    return min(len(one), len(two))
