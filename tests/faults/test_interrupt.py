"""Ctrl-C is one message and status 130; state is kept and no process left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from bench_command import ROOT, Bench, descendants, gone, wait_for

from harness.data.sources.resolve import resolve_dataset


def press_on(process: subprocess.Popen[str]) -> None:
    """Ctrl-C every few milliseconds until the command has ended."""

    def press() -> None:
        while process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.01)

    threading.Thread(target=press, daemon=True).start()


@pytest.mark.slow
@pytest.mark.parametrize("impatient", [False, True])
def test_ctrl_c_in_a_training_is_one_message_and_130(tmp_path: Path, impatient: bool) -> None:
    options = ("--variant=lora", "--limit=8", "--set", "iters=10000", "--set", "val_batches=1")
    bench = Bench(tmp_path, (*options, "-k", "finetune"))
    process = bench.start("x")
    wait_for(lambda: list(bench.cache.glob("training/*/state/*.json")), process)
    workers = descendants(process)
    assert workers
    if impatient:
        press_on(process)
    # A terminal sends it to every process of the command.
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) == 130
    output = bench.output.read_text("utf-8")
    assert (
        "tunebench: interrupted; finished stages, training and answers so far are kept in "
        f"{bench.cache}. The same command goes on from there."
    ) in output
    assert "Traceback" not in output
    assert gone(workers)
    assert list(bench.cache.glob("training/*/state/*.json"))
    assert not list(bench.cache.rglob("*.partial"))
    assert not bench.runs.exists()


@pytest.mark.parametrize("impatient", [False, True])
def test_ctrl_c_in_score_is_one_message_and_130(tmp_path: Path, impatient: bool) -> None:
    examples = resolve_dataset("mini").test.examples
    rows = [{"id": e.id, "text": "SELECT COUNT x FROM y"} for e in examples]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "out.jsonl").write_text("earlier\n")
    command = [sys.executable, "-m", "harness", "score", "--dataset=mini", "--split=test"]
    command += [f"--predictions={tmp_path / 'p.jsonl'}", f"--out={tmp_path / 'out.jsonl'}"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: list((tmp_path / "cache" / "tunebench" / "gold").glob(".*.partial")), process)
    workers = descendants(process)
    if impatient:
        press_on(process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "tunebench: interrupted; what was there before is as it was\n"
    assert (tmp_path / "out.jsonl").read_text() == "earlier\n"
    assert gone(workers)
