"""`kill -9` loses at most a batch or the time since the last state, and changes no number."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from bench_command import ROOT, Bench, descendants, gone, kill, wait_for, without_times

Record = Callable[[str, object], None]
"""pytest's `record_property`; "tried" is what `make faults` counts."""

ANSWERS = """
import json, sys
from pathlib import Path
from harness.schema.stage_results import ANSWERS, OPEN
from harness.schema.stage_results import EvaluateRequest, OpenRequest
from harness.worker.client import Worker
cache, work = sys.argv[1], Path(sys.argv[2])
opened = {"model": sys.argv[4], "variant": {"name": "base", "fine_tune_type": "base"}}
opened |= {"dataset": "mini", "prompt_style": "dialect", "cache_root": cache}
worker = Worker("x")
worker.call(OPEN, OpenRequest(**opened))
found = []
for name in "ab":
    request = EvaluateRequest(ids=list(range(80)), adapter=None, work=work / name)
    found.append([row.model_dump() for row in worker.call(ANSWERS, request).rows])
Path(sys.argv[3]).write_text(json.dumps(found))
"""


@pytest.mark.slow
def test_killed_while_generating_it_goes_on_and_leaves_no_process(
    tmp_path: Path, two_layers: Path
) -> None:
    command = [sys.executable, "-c", ANSWERS, str(tmp_path / "cache")]
    command += [str(tmp_path / "work"), str(tmp_path / "found"), str(two_layers)]
    journal = tmp_path / "work" / "a" / "rows.journal"

    def start() -> subprocess.Popen[str]:
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        return subprocess.Popen(command, cwd=ROOT, env=environment, text=True)

    def batches() -> int:
        return journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0

    process = start()
    wait_for(lambda: batches() >= 1, process)
    workers = descendants(process)
    assert workers
    process.kill()  # this one only: its model process must see it by itself
    process.wait()
    assert gone(workers)
    kept = journal.read_bytes()
    assert 1 <= kept.count(b"\n") - 1 < 5
    assert start().wait() == 0
    assert journal.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    resumed, whole = json.loads((tmp_path / "found").read_text())
    assert resumed == whole
    assert not list(tmp_path.glob("tunebench-*"))


@dataclass(frozen=True)
class Moment:
    """A stage of the command, and what shows from outside that it is at work."""

    stage: str
    shown_by: str
    """What this process must have written, as a pattern under the bench's folder."""
    kills: int
    within: str = "*"
    """What must be there as well."""


CACHE = "cache/tunebench"
MOMENTS = (
    Moment("conversion", f"{CACHE}/models/.tiny-*.partial", 1),
    Moment("conversion", f"{CACHE}/quantized/.*.partial", 2),
    Moment("conversion", f"{CACHE}/describe/.*.partial", 1),
    Moment("training", f"{CACHE}/training/*/state/state-*.json", 5),
    Moment("training", f"{CACHE}/training/*/finetune.json", 1),
    Moment("training", f"{CACHE}/finetune/.*.partial/*.safetensors", 1),
    Moment("generation", f"{CACHE}/evaluating/*/rows.journal", 3, f"{CACHE}/generate/.*.partial"),
    Moment("scoring", f"{CACHE}/gold/.*.partial", 1),
    Moment("loss", f"{CACHE}/evaluating/*/rows.journal", 2, f"{CACHE}/loss/.*.partial"),
    Moment("writing", "runs/.killed.*", 3),
)
"""In the order in which they come."""

WANTED = 20
OPTIONS = ("--variant=qlora", "--limit=64", "--set", "iters=16", "--set", "save_every=2")
OPTIONS += ("--set", "steps_per_eval=8", "--set", "val_batches=1")
OPTIONS += ("-k", "finetune or loss or execution")


def written(bench: Bench, pattern: str) -> set[tuple[str, int]]:
    found = set()
    for path in bench.folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            found.add((str(path), path.stat().st_mtime_ns))
    return found


def kill_at(bench: Bench, moments: Sequence[Moment], generator: random.Random) -> list[str]:
    """Start the command, kill it in the first of ``moments`` that shows, and say in which stage;
    a moment may be over before it is seen, and a run may end before the kill."""
    before = [written(bench, moment.shown_by) for moment in moments]
    process = bench.start("killed")
    stages = []
    while process.poll() is None and not stages:
        time.sleep(0.005)
        for moment, old in zip(moments, before, strict=True):
            if written(bench, moment.shown_by) - old and written(bench, moment.within):
                time.sleep(generator.uniform(0.0, 0.15))
                stages = [moment.stage]
                break
    running = process.poll() is None
    if running:
        kill(process)
    else:
        assert process.wait() == 0, bench.output.read_text("utf-8")
    if (bench.runs / "killed").exists():
        shutil.rmtree(bench.runs / "killed")  # it was quicker
    return stages if running else []


@pytest.mark.slow
def test_kill_minus_9_at_any_moment_changes_no_number(
    tmp_path: Path, record_property: Record
) -> None:
    whole, cut = Bench(tmp_path / "whole", OPTIONS), Bench(tmp_path / "cut", OPTIONS)
    status, output = whole.run("killed")
    assert status == 0, output
    generator = random.Random(0)
    stages: list[str] = []
    for place, moment in enumerate(MOMENTS):
        for _ in range(moment.kills):
            stages += kill_at(cut, MOMENTS[place:], generator)
    for _ in range(10):  # some runs may have ended before they were killed
        stages += kill_at(cut, MOMENTS[-1:], generator) if len(stages) < WANTED else []
    record_property("tried", len(stages))
    assert len(stages) >= WANTED, stages
    assert set(stages) == {moment.stage for moment in MOMENTS}
    status, output = cut.run("killed")
    assert status == 0, output
    assert without_times(cut.results("killed")) == without_times(whole.results("killed"))
    for file in sorted(whole.cache.glob("finetune/*/**/*.safetensors")):
        again = cut.cache / file.relative_to(whole.cache)
        assert again.read_bytes() == file.read_bytes(), file
    for file in whole.runs.glob("killed/*.jsonl"):
        assert (cut.runs / "killed" / file.name).read_bytes() == file.read_bytes(), file
    for folder in ("training", "evaluating"):
        assert list((cut.cache / folder).iterdir()) == []
    assert [path.name for path in cut.runs.iterdir()] == ["killed"]
    assert not list(cut.cache.glob("*/.*.partial"))


@pytest.mark.slow
def test_what_a_killed_run_without_a_cache_left_goes_with_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    bench = Bench(tmp_path, ("--no-cache", "--limit=4", "--set", "val_batches=1"))
    killed = ("--variant=lora", "--set", "iters=10000", "-k", "finetune")
    process = bench.start("killed", *killed, TMPDIR=str(folder))
    wait_for(lambda: list(folder.glob("tunebench-no-cache-*/training/*/state/*.json")), process)
    kill(process)
    assert list(folder.glob("tunebench-no-cache-*/training/*/state/*.json"))
    status, output = bench.run("next", "--variant=base", "-k", "loss", TMPDIR=str(folder))
    assert status == 0, output
    assert not list(folder.iterdir())


TEXT = "SELECT Name FROM t WHERE Name LIKE '%a%{number}%' AND Note LIKE '%b%'"
WORKER = "sandbox_process.py"


def score_command(folder: Path) -> list[str]:
    """400 questions that DuckDB answers one by one, a second and more of processor time."""
    rows = [[f"name {number}", "ab" * 20] for number in range(4_000)]
    table = {"id": "t", "header": ["Name", "Note"], "types": ["text", "text"], "rows": rows}
    gold = {"sel": 0, "agg": 0, "conds": [[0, 0, "name 7"]]}
    example = {"phase": 1, "table_id": "t", "question": "q", "sql": gold}
    (folder / "x.tables.jsonl").write_text(json.dumps(table))
    (folder / "x.jsonl").write_text((json.dumps(example) + "\n") * 400)
    answers = [json.dumps({"id": n, "text": TEXT.format(number=n)}) for n in range(400)]
    (folder / "p.jsonl").write_text("\n".join(answers))
    options = [f"--dataset={folder}", "--split=x", f"--predictions={folder / 'p.jsonl'}"]
    return [sys.executable, "-m", "harness", "score", *options, f"--out={folder / 'o.jsonl'}"]


def kill_workers(process: subprocess.Popen[str], after_s: float, most: int) -> int:
    """Kill DuckDB's processes once each has used ``after_s`` of processor time; how many."""
    killed: set[int] = set()
    while process.poll() is None:
        for child in psutil.Process(process.pid).children() if len(killed) < most else []:
            with contextlib.suppress(psutil.Error):
                named = any(WORKER in word for word in child.cmdline())
                if named and child.pid not in killed and child.cpu_times().user >= after_s:
                    child.kill()
                    killed.add(child.pid)
        time.sleep(0.01)
    return len(killed)


@pytest.mark.slow
def test_a_killed_query_process_costs_no_verdict_and_one_that_is_always_killed_ends_score(
    tmp_path: Path, record_property: Record
) -> None:
    command = score_command(tmp_path)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )

    assert start().wait() == 0
    rows = (tmp_path / "o.jsonl").read_bytes()
    assert rows.count(b'"valid": true') == 400
    for most in (1, 2, 3):
        process = start()
        assert kill_workers(process, 0.4, most) >= 1
        assert process.wait() == 0
        assert (tmp_path / "o.jsonl").read_bytes() == rows
    process = start()
    killed = kill_workers(process, 0.0, 99)
    assert (process.wait(), killed) == (2, 2)
    assert process.stderr is not None
    said = process.stderr.read()
    assert "(DuckDB) " in said
    assert "tried 2 times: killed by signal 9 (SIGKILL). This is a fault of the machine" in said
    assert "Traceback" not in said
    assert (tmp_path / "o.jsonl").read_bytes() == rows
    record_property("tried", 8)
