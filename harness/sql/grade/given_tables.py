"""Gold and one prediction on tables that are given as rows: do their results part?

(:class:`Passed`, tables) -> results of both on every table. The tables are sent to DuckDB as data,
with the columns that either query reads. The queries of WikiSQL's shape of many predictions share
one statement over all their tables; any other query gets one statement that unites its tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from harness.data.records import Cell, Example
from harness.sql.failures import Failure
from harness.sql.grade.equality import equal_results
from harness.sql.query import Query, gold_query, leaves
from harness.sql.run import batch
from harness.sql.run.batch import Rows, WikiSQLQuery
from harness.sql.run.database import cell_value, database_row
from harness.sql.run.executor import MAX_ROWS, Executor, as_rows

# Typed, because 1 and 1.0 are the same key but not the same text.
_value = lru_cache(maxsize=100_000, typed=True)(cell_value)


@dataclass(frozen=True, slots=True)
class Passed:
    """A prediction that agrees with gold on the original table, number ``table``."""

    example: Example
    table: int
    query: Query

    @property
    def queries(self) -> tuple[Query, Query]:
        """Gold and the prediction."""
        return gold_query(self.example.gold), self.query


Row = tuple[Cell, ...]
"""A row of a given table: the cells of the columns that are read, in their order."""


@dataclass(frozen=True, slots=True)
class Given:
    """A passed prediction and the tables to run it on, which hold the ``used`` columns alone."""

    passed: Passed
    used: tuple[int, ...]
    tables: Sequence[Sequence[Row]]


_NOT_RUN = frozenset(("timeout", "memory", "crash"))
"""Failures that are about a limit: they do not say what the query returns."""


@dataclass(frozen=True, slots=True)
class Results:
    """What gold and the prediction return, by table."""

    gold: Sequence[Rows | Failure]
    own: Sequence[Rows | Failure]

    def parting(self) -> int | None:
        """The first table on which they part, if there is one."""
        return next((at for at, equal in enumerate(self._equal()) if equal is False), None)

    def proves(self) -> bool:
        """Whether there is a table on which both ran and agree."""
        return True in self._equal()

    def stopped(self) -> bool:
        """Whether some table is more than the limits allow."""
        every = (*self.gold, *self.own)
        return any(isinstance(found, Failure) and found.kind in _NOT_RUN for found in every)

    def _equal(self) -> Iterator[bool | None]:
        """Whether they agree, by table; None where that proves nothing: gold is degenerate there,
        or one of both did not run for want of time or memory."""
        for gold, own in zip(self.gold, self.own, strict=True):
            if isinstance(gold, Failure) or gold.degenerate:
                yield None
            elif isinstance(own, Failure):
                yield None if own.kind in _NOT_RUN else False
            else:
                yield equal_results(gold.rows, own.rows)


def used_columns(passed: Passed, width: int) -> tuple[int, ...]:
    """The columns, of ``width``, that gold or the prediction reads."""
    used: set[int] = set()
    for query in passed.queries:
        items = [*query.select, *(order.item for order in query.order_by)]
        if any(item.column is None and not item.aggregate for item in items):
            return tuple(range(width))
        used.update(item.column for item in items if item.column is not None)
        used.update(query.group_by)
        used.update(leaf.column for leaf in leaves(query.where))
    return tuple(sorted(used))


def run_on_given(executor: Executor, given: Sequence[Given]) -> Iterator[Results]:
    """Gold and prediction on each one's tables."""
    shaped = [[_as_data(executor, one, query) for query in one.passed.queries] for one in given]
    jobs = [
        (one, [data for data in both if data is not None])
        for one, both in zip(given, shaped, strict=True)
    ]
    together = _run_together(executor, jobs)
    for one, both, results in zip(given, shaped, together, strict=True):
        found = iter(results)
        golds, own = (
            _run_united(executor, one, query) if data is None else next(found)
            for query, data in zip(one.passed.queries, both, strict=True)
        )
        yield Results(golds, own)


def _stored(executor: Executor, one: Given, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """The rows of a given table as rows of ``cells`` (database.py)."""
    types = [executor.tables[one.passed.table].types[column] for column in one.used]
    for index, row in enumerate(rows):
        yield database_row(index, list(map(_value, row, types)))


def _as_data(executor: Executor, one: Given, query: Query) -> WikiSQLQuery | None:
    """``query`` as data, its columns renumbered to the used ones."""
    found = batch.wikisql_query(query, one.passed.table, executor.storage(one.passed.table))
    if found is None:
        return None
    place = {column: index for index, column in enumerate(one.used)}
    conditions = tuple((place[c], op, text, value) for c, op, text, value in found.conditions)
    return WikiSQLQuery(0, place.get(found.column, 0), found.aggregate, conditions)


def _run_together(
    executor: Executor, jobs: Sequence[tuple[Given, list[WikiSQLQuery]]]
) -> list[list[list[Rows | Failure]]]:
    """The results by job, query and table; all jobs share one statement, fewer where it fails."""
    queries: list[WikiSQLQuery] = []
    rows: list[dict[str, Any]] = []
    number = 0
    for one, shaped in jobs:
        for query in shaped:
            queries.extend(replace(query, table=number + at) for at in range(len(one.tables)))
        for table in one.tables:
            rows.extend({"t": number, **row} for row in _stored(executor, one, table))
            number += 1
    if not queries:
        return [[[] for _ in shaped] for _, shaped in jobs]
    params = [*batch.parameters(queries), json.dumps(rows)]
    answer = executor.sandbox.run(batch.STATEMENT_ON_GIVEN, params, len(queries))
    if isinstance(answer, Failure):
        if len(jobs) > 1:
            half = len(jobs) // 2
            return _run_together(executor, jobs[:half]) + _run_together(executor, jobs[half:])
        one, shaped = jobs[0]
        parts = _halves(one)
        if not parts:
            return [[[answer] for _ in shaped]]
        first, second = (_run_together(executor, [(part, shaped)])[0] for part in parts)
        return [[a + b for a, b in zip(first, second, strict=True)]]
    results = iter(batch.results(queries, answer))
    return [[[next(results) for _ in one.tables] for _ in shaped] for one, shaped in jobs]


def _halves(one: Given) -> list[Given]:
    """The same on the first half of the tables and on the rest; nothing for a single table."""
    half = len(one.tables) // 2
    return [replace(one, tables=part) for part in (one.tables[:half], one.tables[half:]) if half]


def _run_united(executor: Executor, one: Given, query: Query) -> list[Rows | Failure]:
    """The results of a query of another shape: its rendering for each table, all united."""
    table, count = one.passed.table, len(one.tables)
    if not count:
        return []
    rows = [
        {"t": number, **row}
        for number, given in enumerate(one.tables)
        for row in _stored(executor, one, given)
    ]
    tables, parts = [], []
    for number in range(count):
        name = f"{executor.tables[table].id} copy {number}"
        sql = executor.renderer(table).render(query, name)
        if isinstance(sql, Failure):
            return [sql] * count
        tables.append(executor.table_clause(table, name, f"cells WHERE t = {number}", one.used))
        parts.append(f"SELECT {number}, * FROM ({sql})")
    sql = batch.GIVEN_CELLS.replace("$12", "$1") + ", " + ", ".join(tables)
    sql += " " + " UNION ALL ".join(parts)
    answer = executor.sandbox.run(sql, [json.dumps(rows)], MAX_ROWS)
    if isinstance(answer, Failure):
        parts_of = [_run_united(executor, part, query) for part in _halves(one)]
        return [result for part in parts_of for result in part] or [answer]
    by_table: list[list[list[Any]]] = [[] for _ in range(count)]
    for row in answer:
        by_table[row[0]].append(row[1:])
    return [as_rows(query, executor.storage(table), found) for found in by_table]
