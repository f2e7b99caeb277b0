"""Running gold and predictions on perturbed copies of their tables.

Pairs that agree on the original table -> whether they also agree on all K copies (perturb.py).
The copies are sent as data; the WikiSQL-shaped queries of many examples share one statement over
all their copies, other queries get one statement each that unites their copies. A copy on which
gold became degenerate proves nothing and is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.data.records import Example, Table
from harness.progress import ProgressCallback, silent
from harness.sql.failures import Failure
from harness.sql.grade.equality import equal_results
from harness.sql.grade.perturb import Copies
from harness.sql.query import Query, from_logical_form, leaves
from harness.sql.run import batch
from harness.sql.run.batch import Rows, Simple
from harness.sql.run.database import CellValue, cell_value
from harness.sql.run.executor import MAX_ROWS, Executor, typed_rows
from harness.sql.run.render import identifier

_EXAMPLES_PER_STATEMENT = 100
_FIRST = 2


@dataclass(frozen=True, slots=True)
class Pair:
    """An example whose gold and prediction agree on the original table number ``table``."""

    example: Example
    table: int
    query: Query


@dataclass(frozen=True, slots=True)
class _Copied:
    """A pair with its copies: ``used`` columns, and the rows of each copy."""

    pair: Pair
    used: tuple[int, ...]
    copies: list[list[dict[str, Any]]]


def agree_on_copies(
    executor: Executor, pairs: Sequence[Pair], copies: int, progress: ProgressCallback = silent
) -> list[bool]:
    """Whether each pair agrees on all ``copies`` perturbed copies of its table."""
    agreed = [True] * len(pairs)
    # Most wrong queries fail on the first copies, so that only the rest needs the others.
    for numbers in (range(min(_FIRST, copies)), range(_FIRST, copies)):
        left = [index for index, good in enumerate(agreed) if good] if numbers else []
        for start in range(0, len(left), _EXAMPLES_PER_STATEMENT):
            part = left[start : start + _EXAMPLES_PER_STATEMENT]
            copied = [_copy(executor, pairs[index], numbers) for index in part]
            for index, good in zip(part, _agree(executor, copied), strict=True):
                agreed[index] = good
            progress("perturbed tables", start + len(part), len(left))
    return agreed


def _copy(executor: Executor, pair: Pair, numbers: Sequence[int]) -> _Copied:
    table = executor.tables[pair.table]
    used = _used(pair, table)
    maker = Copies(table, pair.example.gold)
    types = [table.types[column] for column in used]
    made = []
    # 1 and 1.0 are the same key but not the same text.
    known: dict[tuple[Any, type, str], CellValue] = {}
    for copy in numbers:
        columns = maker.columns(copy, used)
        rows = []
        for index, cells in enumerate(zip(*columns, strict=True)):
            values = []
            for cell, kind in zip(cells, types, strict=True):
                key = (cell, type(cell), kind)
                value = known.get(key)
                if value is None:
                    value = known[key] = cell_value(cell, kind)
                values.append(value)
            rows.append(
                {
                    "r": index,
                    "v": [value.text for value in values],
                    "n": [value.number for value in values],
                    "s": [value.addend for value in values],
                }
            )
        made.append(rows)
    return _Copied(pair, used, made)


def _used(pair: Pair, table: Table) -> tuple[int, ...]:
    """The columns that gold or the prediction reads."""
    used: set[int] = set()
    for query in (from_logical_form(pair.example.gold), pair.query):
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
        gold, own = _simple(executor, one, True), _simple(executor, one, False)
        assert gold is not None
        jobs.append((one, [gold] if own is None else [gold, own]))
    verdicts = []
    for one, results in zip(copied, _run_simple(executor, jobs), strict=True):
        golds, *others = results
        found = others[0] if others else _run_united(executor, one)
        verdicts.append(_same(golds, found))
    return verdicts


def _same(golds: Sequence[Rows | Failure], results: Sequence[Rows | Failure]) -> bool:
    for gold, result in zip(golds, results, strict=True):
        if isinstance(gold, Failure) or _degenerate(gold):
            continue
        if isinstance(result, Failure) or not equal_results(gold.rows, result.rows):
            return False
    return True


def _degenerate(rows: Rows) -> bool:
    return rows.matched == 0 or all(value is None for row in rows.rows for value in row)


def _simple(executor: Executor, one: _Copied, gold: bool) -> Simple | None:
    """The pair's gold or own query as data, its columns renumbered to the used ones."""
    query = from_logical_form(one.pair.example.gold) if gold else one.pair.query
    found = batch.simple(query, one.pair.table, executor.kinds(one.pair.table))
    if found is None:
        return None
    place = {column: index for index, column in enumerate(one.used)}
    conditions = tuple((place[c], op, text, value) for c, op, text, value in found.conditions)
    return Simple(0, place.get(found.column, 0), found.aggregate, conditions)


def _run_simple(
    executor: Executor, jobs: Sequence[tuple[_Copied, list[Simple]]]
) -> list[list[list[Rows | Failure]]]:
    """By job and query the results on each copy; all jobs in one statement."""
    queries: list[Simple] = []
    rows: list[dict[str, Any]] = []
    number = 0
    for one, shaped in jobs:
        for query in shaped:
            queries.extend(
                Simple(number + copy, query.column, query.aggregate, query.conditions)
                for copy in range(len(one.copies))
            )
        for copy in one.copies:
            rows.extend({"t": number, **row} for row in copy)
            number += 1
    params = [*batch.parameters(queries), json.dumps(rows)]
    answer = executor.sandbox.run(batch.STATEMENT_ON_GIVEN, params, len(queries))
    if isinstance(answer, Failure):
        if len(jobs) == 1:
            return [[[answer] * len(jobs[0][0].copies) for _ in jobs[0][1]]]
        half = len(jobs) // 2
        return _run_simple(executor, jobs[:half]) + _run_simple(executor, jobs[half:])
    results = iter(batch.results(queries, answer))
    return [[[next(results) for _ in one.copies] for _ in shaped] for one, shaped in jobs]


def _run_united(executor: Executor, one: _Copied) -> list[Rows | Failure]:
    """A query of another shape on all its copies: its rendering once per copy, united."""
    task_table = executor.tables[one.pair.table]
    kinds = executor.kinds(one.pair.table)
    names = executor.names(one.pair.table)
    rows = [{"t": copy, **row} for copy, given in enumerate(one.copies) for row in given]
    columns = ", ".join(
        f"{'n' if kinds[column] == 'number' else 'v'}[{place + 1}] AS {identifier(names[column])}"
        for place, column in enumerate(one.used)
    )
    tables, parts = [], []
    for copy in range(len(one.copies)):
        name = f"{task_table.id} copy {copy}"
        sql = executor.renderer(one.pair.table).render(one.pair.query, name)
        if isinstance(sql, Failure):
            return [sql] * len(one.copies)
        source = f"SELECT {columns} FROM cells WHERE t = {copy} ORDER BY r"
        tables.append(f"{identifier(name)} AS MATERIALIZED ({source})")
        parts.append(f"SELECT {copy}, * FROM ({sql})")
    sql = batch.GIVEN_CELLS.replace("$12", "$1") + ", " + ", ".join(tables)
    sql += " " + " UNION ALL ".join(parts)
    answer = executor.sandbox.run(sql, [json.dumps(rows)], MAX_ROWS)
    if isinstance(answer, Failure):
        return [answer] * len(one.copies)
    by_copy: list[list[list[Any]]] = [[] for _ in one.copies]
    for row in answer:
        by_copy[row[0]].append(row[1:])
    return [Rows(typed_rows(one.pair.query, kinds, found), None) for found in by_copy]
