"""One text on one table: what was read, what it returned, and whether that equals gold.

(table, text) -> :class:`Answer`, for questions that are shown one by one. Rows come back in the
table's own spelling, though text is compared without regard to case. Uses the same reader,
renderer and sandbox as the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.data.records import Table
from harness.disk.scratch import Scratch
from harness.schema.execution import FailureKind
from harness.sql.failures import Failure
from harness.sql.grade.equality import equal_results
from harness.sql.query import Query
from harness.sql.read.reader import Reader
from harness.sql.run import database
from harness.sql.run.executor import Executor, Task
from harness.sql.values import fold


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a text. ``rows`` is None, and ``failure`` a kind, when nothing ran."""

    sql: str | None
    rows: tuple[tuple[Any, ...], ...] | None
    failure: FailureKind | None
    detail: str = ""


def execute(table: Table, text: str) -> Answer:
    """Read and run one text."""
    return execute_all([(table, text)])[0]


def execute_all(questions: Sequence[tuple[Table, str]]) -> list[Answer]:
    """Read and run every text on its table, all in one worker. No questions, no answers."""
    if not questions:
        return []
    tables = list({id(table): table for table, _ in questions}.values())
    number_of = {id(table): index for index, table in enumerate(tables)}
    scratch = Scratch("sql")
    try:
        file = scratch.path / "tables.duckdb"
        database.build(tables, file)
        reader = Reader()
        executor = Executor(tables, file, reader)
        try:
            return [
                _answer(executor, reader, number_of[id(table)], text) for table, text in questions
            ]
        finally:
            executor.close()
    finally:
        scratch.remove()


def correct(answer: Answer, gold: Answer) -> bool:
    """Whether an answer's rows equal gold's, as ``ex`` compares them."""
    if answer.rows is None or gold.rows is None:
        return False
    return equal_results(answer.rows, gold.rows)


def _answer(executor: Executor, reader: Reader, number: int, text: str) -> Answer:
    reading = reader.read(text, executor.tables[number])
    if reading.query is None:
        failure = reading.failure or Failure("syntax")
        return Answer(None, None, failure.kind, failure.detail)
    task = Task(number, reading.query)
    sql = executor.sql(task)
    if isinstance(sql, Failure):
        return Answer(None, None, sql.kind, sql.detail)
    result = executor.run_alone(task)
    if isinstance(result, Failure):
        return Answer(sql, None, result.kind, result.detail)
    return Answer(sql, _respelled(result.rows, reading.query, executor.tables[number]), None)


def _respelled(
    rows: tuple[tuple[Any, ...], ...], query: Query, table: Table
) -> tuple[tuple[Any, ...], ...]:
    """Folded texts in the spelling that the column first has them in."""
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
