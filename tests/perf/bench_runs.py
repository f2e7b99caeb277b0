"""Rows of `make perf` on stored runs of the real job's size: processor seconds, not wall time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench_model import skip_if_there
from table import ROOT, Measured, Row, keep, keep_table

from tests.perf.wide_run import VARIANTS

ROUNDS = 3
MERGED = 50
ALL = ",".join(VARIANTS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def python(place: Path, *arguments: str) -> str:
    """What a process prints whose cache is its own, with one thread, as times are its own too."""
    own = {"XDG_CACHE_HOME": str(place / "cache"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wide(place: Path, *numbers: int) -> str:
    """The run of so many examples (and of a seed), written where it is not there yet."""
    examples, seed = (*numbers, 0)[:2]
    folder = place / str(examples) / f"wide-{examples}-{seed}"
    if not folder.is_dir():
        write(folder.parent, str(examples), ALL, str(seed))
    return str(folder)


def write(folder: Path, *arguments: str) -> None:
    """Have wide_run.py write runs into ``folder``, which is their cache's place too."""
    python(folder, "-m", "tests.perf.wide_run", str(folder), *arguments)


def measured(command: str, *runs: str) -> dict[str, Any]:
    """One process of perf_runs.py; its cache is that of the first run's folder."""
    printed = python(Path(runs[0]).parent, "tests/perf/perf_runs.py", command, *runs)
    value: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return value


@pytest.mark.parametrize(
    ("command", "what", "bar", "goal"),
    [
        ("report", "`report`", (5, 4), (3, 2)),
        ("compare", "`compare`", (5, 4), (3, 2)),
        ("page", "the page", (10, 5), (5, 3)),
    ],
)
def test_wide_run(
    command: str, what: str, bar: tuple[int, int], goal: tuple[int, int], place: Path
) -> None:
    skip_if_there(f"wide_{command}")
    run = wide(place, 15_878)
    parsed, ours = [], []
    for _ in range(ROUNDS):
        parsed.append(measured("parse", run)["cpu"])
        ours.append(measured(command, run))
    once = Measured(tuple(parsed), "s").median
    limits = [times * once + more for times, more in (bar, goal)]
    taken = Measured(tuple(one["cpu"] for one in ours), "s")
    size = f", {ours[0]['page_bytes'] / 1e6:.1f} MB" if "page_bytes" in ours[0] else ""
    keep(
        Row(
            f"wide_{command}",
            f"{what} of 6 variants of 15,878 rows, processor time",
            f"{bar[0]} times parsing the same files as JSON, plus {bar[1]} s",
            taken,
            Measured((limits[0],), "s"),
            taken.median / limits[0],
            "x",
            1.0,
            round(limits[1] / limits[0], 2),
            False,
            f"parsing takes {Measured(tuple(parsed), 's')}; the goal is {goal[0]} times that plus "
            f"{goal[1]} s, {limits[1]:.1f} s; peak memory {ours[0]['peak'] / 1e9:.2f} GB{size}",
            "most of it is 100,000 sign flips of every metric of 15 pairs",
        )
    )


def test_gated_end(place: Path) -> None:
    skip_if_there("gated_end")
    runs = wide(place, 15_878), wide(place, 15_878, 1)
    found = [measured("gated_end", *runs, "lora") for _ in range(ROUNDS)]
    judged = Measured(tuple(one["judged"] for one in found), "s")
    written = Measured(tuple(one["written"] for one in found), "s")
    whole = Measured(tuple(one["judged"] + one["written"] for one in found), "s")
    keep(
        Row(
            "gated_end",
            "end of a gated pytest run of one variant, 15,878 rows, processor time",
            "",
            whole,
            None,
            whole.median,
            "s",
            6,
            3,
            False,
            f"verdicts {judged}, the folder with report, charts and page {written}; each pair is "
            "compared once (tests/perf/test_counts.py)",
            "charts and page are drawn whole",
        )
    )


def test_merged_runs(place: Path) -> None:
    skip_if_there("merged")
    folder = place / "merged"
    write(folder, "15878", "lora", *map(str, range(MERGED)))
    found = measured("report", *(str(folder / f"wide-15878-{seed}") for seed in range(MERGED)))
    keep(
        Row(
            "merged",
            "one report of 50 runs (seeds) of 15,878 rows, processor time",
            "",
            Measured((found["cpu"],), "s"),
            None,
            found["cpu"],
            "s",
            60,
            30,
            False,
            f"one variant of each; peak memory {found['peak'] / 1e9:.2f} GB",
        )
    )


def test_growth_of_runs(place: Path) -> None:
    skip_if_there("growth_runs")
    rows = []
    for command in ("report", "compare"):
        for examples in (1_000, 10_000, 100_000):
            one = measured(command, wide(place, examples))
            rows.append(
                (
                    f"`{command}` of 6 variants",
                    f"{examples:,}",
                    f"{one['cpu']:.2f} s",
                    f"{1e3 * one['cpu'] / examples:.3g} ms",
                    f"{one['peak'] / 1e9:.2f} GB",
                )
            )
    keep_table(
        "growth_runs",
        "Growth of report and compare",
        ("what", "examples", "processor time", "time / example", "peak memory"),
        rows,
        "Six variants, generated by `tests/perf/wide_run.py`. Rows are held in memory while they "
        "are compared.",
    )
