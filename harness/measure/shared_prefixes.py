"""Beginnings that rows have in common: token rows -> a plan that runs each of them once.

The questions on one table all start with its name and columns, half of a prompt and more. What
a causal model computes for those positions is the same in each row, so it is computed once a
group and copied. Found by tokens alone: nothing here knows of tables or prompt styles, and where
nothing is shared the plan is plain batches in length order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MIN_SHARED = 16
"""Tokens in common below which a second pass over the group costs more than it saves."""

WINDOW_BATCHES = 4
"""Batches cut from one set of prefixes: enough rows for their rests to be of like length."""

Rows = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """Rows that start with the same ``length`` tokens; a row that shares nothing has 0."""

    length: int
    rows: tuple[int, ...]


class Start(NamedTuple):
    """Where a row's rest begins: after ``length`` tokens of the window's prefix ``place``."""

    place: int
    length: int


@dataclass(frozen=True, slots=True)
class Window:
    """Rows computed together: prefixes in one pass, then the rests in batches of like length.

    ``prefixes`` are (row, length): the first ``length`` tokens of ``row``; empty where one pass
    over whole rows is less work. ``starts`` is by row.
    """

    prefixes: tuple[tuple[int, int], ...]
    starts: dict[int, Start]
    batches: tuple[tuple[int, ...], ...]


def shared_prefixes(rows: Rows, minimum: int = MIN_SHARED) -> list[SharedPrefix]:
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


def plan(rows: Rows, batch_size: int, window_batches: int = WINDOW_BATCHES) -> list[Window]:
    """Windows over ``rows``, longest groups first, every row in exactly one batch.

    Depends on the rows alone, so that equal prompts are always computed in equal company.

    Raises:
        ValueError: ``batch_size`` is below one.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    order = [row for group in shared_prefixes(rows) for row in group.rows]
    size = batch_size * window_batches
    return [
        _window(rows, order[start : start + size], batch_size)
        for start in range(0, len(order), size)
    ]


def _window(rows: Rows, chosen: list[int], batch_size: int) -> Window:
    groups = shared_prefixes([rows[row] for row in chosen])
    longest = max(group.length for group in groups)
    prefixes, starts = [], {}
    for place, group in enumerate(groups):
        members = [chosen[row] for row in group.rows]
        # A row that shares nothing sends as much of itself ahead as the others do: its rest
        # would otherwise be the longest of its batch, and pad all of it.
        length = group.length or max(0, min(longest, len(rows[members[0]]) - 1))
        prefixes.append((members[0], length))
        starts.update({row: Start(place, length) for row in members})
    shared = _batches({row: len(rows[row]) - starts[row].length for row in chosen}, batch_size)
    plain = _batches({row: len(rows[row]) for row in chosen}, batch_size)
    work = len(prefixes) * max(length for _, length in prefixes) + sum(
        len(batch) * max(len(rows[row]) - starts[row].length for row in batch) for batch in shared
    )
    if longest == 0 or work >= sum(len(b) * max(len(rows[row]) for row in b) for b in plain):
        return Window((), {row: Start(0, 0) for row in chosen}, plain)
    return Window(tuple(prefixes), starts, shared)


def _batches(lengths: dict[int, int], batch_size: int) -> tuple[tuple[int, ...], ...]:
    order = sorted(lengths, key=lambda row: (-lengths[row], row))
    return tuple(
        tuple(order[start : start + batch_size]) for start in range(0, len(order), batch_size)
    )


def _group(rows: Rows, members: list[int], length: int) -> SharedPrefix:
    ordered = tuple(sorted(members, key=lambda row: (-len(rows[row]), row)))
    return SharedPrefix(length if len(members) > 1 else 0, ordered)


def _common(one: Sequence[int], two: Sequence[int]) -> int:
    """How many tokens the two start with in common."""
    for position, (left, right) in enumerate(zip(one, two, strict=False)):
        if left != right:
            return position
    return min(len(one), len(two))
