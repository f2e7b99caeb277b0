"""The cache gives whole, undamaged entries or none."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.disk import cache as cache_module
from harness.disk.cache import Cache
from harness.distributed.coordinator import RankError
from harness.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


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


def test_a_value_is_made_once_and_anew_where_nothing_can_be_kept(tmp_path: Path) -> None:
    made: list[float] = []

    def make() -> dict[str, float]:
        made.append(1.0)
        return {"text": 0.1, "none": float("inf")}

    (tmp_path / "file").touch()
    for root, times in ((tmp_path, 1), (tmp_path / "file" / "root", 2)):
        made.clear()
        found = [Cache(root).value("v", ["half \ud83d"], ["pytest"], make) for _ in range(2)]
        assert found == [{"text": 0.1, "none": float("inf")}] * 2
        assert len(made) == times


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
        "import sys,time\nfrom pathlib import Path\nfrom harness.disk.cache import Cache\n"
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


WAITING = """
import sys
from pathlib import Path
from harness.disk import cache as module
from harness.disk.cache import Cache
real, folder = module.damage_of, Path(sys.argv[1])
def damage(entry):
    found = real(entry)
    if found is not None and not (folder / "seen").exists():
        (folder / "seen").touch()
        while not (folder / "go").exists():
            pass
    return found
module.damage_of = damage
found = Cache(folder / "cache").find("k", "key")
print("none" if found is None else (found / "a.txt").read_text())
"""


def test_who_saw_damage_late_does_not_move_the_rebuilt_entry_aside(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    folder = cache.build("k", "key", _fill("one"))
    (folder / "a.txt").write_text("onf")
    command = [sys.executable, "-c", WAITING, str(tmp_path)]
    late = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "seen").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    cache.build("k", "key", _fill("two"))
    (tmp_path / "go").touch()
    assert late.communicate(timeout=30)[0] == "two\n"
    assert len(list((tmp_path / "cache").glob("k/key.damaged-*"))) == 1


def test_an_entry_that_goes_while_it_is_looked_at_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    folder = cache.build("k", "key", _fill("one"))

    def gone(entry: Path) -> str | None:
        shutil.rmtree(entry)
        return real(entry)

    real = cache_module.damage_of
    monkeypatch.setattr(cache_module, "damage_of", gone)
    assert cache.find("k", "key") is None
    assert not folder.exists()


DISCARDING = """
import os, shutil, sys
from pathlib import Path
from harness.disk.cache import Cache
def killed(*_, **__):
    os.kill(os.getpid(), 9)
shutil.rmtree = killed
Cache(Path(sys.argv[1])).discard("k", "key")
"""


def test_a_kill_while_an_entry_is_removed_leaves_none_by_its_name(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.build("k", "key", _fill("one"))
    done = subprocess.run([sys.executable, "-c", DISCARDING, str(tmp_path)], cwd=ROOT)
    assert done.returncode == -9
    assert not (tmp_path / "k" / "key").exists()
    (half,) = (tmp_path / "k").glob(".key.*.partial")
    assert (cache.build("k", "key", _fill("two")) / "a.txt").read_text() == "two"
    assert not half.exists()


def test_an_entry_that_is_discarded_before_it_is_read_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, other, calls = Cache(tmp_path), Cache(tmp_path), []

    def discarded(self: Cache, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        folder = real(self, kind, key, make)
        if len(calls) == 1:
            other.discard(kind, key)
        return folder

    real = Cache.build
    monkeypatch.setattr(Cache, "build", discarded)
    assert cache.read("k", "key", _fill("one", calls), "a.txt") == "one"
    assert len(calls) == 2


def test_another_machine_s_full_disk_is_not_taken_for_the_cache_s(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        raise RankError("rank 1 (mac2): cannot write in /tmp: No space left on device")

    with pytest.raises(RankError, match=r"^rank 1 \(mac2\): cannot write in /tmp"):
        Cache(tmp_path).build("k", "key", make)
