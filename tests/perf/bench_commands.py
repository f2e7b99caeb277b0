"""Rows of `make perf` that time commands and scoring, by pytest-benchmark; no model of size."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_model import skip_if_there
from perf_scoring import enlarged, source
from table import ROOT, Measured, Row, faster, keep

OFFICIAL_MS = 1.16
"""Milliseconds an example of WikiSQL's evaluator at 2,630 tables, from the issue: not run here."""

EXAMPLES = 8_421  # WikiSQL's dev split: about 2,700 tables

DEFAULT = ("suites/", "--variant=qlora")
SUITE = ("suites/", "--model=tiny", "--variant=lora,qlora", "--limit=20", "--set", "iters=4")


WITHOUT_TRIALS = "--deselect=suites/test_throughput.py"
"""Speed trials are a fixed number of tokens and rounds, another number in other versions."""

BEFORE = "0cff904"
"""The commit that a command is measured against."""


def command(*arguments: str, cache: Path, tree: Path = ROOT) -> str:
    """Run `pytest ARGUMENTS` of a tree with a cache of its own; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=tree,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def timed(benchmark: Any, run: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of each round."""
    benchmark.pedantic(run, rounds=rounds, iterations=1)
    return list(benchmark.stats.stats.data)


def test_score(benchmark: Any, tmp_path: Path) -> None:
    skip_if_there("score")
    from harness.cli.scoring import run_score
    from harness.disk.cache import Cache

    folder, cache = enlarged(tmp_path / "data", EXAMPLES), Cache(tmp_path / "cache")

    def run() -> None:
        run_score(folder, "test", folder / "predictions.jsonl", "wikisql", cache=cache)

    started = time.perf_counter()
    run()
    cold = time.perf_counter() - started
    seconds = timed(benchmark, run, 5)
    keep(
        faster(
            "score",
            "score predictions, ms an example",
            "the official evaluator",
            [1e3 * value / EXAMPLES for value in seconds],
            [OFFICIAL_MS],
            (5, 10),
            "ms",
            f"{EXAMPLES} examples of {source()}, files read, all protocols without perturbed "
            f"copies; gold results kept from before, the first time {1e3 * cold / EXAMPLES:.2f} ms "
            f"({OFFICIAL_MS * EXAMPLES / 1e3 / cold:.1f}x). The evaluator is not at hand: its "
            "1.16 ms at 2,630 tables is the project's earlier measurement",
        )
    )


def first_and_again(benchmark: Any, arguments: tuple[str, ...]) -> tuple[float, list[float]]:
    """Seconds of `pytest ARGUMENTS` with an empty cache, and of three more runs of it."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        number = iter(range(100))

        def run() -> None:
            results = (f"--results-dir={folder}", f"--run-name=r{next(number)}")
            command(*arguments, *results, cache=folder / "cache")

        started = time.perf_counter()
        run()
        first = time.perf_counter() - started
        return first, timed(benchmark, run, 3)


def spent(*arguments: str, cache: Path, tree: Path) -> float:
    """Processor seconds of `pytest ARGUMENTS` of a tree, its children's too."""

    def so_far() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    began = so_far()
    results = f"--results-dir={cache / 'results'}", f"--run-name={time.time_ns()}"
    command(*arguments, *results, cache=cache, tree=tree)
    return so_far() - began


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the commit ``BEFORE``, out of this repository's own history."""
    folder = tmp_path_factory.mktemp("before")
    packed = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip(f"no commit {BEFORE} in this clone: `git fetch --unshallow` brings it")
    subprocess.run(["tar", "-x"], cwd=folder, input=packed.stdout, check=True)
    return folder


def in_turns(
    before: Path, place: Path, arguments: tuple[str, ...], rounds: int, cold: bool
) -> tuple[list[float], list[float]]:
    """Processor seconds of a command of this tree and of the one ``before``, in turns; with an
    empty cache each time, or again after a first run of each."""
    ours: list[float] = []
    theirs: list[float] = []
    for turn in range(-(not cold), rounds):
        for tree, found in ((before, theirs), (ROOT, ours)):
            cache = place / tree.name / (str(turn) if cold else "cache")
            took = spent(*arguments, cache=cache, tree=tree)
            if turn >= 0:
                found.append(took)
    return ours, theirs


def test_again(before: Path, tmp_path: Path) -> None:
    skip_if_there("again")
    ours, theirs = in_turns(before, tmp_path, SUITE, 3, cold=False)
    keep(
        faster(
            "again",
            "second run of one command, processor time",
            f"commit {BEFORE}, in turns",
            ours,
            theirs,
            (2, 4),
            "s",
            f"`pytest {' '.join(SUITE)}`, everything cached; a fully cached run neither grades, "
            "compares nor draws (tests/perf/test_counts.py)",
            "half of what is left is the start: pytest, its plugins, pydantic's models, numpy",
        )
    )


@pytest.mark.parametrize(
    ("name", "what", "more"),
    [
        ("cold", "with the speed trials", ()),
        ("cold_without_trials", "without speed trials", (WITHOUT_TRIALS,)),
    ],
)
def test_cold(name: str, what: str, more: tuple[str, ...], before: Path, tmp_path: Path) -> None:
    skip_if_there(name)
    ours, theirs = in_turns(before, tmp_path, (*SUITE, *more), 2, cold=True)
    keep(
        faster(
            name,
            f"tiny, two variants, cold, {what}, processor time",
            f"commit {BEFORE}, in turns",
            ours,
            theirs,
            (1.7, 2.5),
            "s",
            f"`pytest {' '.join((*SUITE, *more))}`, an empty cache each time",
            "answering and fusing an untrained model take most of it, and no less than then",
        )
    )


def test_second_run(benchmark: Any) -> None:
    skip_if_there("second_run")
    first, again = first_and_again(benchmark, DEFAULT)
    keep(
        faster(
            "second_run",
            "second run of the same command",
            "the first",
            again,
            [first],
            (20, 50),
            "s",
            f"`pytest {' '.join(DEFAULT)}`: smollm2 on mini, the download in the first",
        )
    )


def test_suite(benchmark: Any) -> None:
    skip_if_there("suite")
    first, again = first_and_again(benchmark, SUITE)
    keep(
        Row(
            "suite",
            "`pytest suites/` of tiny, two variants, cold",
            "the target of the first issue",
            Measured((first,), "s"),
            None,
            first,
            "s",
            60,
            60,
            False,
            f"`pytest {' '.join(SUITE)}`, an empty cache; again in "
            f"{Measured(tuple(again), 's')}, {first / sorted(again)[1]:.0f} times as fast",
            "the speed trials, of a fixed number of tokens and rounds, take a third of it; answers "
            "of an untrained model never stop and take another (`--durations=14`)",
        )
    )


def test_collect(benchmark: Any, tmp_path: Path) -> None:
    skip_if_there("collect")
    options = ("suites/", "--collect-only", "-q", "-p", "no:hypothesispytest")
    seconds = timed(benchmark, lambda: command(*options[:3], cache=tmp_path), 5)
    plain = timed_once(lambda: command(*options, cache=tmp_path))
    assert "mlx" not in imported(tmp_path)
    middle = sorted(seconds)[len(seconds) // 2]
    keep(
        Row(
            "collect",
            "`pytest suites/ --collect-only`",
            "",
            Measured(tuple(seconds), "s"),
            None,
            middle,
            "s",
            2,
            1,
            False,
            "mlx is not imported; without hypothesis' pytest plugin, which comes with the "
            f"development extras and loads itself, {plain:.2f} s",
        )
    )


GATE = (
    "import harness.cli.runs, harness.compare.evidence, harness.compare.gates, "
    "harness.compare.regrade, harness.compare.thresholds, harness.report.changed_examples, "
    "harness.report.tables.gate_tables, harness.runs.store"
)
"""What `harness/cli/runs.py` imports for `gate`."""


@pytest.mark.parametrize(
    ("name", "what", "arguments"),
    [
        ("help", "`tunebench --help`", ("-m", "harness", "--help")),
        ("help_score", "`tunebench score --help`", ("-m", "harness", "score", "--help")),
        ("import_gate", "importing what `gate` needs", ("-c", GATE)),
    ],
)
def test_start(benchmark: Any, name: str, what: str, arguments: tuple[str, ...]) -> None:
    skip_if_there(name)
    # Compiled modules are kept, as they are for a user.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def run() -> None:
        started = [sys.executable, *arguments]
        subprocess.run(started, cwd=ROOT, env=kept, capture_output=True, check=True)

    run()
    seconds = timed(benchmark, run, 7)
    middle = sorted(seconds)[len(seconds) // 2]
    measured = Measured(tuple(seconds), "s")
    keep(
        Row(
            name,
            what,
            "",
            measured,
            None,
            middle,
            "s",
            0.3,
            0.2,
            False,
            "no pandas, matplotlib or mlx (tests/perf/test_counts.py)",
        )
    )


def timed_once(run: Callable[[], object]) -> float:
    """The shortest of three."""
    found = []
    for _ in range(3):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return min(found)


def imported(cache: Path) -> set[str]:
    """Top-level packages that collecting imports."""
    code = (
        "import json, sys, pytest; pytest.main(['suites/', '--collect-only', '-q']);"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))
