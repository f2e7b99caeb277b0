"""`kill -9` loses at most a batch or the time since the last state, and changes no number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from bench_command import ROOT, descendants, gone, wait_for

ANSWERS = """
import json, sys
from pathlib import Path
from harness.pipeline.worker import Worker
cache, kernels, work = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
opened = {"model": "tiny", "variant": {"name": "base", "fine_tune_type": "base"}}
opened |= {"dataset": "mini", "prompt_style": "dialect", "cache_root": cache}
opened |= {"trust_remote_code": False}
worker = Worker("x")
if kernels.exists():
    worker.call("open", {**opened, "kernels": json.loads(kernels.read_text())})
else:
    worker.call("open", opened)
    kernels.write_text(json.dumps(worker.call("describe", {})["acceleration"]))
asked = {"ids": list(range(48)), "adapter": None}
found = [worker.call("answers", {**asked, "work": str(work / name)})["rows"] for name in "ab"]
Path(sys.argv[4]).write_text(json.dumps(found))
"""


def test_killed_while_generating_it_goes_on_and_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ANSWERS, str(tmp_path / "cache"), str(tmp_path / "kernels")]
    command += [str(tmp_path / "work"), str(tmp_path / "found")]
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
    assert 1 <= kept.count(b"\n") - 1 < 3
    assert start().wait() == 0
    assert journal.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    resumed, whole = json.loads((tmp_path / "found").read_text())
    assert resumed == whole
    assert not list(tmp_path.glob("tunebench-*"))
