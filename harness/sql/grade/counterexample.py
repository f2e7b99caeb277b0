"""The smallest table on which an answer that is right by luck parts from gold.

Gold and answer, and a perturbed copy on which their results differ -> a few of its rows, from which
none can be left out, and what both return on them. One row is tried first, then pairs, then rows
are taken away in ever smaller parts (delta debugging; Zeller and Hildebrandt 2002), many answers in
one statement.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.schema.execution import Counterexample
from harness.sql.failures import Failure
from harness.sql.grade.given_tables import Given, Results, Row, run_on_given
from harness.sql.run.batch import Rows
from harness.sql.run.executor import Executor

_ALONE = 10
"""Rows tried alone and in pairs: the last, which were added to tell queries apart (perturb.py)."""

_PAIRED = 3
"""Rows of either kind of which pairs are tried."""


@dataclass(slots=True)
class _Search:
    """One answer's table so far, and how many rows are taken away at once; 0 when it is done."""

    given: Given
    rows: Sequence[Row]
    size: int
    results: tuple[Rows | Failure, Rows | Failure] | None = None
    """Gold's and the answer's on ``rows``, once they are known."""

    def fewer(self) -> list[Sequence[Row]]:
        """The table without each part of ``size`` rows."""
        starts = range(0, len(self.rows), self.size) if self.size else ()
        return [[*self.rows[:at], *self.rows[at + self.size :]] for at in starts]

    def narrow(self, tables: Sequence[Sequence[Row]], found: Results) -> bool:
        """Go on with a table that parts too, if there is one."""
        place = found.parting()
        if place is not None:
            self.rows = tables[place]
            self.results = found.gold[place], found.own[place]
        return place is not None


def smallest(executor: Executor, parting: Sequence[Given]) -> list[Counterexample | None]:
    """The counterexample of each answer, whose only table is the copy on which it parts; None for
    one that does not part there again, as near a limit it may."""
    searches = [_Search(one, one.tables[0], len(one.tables[0]) // 2) for one in parting]
    singles = [[[row] for row in search.rows[-_ALONE:]] for search in searches]
    results = _try(executor, searches, singles)
    pairs = [
        [] if search.size == 0 else _pairs(search.rows[-_ALONE:], found)
        for search, found in zip(searches, results, strict=True)
    ]
    _try(executor, searches, pairs)
    while any(search.size for search in searches):
        going = [search for search in searches if search.size]
        tables = [search.fewer() for search in going]
        given = [replace(s.given, tables=some) for s, some in zip(going, tables, strict=True)]
        for search, some, found in zip(going, tables, run_on_given(executor, given), strict=True):
            smaller = search.narrow(some, found)
            search.size = min(search.size, len(search.rows) // 2) if smaller else search.size // 2
    whole = [search for search in searches if search.results is None]
    results = list(run_on_given(executor, [search.given for search in whole]))
    for search, found in zip(whole, results, strict=True):
        search.narrow(search.given.tables, found)
    return [_counterexample(executor, search) for search in searches]


def _try(
    executor: Executor, searches: Sequence[_Search], tables: Sequence[Sequence[Sequence[Row]]]
) -> list[Results]:
    """Run the answers on such tables; the search ends for one that parts on one of them."""
    given = [replace(s.given, tables=some) for s, some in zip(searches, tables, strict=True)]
    results = list(run_on_given(executor, given))
    for search, some, found in zip(searches, tables, results, strict=True):
        if search.narrow(some, found):
            search.size = 0
    return results


def _pairs(rows: Sequence[Row], alone: Results) -> list[list[Row]]:
    """A row that gold takes with one that only one of both takes, else with another of gold's."""
    gold, own = ([_takes(result) for result in results] for results in (alone.gold, alone.own))
    takes = [index for index, taken in enumerate(gold) if taken]
    differ = [index for index in range(len(rows)) if gold[index] != own[index]]
    pairs = itertools.product(takes[:_PAIRED], differ[:_PAIRED] or takes[:_PAIRED])
    return [[rows[min(pair)], rows[max(pair)]] for pair in pairs if pair[0] != pair[1]]


def _takes(result: Rows | Failure) -> bool:
    return not isinstance(result, Failure) and not result.degenerate


def _counterexample(executor: Executor, search: _Search) -> Counterexample | None:
    gold, own = search.results or (None, None)
    if not isinstance(gold, Rows):
        return None
    header = executor.tables[search.given.passed.table].header
    return Counterexample(
        columns=[header[column] for column in search.given.used],
        rows=[list(row) for row in search.rows],
        gold=[list(row) for row in gold.rows],
        answer=[list(row) for row in own.rows] if isinstance(own, Rows) else None,
    )
