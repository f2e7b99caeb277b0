"""Runs upon runs, in one process and in many, hold no more than the first ones did."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from bench_command import ROOT, Bench
from soak_runs import TRAINED

from harness.data.sources.resolve import resolve_dataset

BENCH = ("--variant=base", "--limit=8", "-k", "loss or execution")
RUNS_IN_ONE, RUNS_IN_MANY = 120, 80
GROWTH_BYTES = 32e3
"""Most that the resident set may grow in a run, over the last half of the runs: the results of one
run kept would be more."""
ARENA_BYTES = 2**20
"""By which Python takes memory (ARENA_BITS in its Objects/obmalloc.c): the resident set shows
growth in whole arenas, the first of them perhaps nearly full already."""
WINDOW = 10


def environment(folder: Path) -> dict[str, str]:
    """A cache and a folder for temporary files of the soak's own."""
    (folder / "tmp").mkdir(exist_ok=True)
    own = {"XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
    return {**os.environ, **own, "PYTHONPATH": str(ROOT)}


def prepared(folder: Path) -> None:
    """Predictions to score, and a cache that holds all stages of the run."""
    examples = resolve_dataset("mini").test.examples
    rows = [{"id": e.id, "text": "SELECT COUNT x FROM y"} for e in examples]
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status, output = Bench(folder, BENCH).run("first")
    assert status == 0, output


def in_one_process(count: int, folder: Path) -> list[dict[str, Any]]:
    script = Path(__file__).with_name("soak_runs.py")
    done = subprocess.run(
        [sys.executable, str(script), str(count), str(folder), str(folder / "held.jsonl")],
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "held.jsonl").read_text().splitlines()]


def check_nothing_grows(held: list[dict[str, Any]], from_run: int) -> None:
    """Files, threads, children and temporary files stay as they were from ``from_run`` on."""
    for what in ("files", "threads", "children", "temporary"):
        late = [row[what] for row in held[from_run:]]
        assert late == [late[0]] * len(late), what
    # The process that reads answers stays for the next command, and ends with this process.
    assert held[-1]["children"] <= 1
    # MLX keeps its compiled kernels there: the same ones from the first training on.
    assert {name.split("/")[0] for name in held[-1]["temporary"]} <= {"mlx"}


@pytest.mark.slow
def test_a_few_runs_in_one_process_leave_nothing_open(tmp_path: Path) -> None:
    examples = resolve_dataset("mini").test.examples
    rows = [{"id": e.id, "text": "SELECT COUNT x FROM y"} for e in examples]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    script = (
        "import sys, json; from pathlib import Path; import soak_runs\n"
        "held = []\n"
        "for n in range(5):\n"
        "    soak_runs.score(Path(sys.argv[1]), n); held.append(soak_runs.held())\n"
        "print(json.dumps(held))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=Path(__file__).parent,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check_nothing_grows(json.loads(done.stdout), 1)


@pytest.mark.slow
def test_120_runs_in_one_process_do_not_grow(tmp_path: Path) -> None:
    prepared(tmp_path)
    held = in_one_process(RUNS_IN_ONE, tmp_path)
    assert len(held) == RUNS_IN_ONE
    check_nothing_grows(held, 40)
    late = [row["rss"] for row in held[RUNS_IN_ONE // 2 :]]
    print(f"resident: {held[0]['rss'] / 1e6:.1f} MB, {late[0] / 1e6:.1f}, {late[-1] / 1e6:.1f}")
    arenas = math.ceil(GROWTH_BYTES * len(late) / ARENA_BYTES) + 1
    assert late[-1] - late[0] < arenas * ARENA_BYTES
    # A step lies in few of the windows, what each run leaves in all of them.
    windows = [later - one for one, later in zip(late, late[WINDOW:], strict=False)]
    assert statistics.median(windows) < GROWTH_BYTES * WINDOW
    # Each run leaves its results, and nothing else in the cache.
    kinds = Counter(row["kind"] for row in held)
    assert kinds["train"] == RUNS_IN_ONE // 10
    assert len(list((tmp_path / "runs").iterdir())) == 1 + kinds["bench"] + kinds["train"]


@pytest.mark.slow
def test_80_runs_in_processes_of_their_own_leave_nothing(tmp_path: Path) -> None:
    prepared(tmp_path)
    cached = {path: path.stat().st_size for path in (tmp_path / "cache").rglob("*")}
    command = [sys.executable, "-m", "harness", "score", "--dataset=mini", "--split=test"]
    command += [f"--predictions={tmp_path / 'p.jsonl'}", f"--out={tmp_path / 'scores.jsonl'}"]
    for number in range(RUNS_IN_MANY):
        if number % 5 == 0:  # every fourth of these trains and answers anew
            options = tuple(TRAINED) if number % 20 == 10 else BENCH
            process = Bench(tmp_path, options).start(f"soak{number}", **environment(tmp_path))
        else:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(tmp_path),
                stdout=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        assert process.wait() == 0
        assert not [p for p in psutil.process_iter() if _session(p) == process.pid]
    # The first score added its gold.
    added = {p for p in (tmp_path / "cache").rglob("*") if p not in cached}
    assert {p.relative_to(tmp_path / "cache" / "tunebench").parts[0] for p in added} == {"gold"}
    assert all(path.stat().st_size == size for path, size in cached.items() if path.is_file())
    assert {path.name for path in (tmp_path / "tmp").iterdir()} <= {"mlx"}


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None
