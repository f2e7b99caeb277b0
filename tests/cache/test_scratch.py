"""Temporary folders of killed processes go at the next start, those of living ones never."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

import pytest

from harness.disk import scratch
from harness.disk.cache import Cache
from harness.disk.scratch import Scratch, sweep

ROOT = Path(__file__).resolve().parents[2]

LIVING = """
import sys
from harness.disk.cache import Cache
from harness.disk.scratch import Scratch
made = [Cache.temporary().root, Scratch("rank-1").path]
for path in made:
    (path / "file").write_text("x")
print(*made, sep=chr(10), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_killed_process_s_folders_go_and_a_living_one_s_stay(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LIVING],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    made = [Path(process.stdout.readline().rstrip("\n")) for _ in range(2)]
    assert [path.parent for path in made] == [tmp_path] * 2
    assert sweep() == []
    assert all((path / "file").exists() for path in made)
    process.kill()
    process.wait()
    assert sorted(sweep()) == sorted(made)
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_the_process_does_not_hold_a_released_cache() -> None:
    cache = Cache.temporary()
    alive = weakref.ref(cache)
    cache.release()
    del cache
    gc.collect()
    assert alive() is None


def test_a_folder_is_removed_by_its_owner_alone(tmp_path: Path) -> None:
    cache = Cache.temporary()
    mine = Scratch("no-cache")
    child = os.fork()
    if child == 0:
        mine.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert mine.path.exists()
    mine.remove()
    assert not mine.path.exists()
    assert cache.root.exists()
    assert sweep() == []


def test_what_is_not_locked_goes_after_a_day_and_other_names_never(tmp_path: Path) -> None:
    long_ago = time.time() - 2 * scratch.IDLE_S
    names = ("tunebench-sql-abcdefgh", "tunebench-sql-results", "tunebench-results", "other")
    for name in names:
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (long_ago, long_ago))
    (tmp_path / "tunebench-sql-12345678").mkdir()
    assert [path.name for path in sweep()] == ["tunebench-sql-abcdefgh"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / scratch.ALIVE).write_text("")
    (tmp_path / "tunebench-no-cache-abcdefgh").symlink_to(tmp_path / "mine")
    assert sweep() == []
    assert (tmp_path / "mine").is_dir()
