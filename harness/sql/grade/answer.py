"""One text on one table: the query that was read, what it returned, whether that equals gold.

(table, text) -> :class:`Outcome`, for questions that are shown one by one. Rows come back in the
table's own spelling, though text is compared without regard to case. The reader, the renderer and
the sandbox are those of the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from harness.data.records import Table
from harness.disk.scratch import Scratch
from harness.schema.execution import FailureKind
from harness.sql.failures import Failure
from harness.sql.grade.equality import equal_results
from harness.sql.query import Query
from harness.sql.read.bounded import read_all
from harness.sql.read.reader import Reader
from harness.sql.run import database
from harness.sql.run.executor import Executor, Task
from harness.sql.values import fold


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a text. When nothing ran, ``rows`` is None and ``failure`` is the reason."""

    sql: str | None
    rows: tuple[tuple[Any, ...], ...] | None
    failure: FailureKind | None
    detail: str = ""


def execute(table: Table, text: str) -> Outcome:
    """Read and run one text."""
    return execute_all([(table, text)])[0]


def execute_all(questions: Sequence[tuple[Table, str | Query | Failure]]) -> list[Outcome]:
    """Read and run every text on its table, all in one worker process.

    What was read before stands in place of its text, and is not read again.
    """
    if not questions:
        return []
    tables = list({id(table): table for table, _ in questions}.values())
    number_of = {id(table): index for index, table in enumerate(tables)}
    with ExitStack() as stack:
        scratch = Scratch("sql")
        stack.callback(scratch.remove)
        file = scratch.path / "tables.duckdb"
        database.build(tables, file)
        reader = Reader()
        executor = stack.enter_context(closing(Executor(tables, file, reader)))
        texts = [(asked, table) for table, asked in questions if isinstance(asked, str)]
        read = iter(reading.result for reading in read_all(texts, reader))
        readings = [next(read) if isinstance(asked, str) else asked for _, asked in questions]
        tasks = [
            reading if isinstance(reading, Failure) else Task(number_of[id(table)], reading)
            for (table, _), reading in zip(questions, readings, strict=True)
        ]
        return _answers(executor, tasks)


def correct(outcome: Outcome, gold: Outcome) -> bool:
    """Whether the rows equal gold's, as ``ex`` compares them."""
    if outcome.rows is None or gold.rows is None:
        return False
    return equal_results(outcome.rows, gold.rows)


def _answers(executor: Executor, asked: Sequence[Task | Failure]) -> list[Outcome]:
    """What each task gives; queries of WikiSQL's shape share statements."""
    rendered = [one if isinstance(one, Failure) else executor.sql(one) for one in asked]
    tasks = [
        one
        for one, sql in zip(asked, rendered, strict=True)
        if isinstance(one, Task) and isinstance(sql, str)
    ]
    results = iter(executor.run(tasks))
    found = []
    for one, sql in zip(asked, rendered, strict=True):
        if isinstance(one, Failure) or isinstance(sql, Failure):
            failure = one if isinstance(one, Failure) else sql
            assert isinstance(failure, Failure)
            found.append(Outcome(None, None, failure.kind, failure.detail))
            continue
        result = next(results)
        if isinstance(result, Failure):
            found.append(Outcome(sql, None, result.kind, result.detail))
        else:
            rows = _respelled(result.rows, one.query, executor.tables[one.table])
            found.append(Outcome(sql, rows, None))
    return found


def _respelled(
    rows: tuple[tuple[Any, ...], ...], query: Query, table: Table
) -> tuple[tuple[Any, ...], ...]:
    """The rows with each case-folded text in the spelling that its column has first."""
    columns: list[int | None] = []
    for item in query.select:
        if item.column is None and not item.aggregate:
            columns.extend(range(len(table.header)))
        else:
            columns.append(item.column if item.aggregate in ("", "MAX", "MIN") else None)
    spellings = [None if column is None else _spelling(table, column) for column in columns]
    return tuple(
        tuple(
            spelling.get(value, value) if spelling is not None and isinstance(value, str) else value
            for value, spelling in zip(row, spellings, strict=True)
        )
        for row in rows
    )


def _spelling(table: Table, column: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in table.rows:
        cell = row[column]
        if isinstance(cell, str):
            found.setdefault(fold(cell), cell)
    return found
