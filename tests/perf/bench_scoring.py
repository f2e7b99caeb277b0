"""Rows of `make perf` on `score` as a whole command: processor seconds with its children."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from bench_model import skip_if_there
from perf_scoring import source
from perf_sql_texts import texts, wrong
from table import ROOT, Measured, Row, keep

ROUNDS = 3
WRONG = 15_878
EVALDATA = 10.8
"""evaldata 0.9.0's processor time over that of the bare loop, the project's earlier measurement."""


def spent(place: Path, *arguments: str) -> float:
    """Processor seconds of a Python process and of the processes that it ended."""
    own = {"XDG_CACHE_HOME": str(place / "cache"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *arguments]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **own}, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def scored(place: Path, folder: Path, copies: int = 0) -> float:
    """`tunebench score` of the folder's answers."""
    given = ("--dataset", str(folder), "--split", "test", "--out", str(place / "rows.jsonl"))
    answers = ("--predictions", str(folder / "predictions.jsonl"), "--hardened", str(copies))
    return spent(place, "-m", "harness", "score", *given, *answers)


def graded(place: Path, folder: Path, by: str) -> float:
    """Another way of grading them."""
    return spent(place, "tests/perf/perf_sql_texts.py", by, str(folder))


def test_texts(tmp_path: Path) -> None:
    skip_if_there("score_texts")
    count = texts(tmp_path / "texts")
    cold = scored(tmp_path, tmp_path / "texts")
    there = find_spec("evaldata") is not None
    ours, bare, peer = [], [], []
    for _ in range(ROUNDS):
        ours.append(scored(tmp_path, tmp_path / "texts"))
        bare.append(graded(tmp_path, tmp_path / "texts", "sqlite"))
        other = graded(tmp_path, tmp_path / "texts", "evaldata") if there else EVALDATA * bare[-1]
        peer.append(other)
    mine, theirs, loop = (Measured(tuple(found), "s") for found in (ours, peer, bare))
    said = "" if there else f"; evaldata is not at hand: its time is taken as {EVALDATA:g} loops"
    keep(
        Row(
            "score_texts",
            f"`score` of {count:,} SQL texts, whole command, processor time",
            "evaldata (no sandbox)",
            mine,
            theirs,
            mine.median / theirs.median,
            "x",
            0.7,
            0.4,
            False,
            f"{source()}, gold results kept from before, the first time {cold:.2f} s; a bare loop "
            f"over sqlite3 takes {loop}, ours {mine.median / loop.median:.1f} times that{said}",
            "every protocol is graded, and the files are checked line by line",
        )
    )


def test_hardened(tmp_path: Path) -> None:
    skip_if_there("hardened")
    wrong(tmp_path / "wrong", WRONG)
    scored(tmp_path, tmp_path / "wrong")
    plain = [scored(tmp_path, tmp_path / "wrong") for _ in range(ROUNDS)]
    copies = [scored(tmp_path, tmp_path / "wrong", 8) for _ in range(ROUNDS)]
    mine, theirs = Measured(tuple(copies), "s"), Measured(tuple(plain), "s")
    keep(
        Row(
            "hardened",
            f"`score` of {WRONG:,} wrong answers that run, with 8 perturbed copies, processor time",
            "the same without copies",
            mine,
            theirs,
            mine.median / theirs.median,
            "x",
            5,
            3,
            False,
            "another column, another aggregate, a condition too few, an operator turned round",
        )
    )
