"""What runs many to a statement equals each query's own rendering, here and in plain DuckDB."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from harness.data.records import Table
from harness.data.sources.wikisql import load_split
from harness.sql.column_names import Names
from harness.sql.failures import Failure
from harness.sql.grade.equality import equal_results
from harness.sql.query import COMPARISONS, Comparison, Item, Query, conjunction
from harness.sql.read.reader import Reader
from harness.sql.run.database import build, column_storage
from harness.sql.run.executor import Executor, Task
from harness.sql.run.render import Renderer
from harness.sql.values import fold

MESSY = Table(
    "2-1",
    ("Name", "name", "", "Crowd", "Share (%)", "From", 'a "b"'),
    ("text", "text", "text", "real", "real", "text", "text"),
    (
        ("ΑΘΗΝΑΣ", "x", None, "1,234", 3.5, "o'neil", "1"),
        ("straße", "X", "y", "n/a", -1, "İzmir", "2"),
        ("Straße", None, "y", None, None, "É", "10"),
        (None, "x", "z", 1234, 0, "é", "abc"),
    ),
)

# DuckDB's own lower() treats the final sigma and the dotted I otherwise than Python's.
PLAIN = replace(
    MESSY,
    rows=tuple(
        tuple({"ΑΘΗΝΑΣ": "Athens", "İzmir": "Izmir"}.get(cell, cell) for cell in row)
        for row in MESSY.rows
    ),
)


def random_queries(table: Table, rng: random.Random, count: int) -> list[Query]:
    width = len(table.header)
    queries = []
    for _ in range(count):
        conditions = []
        for _ in range(rng.randrange(3)):
            column = rng.randrange(width)
            values = [row[column] for row in table.rows if row[column] is not None] or ["x"]
            value = str(rng.choice(values))
            conditions.append(Comparison(column, rng.choice(COMPARISONS), value))
        item = Item(rng.randrange(width), rng.choice(("", "MAX", "MIN", "COUNT", "SUM", "AVG")))
        if rng.random() < 0.1:
            item = Item(None, "COUNT")
        queries.append(Query((item,), conjunction(list(conditions))))
    return queries


def check(executor: Executor, tasks: list[Task]) -> None:
    for task, batched in zip(tasks, executor.run(tasks), strict=True):
        alone = executor.run_alone(task)
        assert not isinstance(alone, Failure), (executor.sql(task), alone)
        assert not isinstance(batched, Failure)
        assert equal_results(alone.rows, batched.rows), executor.sql(task)


def test_a_batch_equals_the_renderings_on_a_messy_table(tmp_path: Path) -> None:
    build([MESSY], tmp_path / "t.duckdb")
    executor = Executor([MESSY], tmp_path / "t.duckdb", Reader())
    try:
        check(executor, [Task(0, query) for query in random_queries(MESSY, random.Random(1), 250)])
    finally:
        executor.close()


@pytest.mark.slow
def test_the_rendering_stands_on_its_own_in_plain_duckdb(tmp_path: Path) -> None:
    build([PLAIN], tmp_path / "t.duckdb")
    executor = Executor([PLAIN], tmp_path / "t.duckdb", Reader())
    kinds, names = column_storage(PLAIN), Names(PLAIN).sql
    columns = ", ".join(
        '"{}" {}'.format(name.replace('"', '""'), "DOUBLE" if kind == "number" else "VARCHAR")
        for name, kind in zip(names, kinds, strict=True)
    )
    connection = duckdb.connect()
    connection.execute(f'CREATE TABLE "2-1" ({columns})')
    places = ", ".join("?" * len(names))
    connection.executemany(
        f'INSERT INTO "2-1" VALUES ({places})', [list(row) for row in PLAIN.rows]
    )
    try:
        for query in random_queries(PLAIN, random.Random(2), 150):
            sql = Renderer(names, kinds).render(query, "2-1")
            plain = connection.execute(str(sql)).fetchall()
            task = Task(0, query)
            (ours,) = executor.run([task])
            assert not isinstance(ours, Failure)
            assert equal_results(_folded(plain), ours.rows), sql
    finally:
        executor.close()


def _folded(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    found = []
    for row in rows:
        value = fold(row[0]) if isinstance(row[0], str) else row[0]
        if isinstance(value, str) and value.replace(",", "")[:4] == "1234":
            value = 1234.0  # a number in the column that also holds text
        found.append((value,))
    return found


@pytest.mark.slow
def test_lower_of_what_python_lowered_changes_nothing() -> None:
    texts = [chr(i).lower() for i in range(1, 0x110000) if not 0xD800 <= i < 0xE000]
    sql = "SELECT count(*) FROM (SELECT unnest($1::VARCHAR[]) AS x) WHERE lower(x) <> x"
    assert duckdb.connect().execute(sql, [texts]).fetchone() == (0,)


DEV = Path(__file__).resolve().parents[3] / "shared" / "wikisql" / "dev"


@pytest.mark.slow
@pytest.mark.skipif(not DEV.is_dir(), reason="the shared WikiSQL dev split is not here")
def test_a_batch_equals_the_renderings_on_real_tables(tmp_path: Path) -> None:
    split, rng = load_split(DEV, ["dev"]), random.Random(3)
    tables = rng.sample(list(split.tables.values()), 300)
    build(tables, tmp_path / "t.duckdb")
    executor = Executor(tables, tmp_path / "t.duckdb", Reader())
    try:
        tasks = [
            Task(number, query)
            for number, table in enumerate(tables)
            for query in random_queries(table, rng, 3)
        ]
        check(executor, tasks)
    finally:
        executor.close()
