"""The worker: locked, limited, replaced. One attack a test; what runs here is past the reader."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.sql.failures import Failure
from harness.sql.run.database import build
from harness.sql.run.sandbox import _QUERY_LIMIT_S, _START_LIMIT_S, Sandbox

COUNT = "SELECT count(*) FROM main.cells"


@pytest.fixture
def sandbox(squad, tmp_path: Path) -> Iterator[Sandbox]:
    build([squad], tmp_path / "tables.duckdb")
    with closing(Sandbox(tmp_path / "tables.duckdb", limit_s=1.0)) as found:
        yield found


def still_answers(sandbox: Sandbox) -> bool:
    return sandbox.run(COUNT) == [[4]]


ATTACKS = [
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "CREATE TABLE x (a INTEGER)",
    "DELETE FROM main.cells",
    "WITH d AS (DELETE FROM main.cells RETURNING *) SELECT * FROM d",
    "ATTACH '{folder}/other.duckdb'",
    "EXPORT DATABASE '{folder}/dump'",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM glob('/*')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access=true",
    "SET lock_configuration=false",
    "SET memory_limit='100GB'",
    "PRAGMA enable_profiling='json'",
]


def test_nothing_is_written_read_or_unlocked(sandbox: Sandbox, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    for sql in ATTACKS:
        found = sandbox.run(sql.format(folder=tmp_path))
        assert isinstance(found, Failure), (sql, found)
        assert sorted(path.name for path in tmp_path.iterdir()) == before, sql
        assert still_answers(sandbox), sql


def test_a_query_that_runs_on_is_stopped_and_the_next_one_is_right(sandbox: Sandbox) -> None:
    start = time.monotonic()
    found = sandbox.run("SELECT count(*) FROM range(1000000000000)")
    assert isinstance(found, Failure)
    assert found.kind == "timeout"
    # Its own limit, and at worst the start of another process in its place.
    assert time.monotonic() - start < _QUERY_LIMIT_S + _START_LIMIT_S
    assert still_answers(sandbox)


def test_a_query_that_cannot_be_interrupted_is_killed(sandbox: Sandbox) -> None:
    found = sandbox.run("SELECT sleep_ms(60000)")
    assert isinstance(found, Failure)
    assert found.kind == "timeout"
    assert sandbox.restarts == 1
    assert still_answers(sandbox)


def test_memory_is_limited(sandbox: Sandbox) -> None:
    found = sandbox.run("SELECT length(repeat('x', 2000000000))")
    assert isinstance(found, Failure)
    assert found.kind in ("memory", "crash", "timeout", "execution_error")
    assert still_answers(sandbox)


def test_too_many_rows_are_a_failure(sandbox: Sandbox) -> None:
    found = sandbox.run("SELECT * FROM range(1000000000)")
    assert isinstance(found, Failure)
    assert (found.kind, still_answers(sandbox)) == ("memory", True)


def test_a_worker_that_dies_is_replaced(sandbox: Sandbox) -> None:
    assert still_answers(sandbox)
    os.kill(sandbox._process.pid, signal.SIGKILL)
    found = sandbox.run(COUNT)
    assert isinstance(found, Failure)
    assert found.kind == "crash"
    assert still_answers(sandbox)


def test_a_crash_of_duckdb_costs_one_query(sandbox: Sandbox) -> None:
    sandbox.run("SELECT from_json('1', repeat('[',20000) || '\"INT\"' || repeat(']',20000))")
    assert still_answers(sandbox)


def test_a_worker_ends_when_closed(squad, tmp_path: Path) -> None:
    build([squad], tmp_path / "tables.duckdb")
    sandbox = Sandbox(tmp_path / "tables.duckdb")
    process = sandbox._process
    sandbox.close()
    assert process.poll() is not None


def test_parsing_runs_nothing(sandbox: Sandbox) -> None:
    trees = sandbox.parse(["SELECT 1", "DELETE FROM main.cells", "SELECT 1; SELECT 2", "nonsense"])
    assert not isinstance(trees, Failure)
    assert [tree is not None for tree in trees] == [True, False, False, False]
    assert still_answers(sandbox)
