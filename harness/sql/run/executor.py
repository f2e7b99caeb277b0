"""Running typed queries on the tables of a split.

(table number, query) pairs -> rows or failures, in order. Queries of WikiSQL's shape share a
statement, thousands of them (batch.py). The others run one by one as they are rendered, and so
does a query with which a shared statement fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.records import Table
from harness.progress import ProgressCallback, silent
from harness.sql.failures import Failure
from harness.sql.query import Item, Query
from harness.sql.read.reader import Reader
from harness.sql.run import batch
from harness.sql.run.batch import Rows, WikiSQLQuery
from harness.sql.run.database import column_storage
from harness.sql.run.render import Renderer, identifier
from harness.sql.run.sandbox import Sandbox
from harness.sql.values import Storage, number

MAX_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Task:
    """A query on table number ``table``."""

    table: int
    query: Query


class Executor:
    """Executes queries on one database; :meth:`close` ends its worker process."""

    def __init__(self, tables: Sequence[Table], database: Path, reader: Reader) -> None:
        self.tables = tables
        self.sandbox = Sandbox(database)
        self._reader = reader
        self._storage: dict[int, tuple[Storage, ...]] = {}
        self._renderers: dict[int, Renderer] = {}

    def close(self) -> None:
        """End the worker process."""
        self.sandbox.close()

    def storage(self, table: int) -> tuple[Storage, ...]:
        """How each column of a table is stored (database.py)."""
        if table not in self._storage:
            self._storage[table] = column_storage(self.tables[table])
        return self._storage[table]

    def know_storage(self, table: int, storage: tuple[Storage, ...]) -> None:
        """Set how the columns of a table are stored, which a cache knows."""
        self._storage[table] = storage

    def names(self, table: int) -> list[str]:
        """The unique names of a table's columns in DuckDB."""
        return self._reader.names(self.tables[table]).sql

    def sql(self, task: Task) -> str | Failure:
        """The rendering of a query: what runs, and what is published."""
        return self.renderer(task.table).render(task.query, self.tables[task.table].id)

    def renderer(self, table: int) -> Renderer:
        """The renderer for one table."""
        if table not in self._renderers:
            self._renderers[table] = Renderer(self.names(table), self.storage(table))
        return self._renderers[table]

    def run(
        self, tasks: Sequence[Task], progress: ProgressCallback = silent
    ) -> list[Rows | Failure]:
        """The result of every task."""
        results: list[Rows | Failure | None] = [None] * len(tasks)
        shaped = [
            (index, data)
            for index, task in enumerate(tasks)
            if (data := batch.wikisql_query(task.query, task.table, self.storage(task.table)))
        ]
        for start in range(0, len(shaped), batch.CHUNK):
            chunk = shaped[start : start + batch.CHUNK]
            found = self._run_batch([query for _, query in chunk])
            for (index, _), rows in zip(chunk, found, strict=True):
                results[index] = rows
            progress("executing", min(start + batch.CHUNK, len(tasks)), len(tasks))
        for index, task in enumerate(tasks):
            if results[index] is None:
                results[index] = self.run_alone(task)
                progress("executing", index + 1, len(tasks))
        return [result for result in results if result is not None]

    def _run_batch(self, queries: list[WikiSQLQuery]) -> list[Rows | None]:
        """The results of queries that share a statement; None for one that fails by itself."""
        answer = self.sandbox.run(batch.STATEMENT, batch.parameters(queries), len(queries))
        if not isinstance(answer, Failure):
            return list(batch.results(queries, answer))
        if len(queries) == 1:
            return [None]
        half = len(queries) // 2
        return self._run_batch(queries[:half]) + self._run_batch(queries[half:])

    def run_alone(self, task: Task) -> Rows | Failure:
        """The result of the query's own rendering."""
        sql = self.sql(task)
        if isinstance(sql, Failure):
            return sql
        table = self.tables[task.table]
        every = range(len(table.header))
        source = f"main.cells WHERE t = {task.table}"
        clause = self.table_clause(task.table, table.id, source, every)
        rows = self.sandbox.run(f"WITH {clause} {sql}", None, MAX_ROWS)
        if isinstance(rows, Failure):
            return rows
        return as_rows(task.query, self.storage(task.table), rows)

    def table_clause(self, table: int, name: str, source: str, used: Sequence[int]) -> str:
        """The part of a WITH clause that defines the table on which a rendering runs.

        Args:
            table: the table's number.
            name: what the rendering calls it.
            source: FROM and WHERE that select its rows.
            used: the columns whose cells the lists of those rows hold, in their order.
        """
        names, storage = self.names(table), self.storage(table)
        columns = ", ".join(
            f"{'n' if storage[column] == 'number' else 'v'}[{place}] AS {identifier(names[column])}"
            for place, column in enumerate(used, 1)
        )
        source = f"SELECT {columns} FROM {source} ORDER BY r"
        return f"{identifier(name)} AS MATERIALIZED ({source})"


def as_rows(query: Query, storage: Sequence[Storage], rows: Sequence[Sequence[Any]]) -> Rows:
    """The result that a rendering returned. No row of it, or counts of 0 under a WHERE, say that no
    row satisfies that WHERE."""
    typed = _typed_rows(query, storage, rows)
    counts = query.where is not None and all(item.aggregate == "COUNT" for item in query.select)
    nothing = not any(map(any, typed)) if counts else not typed
    return Rows(typed, 0 if nothing else None)


def _typed_rows(
    query: Query, storage: Sequence[Storage], rows: Sequence[Sequence[Any]]
) -> tuple[tuple[Any, ...], ...]:
    """Rows of a rendering with the numbers of ``mixed`` columns as numbers."""
    mixed: list[bool] = []
    for item in query.select:
        mixed.extend(_is_mixed(item, storage))
    if not any(mixed):
        return tuple(tuple(row) for row in rows)
    return tuple(
        tuple(_number(value) if at else value for value, at in zip(row, mixed, strict=True))
        for row in rows
    )


def _is_mixed(item: Item, storage: Sequence[Storage]) -> list[bool]:
    if item.column is None:
        return [False] if item.aggregate else [stored == "mixed" for stored in storage]
    return [storage[item.column] == "mixed" and item.aggregate in ("", "MAX", "MIN")]


def _number(value: Any) -> Any:
    found = number(value) if isinstance(value, str) else None
    return value if found is None else found
