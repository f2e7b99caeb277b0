"""Two processes on one cache: one makes an entry, the other learns who does, and waits."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import time
from pathlib import Path

from harness.disk.cache import Cache

MAKER = """
import sys, time
from pathlib import Path
import harness.disk.locks
from harness.disk.cache import Cache
harness.disk.locks.FIRST_NOTICE_S = 0.2
root, name = Path(sys.argv[1]), sys.argv[2]
def make(folder):
    (root / name).touch()
    while name == "first" and not (root / "go").exists():
        time.sleep(0.02)
    (folder / "who.txt").write_text(name)
print((Cache(root / "cache").build("finetune", "abc", make) / "who.txt").read_text())
"""


def start(folder: Path, name: str) -> subprocess.Popen[str]:
    script = folder / "train.py"
    script.write_text(MAKER, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), name],
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(file: Path) -> None:
    limit = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < limit, f"{file} was never made"
        time.sleep(0.02)


def test_the_second_waits_learns_for_whom_and_makes_nothing(tmp_path: Path) -> None:
    first = start(tmp_path, "first")
    wait_for(tmp_path / "first")
    second = start(tmp_path, "second")
    assert second.stderr is not None
    said = second.stderr.readline()
    (tmp_path / "go").touch()
    assert second.communicate(timeout=60)[0] == "first\n"
    assert not (tmp_path / "second").exists()
    assert first.communicate(timeout=60)[0] == "first\n"
    assert re.search(
        rf"waiting \d+ s for process {first.pid} on {re.escape(platform.node())} "
        r"\(train\.py .+ first\): it has held finetune/abc for \d+ s",
        said,
    ), said


def test_when_the_holder_is_killed_the_one_that_waits_makes_it(tmp_path: Path) -> None:
    first = start(tmp_path, "first")
    wait_for(tmp_path / "first")
    second = start(tmp_path, "second")
    time.sleep(0.5)
    first.kill()
    first.wait()
    assert second.communicate(timeout=60)[0] == "second\n"
    entry = Cache(tmp_path / "cache").find("finetune", "abc")
    assert entry is not None
    assert not list(entry.parent.glob(".*.partial"))
