"""Test-suite accuracy: gold and prediction must agree on perturbed copies of their table too.

Queries that agree on the original table -> whether they agree on all K copies. The definition:

- :class:`harness.sql.grade.perturb.Copies` makes copy number 0..K-1 of the table, seeded by table
  and gold.
- Gold and the prediction run on each copy; their results are compared by ``equal_results``
  (equality.py), as on the original table.
- The prediction passes when the results are equal on every copy. A copy on which gold is
  degenerate proves nothing and is left out.

After the distilled test suites of Zhong, Yu and Klein 2020 (arXiv:2010.02840). The copies are sent
as data; the queries of WikiSQL's shape of many examples share one statement over all their copies,
and any other query gets one statement that unites its copies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from harness.data.records import Example, Table
from harness.progress import ProgressCallback, silent
from harness.sql.failures import Failure
from harness.sql.grade.equality import equal_results
from harness.sql.grade.perturb import Copies
from harness.sql.query import Query, from_logical_form, leaves
from harness.sql.run import batch
from harness.sql.run.batch import Rows, WikiSQLQuery
from harness.sql.run.database import cell_value, database_row
from harness.sql.run.executor import MAX_ROWS, Executor, typed_rows

_EXAMPLES_PER_STATEMENT = 100
_FIRST = 2


@dataclass(frozen=True, slots=True)
class Passed:
    """A prediction that agrees with gold on the original table, number ``table``."""

    example: Example
    table: int
    query: Query


@dataclass(frozen=True, slots=True)
class _Copied:
    """A passed prediction with the rows of each copy, which hold the ``used`` columns alone."""

    passed: Passed
    used: tuple[int, ...]
    copies: list[list[dict[str, Any]]]


def agree_on_copies(
    executor: Executor, passes: Sequence[Passed], copies: int, progress: ProgressCallback = silent
) -> list[bool]:
    """Whether each prediction agrees with gold on all ``copies`` copies of its table."""
    agreed = [True] * len(passes)
    # Most wrong queries fail on the first copies, so few need the others.
    for numbers in (range(min(_FIRST, copies)), range(_FIRST, copies)):
        left = [index for index, good in enumerate(agreed) if good] if numbers else []
        for start in range(0, len(left), _EXAMPLES_PER_STATEMENT):
            part = left[start : start + _EXAMPLES_PER_STATEMENT]
            copied = [_copy(executor, passes[index], numbers) for index in part]
            for index, good in zip(part, _agree(executor, copied), strict=True):
                agreed[index] = good
            progress("perturbed tables", start + len(part), len(left))
    return agreed


def _copy(executor: Executor, passed: Passed, numbers: Sequence[int]) -> _Copied:
    table = executor.tables[passed.table]
    used = _used(passed, table)
    maker = Copies(table, passed.example.gold)
    types = [table.types[column] for column in used]
    # Typed, because 1 and 1.0 are the same key but not the same text.
    value = lru_cache(maxsize=None, typed=True)(cell_value)
    copies = [
        [
            database_row(index, list(map(value, cells, types)))
            for index, cells in enumerate(zip(*maker.columns(copy, used), strict=True))
        ]
        for copy in numbers
    ]
    return _Copied(passed, used, copies)


def _used(passed: Passed, table: Table) -> tuple[int, ...]:
    """The columns that gold or the prediction reads."""
    used: set[int] = set()
    for query in (from_logical_form(passed.example.gold), passed.query):
        items = [*query.select, *(order.item for order in query.order_by)]
        if any(item.column is None and not item.aggregate for item in items):
            return tuple(range(len(table.header)))
        used.update(item.column for item in items if item.column is not None)
        used.update(query.group_by)
        used.update(leaf.column for leaf in leaves(query.where))
    return tuple(sorted(used))


def _agree(executor: Executor, copied: Sequence[_Copied]) -> list[bool]:
    jobs = []
    for one in copied:
        gold, own = from_logical_form(one.passed.example.gold), one.passed.query
        shaped = [_as_data(executor, one, query) for query in (gold, own)]
        jobs.append((one, [query for query in shaped if query is not None]))
    verdicts = []
    # Gold always has WikiSQL's shape, so its results come first.
    for (one, _), (golds, *others) in zip(jobs, _run_together(executor, jobs), strict=True):
        found = others[0] if others else _run_united(executor, one)
        verdicts.append(_agrees(golds, found))
    return verdicts


def _agrees(golds: Sequence[Rows | Failure], results: Sequence[Rows | Failure]) -> bool:
    for gold, result in zip(golds, results, strict=True):
        if isinstance(gold, Failure) or gold.degenerate:
            continue
        if isinstance(result, Failure) or not equal_results(gold.rows, result.rows):
            return False
    return True


def _as_data(executor: Executor, one: _Copied, query: Query) -> WikiSQLQuery | None:
    """``query`` as data, its columns renumbered to the used ones."""
    found = batch.wikisql_query(query, one.passed.table, executor.storage(one.passed.table))
    if found is None:
        return None
    place = {column: index for index, column in enumerate(one.used)}
    conditions = tuple((place[c], op, text, value) for c, op, text, value in found.conditions)
    return WikiSQLQuery(0, place.get(found.column, 0), found.aggregate, conditions)


def _run_together(
    executor: Executor, jobs: Sequence[tuple[_Copied, list[WikiSQLQuery]]]
) -> list[list[list[Rows | Failure]]]:
    """The results by job, query and copy; all jobs share one statement."""
    queries: list[WikiSQLQuery] = []
    rows: list[dict[str, Any]] = []
    number = 0
    for one, shaped in jobs:
        for query in shaped:
            queries.extend(replace(query, table=number + copy) for copy in range(len(one.copies)))
        for copy in one.copies:
            rows.extend({"t": number, **row} for row in copy)
            number += 1
    params = [*batch.parameters(queries), json.dumps(rows)]
    answer = executor.sandbox.run(batch.STATEMENT_ON_GIVEN, params, len(queries))
    if isinstance(answer, Failure):
        if len(jobs) == 1:
            return [[[answer] * len(jobs[0][0].copies) for _ in jobs[0][1]]]
        half = len(jobs) // 2
        return _run_together(executor, jobs[:half]) + _run_together(executor, jobs[half:])
    results = iter(batch.results(queries, answer))
    return [[[next(results) for _ in one.copies] for _ in shaped] for one, shaped in jobs]


def _run_united(executor: Executor, one: _Copied) -> list[Rows | Failure]:
    """The results of a query of another shape: its rendering for each copy, all united."""
    table = one.passed.table
    rows = [{"t": copy, **row} for copy, given in enumerate(one.copies) for row in given]
    tables, parts = [], []
    for copy in range(len(one.copies)):
        name = f"{executor.tables[table].id} copy {copy}"
        sql = executor.renderer(table).render(one.passed.query, name)
        if isinstance(sql, Failure):
            return [sql] * len(one.copies)
        tables.append(executor.table_clause(table, name, f"cells WHERE t = {copy}", one.used))
        parts.append(f"SELECT {copy}, * FROM ({sql})")
    sql = batch.GIVEN_CELLS.replace("$12", "$1") + ", " + ", ".join(tables)
    sql += " " + " UNION ALL ".join(parts)
    answer = executor.sandbox.run(sql, [json.dumps(rows)], MAX_ROWS)
    if isinstance(answer, Failure):
        return [answer] * len(one.copies)
    by_copy: list[list[list[Any]]] = [[] for _ in one.copies]
    for row in answer:
        by_copy[row[0]].append(row[1:])
    storage = executor.storage(table)
    return [Rows(typed_rows(one.passed.query, storage, found), None) for found in by_copy]
