"""The worker: locked, limited, replaced. One attack a test; what runs here is past the reader."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from harness.data.records import Table
from harness.sql.failures import Failure
from harness.sql.limited_process import EnvironmentFault
from harness.sql.run.database import build
from harness.sql.run.sandbox import Sandbox

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
    found = sandbox.run("SELECT count(*) FROM range(1000000000000)")
    assert isinstance(found, Failure)
    assert found.kind == "timeout"
    assert still_answers(sandbox)


@pytest.mark.slow
def test_a_query_that_cannot_be_interrupted_is_killed(sandbox: Sandbox) -> None:
    found = sandbox.run(
        "SELECT jaro_winkler_similarity(repeat('a', 2000000), repeat('b', 2000000))"
    )
    assert isinstance(found, Failure)
    assert found.kind == "timeout"
    assert sandbox.worker.restarts == 1
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


def during(sandbox: Sandbox, act: Callable[[int], None], times: int) -> None:
    """Do something to each of the next workers, as soon as a query has used processor time."""

    def watch() -> None:
        first: dict[int, float] = {}
        done: set[int] = set()
        while len(done) < times:
            process = sandbox.worker.process
            if process is not None and sandbox.worker._ready and process.pid not in done:
                with contextlib.suppress(psutil.Error):
                    now = psutil.Process(process.pid).cpu_times().user
                    if now > first.setdefault(process.pid, now) + 0.05:
                        done.add(process.pid)
                        act(process.pid)
            time.sleep(0.005)

    threading.Thread(target=watch, daemon=True).start()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


# Takes a good part of its second of processor time, and ends.
LONG = "SELECT count(*) FROM range(40000000) WHERE range % 7 = 3"


def test_a_worker_that_was_killed_costs_no_answer(sandbox: Sandbox) -> None:
    assert still_answers(sandbox)
    os.kill(sandbox.worker.process.pid, signal.SIGKILL)
    assert still_answers(sandbox)
    during(sandbox, kill, 1)
    assert sandbox.run(LONG) == [[5714286]]
    assert sandbox.worker.restarts == 2


def test_a_worker_killed_before_it_is_ready_costs_no_answer(sandbox: Sandbox) -> None:
    os.kill(sandbox.worker.process.pid, signal.SIGKILL)
    assert still_answers(sandbox)


@pytest.mark.slow
def test_workers_that_are_killed_again_and_again_are_a_fault_of_the_machine(
    sandbox: Sandbox,
) -> None:
    during(sandbox, kill, 2)
    with pytest.raises(
        EnvironmentFault, match=r"killed by signal 9 \(SIGKILL\).*fault of the mach"
    ):
        sandbox.run(LONG)
    assert still_answers(sandbox)


@pytest.mark.slow
def test_a_stopped_worker_is_waited_for_and_fails_no_query(sandbox: Sandbox) -> None:
    """It stands still for longer than its query's limit, and goes on."""

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3)  # the limit is one second
        os.kill(pid, signal.SIGCONT)

    during(sandbox, stop, 1)
    assert sandbox.run(LONG) == [[5714286]]
    assert sandbox.worker.restarts == 0


@pytest.mark.slow
def test_a_worker_that_never_goes_on_is_replaced_and_its_query_is_right(
    squad, tmp_path: Path
) -> None:
    build([squad], tmp_path / "tables.duckdb")
    with closing(Sandbox(tmp_path / "tables.duckdb", stalled_s=3)) as sandbox:
        assert still_answers(sandbox)
        os.kill(sandbox.worker.process.pid, signal.SIGSTOP)
        assert still_answers(sandbox)
        assert sandbox.worker.restarts == 1


def test_what_a_query_left_in_memory_fails_no_other(sandbox: Sandbox) -> None:
    """The worker's address space is full; the query that meets it is asked again elsewhere."""
    assert isinstance(sandbox.run("SELECT length(repeat('x', 2000000000))"), Failure)
    assert still_answers(sandbox)


def test_a_database_that_cannot_be_opened_is_named_with_the_last_words(tmp_path: Path) -> None:
    expected = pytest.raises(EnvironmentFault, match=r"(?s)does not start.*none\.duckdb")
    with closing(Sandbox(tmp_path / "none.duckdb")) as sandbox, expected:
        sandbox.run(COUNT)


def test_a_crash_of_duckdb_costs_one_query(sandbox: Sandbox) -> None:
    found = sandbox.run(
        "SELECT from_json('1', repeat('[',20000) || '\"INT\"' || repeat(']',20000))"
    )
    assert isinstance(found, Failure)
    assert still_answers(sandbox)


@pytest.mark.slow
def test_native_code_that_crashes_twice_is_the_query_s_own_failure(sandbox: Sandbox) -> None:
    during(sandbox, lambda pid: os.kill(pid, signal.SIGSEGV), 2)
    assert sandbox.run(LONG) == Failure("crash", "killed by signal 11 (SIGSEGV)")
    assert still_answers(sandbox)


def test_a_worker_ends_when_closed(squad, tmp_path: Path) -> None:
    build([squad], tmp_path / "tables.duckdb")
    sandbox = Sandbox(tmp_path / "tables.duckdb")
    process = sandbox.worker.process
    sandbox.close()
    assert process.poll() is not None


def test_parsing_runs_nothing(sandbox: Sandbox) -> None:
    trees = sandbox.parse(["SELECT 1", "DELETE FROM main.cells", "SELECT 1; SELECT 2", "nonsense"])
    assert not isinstance(trees, Failure)
    assert [tree is not None for tree in trees] == [True, False, False, False]
    assert still_answers(sandbox)


@pytest.mark.slow
def test_it_starts_where_packages_come_from_pythonpath(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    sites = [path for path in sys.path if path.endswith("site-packages")]
    # The Python that this environment is made from, as a cluster's modules leave it.
    done = subprocess.run(
        [Path(sys.base_prefix, "bin", "python3"), "-m", "harness", "score", "--self-test"],
        cwd=root,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(root), *sites]),
            "XDG_CACHE_HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_it_starts_where_python_needs_a_library_path_and_says_so_where_it_does_not(
    squad: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build([squad], tmp_path / "tables.duckdb")
    missing = "error while loading shared libraries: libpython3.so: cannot open shared object file"
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ -n "$LD_LIBRARY_PATH" ] || {{ echo "python: {missing}" >&2; exit 127; }}\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/python/lib")
    with closing(Sandbox(tmp_path / "tables.duckdb")) as found:
        assert still_answers(found)
    monkeypatch.delenv("LD_LIBRARY_PATH")
    with closing(Sandbox(tmp_path / "tables.duckdb")) as found:
        with pytest.raises(EnvironmentFault, match="does not start") as caught:
            found.run(COUNT)
        assert missing in str(caught.value)
