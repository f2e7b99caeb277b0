"""`cache prune`: remove what killed runs left, and on demand what was not used for long.

Cache + age -> what was removed. Nothing that a living process makes or continues is removed: each
key's lock is taken first, without waiting, and a key that another process holds is passed over.
What a run may have looked up already is removed only while no run is under way. Layout: `cache.py`.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.disk import scratch
from harness.disk.cache import (
    DOWNLOADS,
    FINGERPRINTS,
    UNFINISHED,
    USING,
    Cache,
    Entry,
    remove_whole,
)
from harness.disk.files import remove, remove_abandoned
from harness.disk.kernels import KERNELS
from harness.errors import UserError

_PARTIAL = re.compile(r"\.(.+?)(?:\.\d+){0,2}\.partial")
"""`.KEY.PROCESS.partial`, and `.KEY.TIME.PROCESS.partial` of an entry that was being removed."""

IDLE_S = 600.0
"""An unfinished training, evaluation or download that was written within this many seconds may be
under way, whether or not its lock is held."""

IN_USE_S = 86400.0
"""No running command needs an entry that was not used for this many seconds."""

_LOCKED_UNDER: dict[str, tuple[str, ...]] = {**UNFINISHED, DOWNLOADS: (), FINGERPRINTS: ()}
"""Folders of unfinished work, downloads and notes -> the stages whose locks their makers hold."""


@dataclass(frozen=True)
class Pruned:
    """What was removed."""

    entries: list[Entry]
    leftovers: int
    """Damaged and half-made entries, unfinished work, folders of killed processes."""


def prune(cache: Cache, older_than_s: float | None = None) -> Pruned:
    """Remove what killed or damaged runs left behind, and by age what else the cache holds.

    Args:
        cache: the cache to search.
        older_than_s: also remove entries that were not used, and trainings, evaluations and
            downloads that were not written, for this many seconds; 0 removes all. None keeps all.

    Raises:
        UserError: the cache folder cannot be written.
    """
    # Folders that no process will use again, unless one is making or removing them now.
    abandoned = [*cache.root.glob("*/*.damaged-*"), *cache.root.glob("*/.*.partial")]
    leftovers = len(scratch.sweep()) + sum(_remove(cache, path) for path in abandoned)
    leftovers += _remove_kernels(cache)
    for folder in cache.root.glob("*/"):
        remove_abandoned(folder)
    if older_than_s is None:
        return Pruned([], leftovers)
    limit = time.time() - older_than_s
    entries = []
    with _unused(cache, older_than_s):
        for entry in cache.entries():
            if entry.used <= limit:
                with cache.held_if_free((entry.kind,), entry.key) as free:
                    if free:
                        remove_whole(entry.path)
                        entries.append(entry)
    idle = min(limit, time.time() - IDLE_S)
    for kind, stages in _LOCKED_UNDER.items():
        for path in cache.root.glob(f"{kind}/*"):
            # A lock's file stays: another one under its name would be another lock.
            lock = path.name.endswith((".lock", ".lock.holder"))
            if not lock and scratch.last_written(path) <= idle:
                with cache.held_if_free(stages, path.name) as free:
                    leftovers += free and remove(path)
    return Pruned(entries, leftovers)


def _remove(cache: Cache, path: Path) -> bool:
    """Remove a damaged or half-made entry unless its key is being made; whether it was removed."""
    found = _PARTIAL.fullmatch(path.name)
    key = path.name.partition(".damaged-")[0] if found is None else found[1]
    with cache.held_if_free((path.parent.name,), key) as free:
        return free and remove(path)


@contextmanager
def _unused(cache: Cache, older_than_s: float) -> Iterator[None]:
    """Keep runs from starting during the block if it may remove what they have just looked up.

    Raises:
        UserError: a run is under way.
    """
    if older_than_s >= IN_USE_S or not cache.root.is_dir():
        yield
        return
    with _no_run(cache) as free:
        if not free:
            raise UserError(
                f"a run is using the cache {cache.root}: wait for its end, or remove only what was "
                "not used for a day or more (--older-than-days 1)."
            )
        yield


@contextmanager
def _no_run(cache: Cache) -> Iterator[bool]:
    """Keep runs from starting during the block, which gets False where one is under way."""
    handle = os.open(cache.root / USING, os.O_CREAT | os.O_RDONLY, 0o644)
    try:
        free = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(handle)


def _remove_kernels(cache: Cache) -> bool:
    """Remove the code that MLX compiled, unless a run may be loading it; whether it was removed."""
    folder = cache.root / KERNELS
    if not folder.is_dir():
        return False
    with _no_run(cache) as free:
        return free and remove(folder)
