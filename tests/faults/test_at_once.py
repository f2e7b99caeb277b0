"""Commands at the same time on one cache: each is as if it ran alone, and none waits for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_command import ROOT, Bench, without_times

OPTIONS = ("--variant=lora", "--limit=16", "--set", "iters=8", "-k", "loss or execution")


@pytest.mark.slow
def test_four_scores_at_once_grade_as_one(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    lines = (json.dumps({"id": n, "text": f"SELECT a FROM t WHERE b = {n}"}) for n in range(60))
    (tmp_path / "p").write_text("\n".join(lines))
    outs = [tmp_path / f"{number}.jsonl" for number in range(4)]
    command = [sys.executable, "-m", "harness", "score", "--dataset=mini", "--split=valid"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    running = [
        subprocess.Popen(
            [*command, f"--predictions={tmp_path / 'p'}", f"--out={out}"], cwd=ROOT, env=environment
        )
        for out in outs
    ]
    assert [process.wait() for process in running] == [0] * 4
    assert len({out.read_bytes() for out in outs}) == 1
    assert len([*(tmp_path / "cache" / "tunebench" / "gold").glob("*/gold.json")]) == 1
    record_property("tried", 4)


@pytest.mark.slow
def test_runs_at_once_on_one_cache_are_as_alone(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    alone, *both = (Bench(tmp_path / name, OPTIONS) for name in ("alone", "a", "b"))
    status, output = alone.run("run")
    assert status == 0, output
    shared = str(tmp_path / "shared")
    running = [bench.start("run", XDG_CACHE_HOME=shared) for bench in both]
    assert [process.wait() for process in running] == [0, 0]
    for bench in both:
        assert without_times(bench.results("run")) == without_times(alone.results("run"))
        for file in (alone.runs / "run").glob("[lp]*.jsonl"):
            assert (bench.runs / "run" / file.name).read_bytes() == file.read_bytes()
    record_property("tried", 2)


@pytest.mark.slow
def test_of_two_runs_of_one_name_at_once_one_is_written_and_the_other_refused(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    both = [Bench(tmp_path / name, OPTIONS) for name in "ab"]
    (tmp_path / "runs").mkdir()
    for bench in both:
        bench.folder.mkdir()
        bench.runs.symlink_to(tmp_path / "runs")
    shared = str(tmp_path / "shared")
    running = [bench.start("same", XDG_CACHE_HOME=shared) for bench in both]
    assert sorted(process.wait() for process in running) == [0, 1]
    said = "".join(bench.output.read_text("utf-8") for bench in both)
    assert "tunebench: the run was not written: cannot write" in said
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["same"]
    record_property("tried", 2)
