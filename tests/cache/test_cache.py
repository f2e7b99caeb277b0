"""The cache gives whole, undamaged entries or none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cache import Cache
from harness.errors import UserError


def _fill(text: str, calls: list[int] | None = None):
    def make(folder: Path) -> None:
        if calls is not None:
            calls.append(1)
        (folder / "a.txt").write_text(text)

    return make


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), []
    first = cache.build("k", "key", _fill("one", calls))
    second = cache.build("k", "key", _fill("two", calls))
    assert first == second
    assert (second / "a.txt").read_text() == "one"
    assert len(calls) == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest"])
def test_a_damaged_entry_is_moved_aside_and_built_again(
    tmp_path: Path, damage: str, capsys
) -> None:
    cache = Cache(tmp_path)
    folder = cache.build("k", "key", _fill("one"))
    target = folder / "a.txt"
    if damage == "flip":
        target.write_text("onf")
    elif damage == "cut":
        target.write_text("on")
    elif damage == "remove":
        target.unlink()
    else:
        (folder / ".manifest.json").write_text("{")
    again = cache.build("k", "key", _fill("two"))
    assert (again / "a.txt").read_text() == "two"
    assert "k/key" in capsys.readouterr().err
    assert len(list(tmp_path.glob("k/key.damaged-*"))) == 1


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def explode(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("stop")

    cache = Cache(tmp_path)
    with pytest.raises(RuntimeError):
        cache.build("k", "key", explode)
    assert cache.find("k", "key") is None
    assert not list(tmp_path.glob("k/.*partial"))


def test_two_processes_build_one_entry_once(tmp_path: Path) -> None:
    script = (
        "import sys,time\nfrom pathlib import Path\nfrom harness.cache import Cache\n"
        "def make(f):\n"
        "    open(sys.argv[2],'a').write('x'); time.sleep(0.3); (f/'a').write_text('1')\n"
        "Cache(Path(sys.argv[1])).build('k','key',make)\n"
    )
    log = tmp_path / "log"
    command = [sys.executable, "-c", script, str(tmp_path / "cache"), str(log)]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(30) for process in running] == [0, 0, 0]
    assert log.read_text() == "x"


def test_an_unwritable_root_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        Cache(tmp_path / "file").build("k", "key", _fill("one"))


def test_prune_removes_entries_and_leftovers_but_not_what_is_being_written(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.build("k", "key", _fill("one"))
    assert [entry.key for entry in cache.entries()] == ["key"]
    dead, download = (
        tmp_path / "k" / ".key.999999999.partial",
        tmp_path / "downloads" / ".a.partial",
    )
    live, idle = tmp_path / "evaluating" / "live", tmp_path / "evaluating" / "idle"
    long_ago = time.time() - 86400
    for folder in (dead, download, live, idle):
        folder.mkdir(parents=True)
        (folder / "rows.journal").write_text("one")
        for path in (folder / "rows.journal", folder):
            os.utime(path, (long_ago, long_ago))
    os.utime(live / "rows.journal")  # appending leaves the folder's own time as it was
    assert [entry.key for entry in cache.prune()] == ["key"]
    assert cache.entries() == []
    assert [folder.name for folder in (dead, download, live, idle) if folder.exists()] == ["live"]
