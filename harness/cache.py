"""A content-keyed cache of folders: whole, checksummed and locked, or absent.

``cache.build("adapter", key, make)`` returns a folder that ``make`` once filled. A key is a hash
of everything that decides the content, so an entry is never updated. Two processes that want the
same entry wait for one another on a lock file (which says who holds it); a process that dies
leaves an unpublished temporary folder, removed by the next builder. Files are checked against the
manifest on every use; a damaged entry is moved aside, named, and built again, never used.

Layout: ``<root>/<kind>/<key>/`` with ``.manifest.json`` beside the content.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import psutil

from harness.errors import UserError
from harness.files import refusal, sha256_file, write_json
from harness.locks import AnnouncedLock
from harness.progress import tell

MANIFEST = ".manifest.json"
# Hashing a 500 MB model at each start would cost seconds; above this size an unchanged size and
# modification time stand for the content, below it the bytes are hashed every time.
ALWAYS_HASHED_BYTES = 64 * 1024 * 1024

IDLE_S = 600.0
"""A training or a download that was not touched for this long is not going on."""


def default_root() -> Path:
    """The user's cache folder (``XDG_CACHE_HOME`` on Linux, ``~/Library/Caches`` on macOS)."""
    return Path(platformdirs.user_cache_dir("tunebench"))


@dataclass(frozen=True)
class Entry:
    """One published entry: ``bytes`` on disk, ``used`` as Unix time of the last use."""

    kind: str
    key: str
    path: Path
    bytes: int
    used: float


class Cache:
    """The cache under ``root``; ``root=None`` is :func:`default_root`."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else default_root()
        self.say: Callable[[str], None] = tell
        """Takes a line for the user: a damaged entry, whom we wait for."""

    @classmethod
    def temporary(cls) -> Cache:
        """A cache of this process only, for ``--no-cache``; removed when the process ends."""
        import atexit

        root = Path(tempfile.mkdtemp(prefix="tunebench-no-cache-"))
        owner = os.getpid()

        # A forked or spawned worker shares the folder but must not remove it.
        def remove() -> None:
            if os.getpid() == owner:
                shutil.rmtree(root, ignore_errors=True)

        atexit.register(remove)
        return cls(root)

    def path(self, kind: str, key: str) -> Path:
        """Where an entry lies, whether or not it exists."""
        return self.root / kind / key

    def find(self, kind: str, key: str) -> Path | None:
        """The folder of a whole, undamaged entry, else None (a damaged one is moved aside).

        Raises:
            UserError: the cache folder cannot be read.
        """
        folder = self.path(kind, key)
        try:
            known = (folder / MANIFEST).is_file()
        except OSError as error:
            raise UserError(
                f"cannot read the cache folder {folder.parent}: {error.strerror}. "
                "Set XDG_CACHE_HOME to a folder of your own, or use --no-cache."
            ) from error
        if not known:
            return None
        damage = _damage(folder)
        if damage is None:
            with contextlib.suppress(OSError):  # a cache that can only be read serves as well
                os.utime(folder / MANIFEST)
            return folder
        aside = folder.with_name(f"{folder.name}.damaged-{time.time_ns()}")
        try:
            folder.rename(aside)
        except OSError as error:
            raise UserError(
                f"cache entry {kind}/{key} {damage}, and it cannot be moved aside: "
                f"{error.strerror or error}. Remove {folder}, or set XDG_CACHE_HOME to a folder "
                "you can write."
            ) from error
        self.say(f"tunebench: cache entry {kind}/{key} {damage}; moved to {aside}")
        return None

    def build(self, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        """The entry's folder; ``make(folder)`` fills a temporary one if it does not exist yet.

        Raises:
            UserError: the cache folder cannot be written.
            Exception: whatever ``make`` raises; nothing is published then.
        """
        found = self.find(kind, key)
        if found is not None:
            return found
        with self._lock(kind, key):
            found = self.find(kind, key)
            if found is not None:
                return found
            folder = self.path(kind, key)
            for stale in folder.parent.glob(f".{key}.*.partial"):
                shutil.rmtree(stale, ignore_errors=True)
            partial = folder.with_name(f".{key}.{os.getpid()}.partial")
            try:
                partial.mkdir()
                make(partial)
                write_json(partial / MANIFEST, {"files": _describe(partial)})
                if folder.exists():  # a folder without a manifest was never published
                    shutil.rmtree(folder)
                partial.rename(folder)
            except BaseException as error:
                shutil.rmtree(partial, ignore_errors=True)
                told = refusal(error)
                if told is None:
                    raise
                raise UserError(
                    f"cannot write cache entry {kind}/{key} under {self.root}: {told}. Free space "
                    "(python -m harness cache prune --older-than-days 7), or set XDG_CACHE_HOME "
                    "to another folder."
                ) from error
            return folder

    def lock(self, kind: str, key: str) -> AnnouncedLock:
        """The lock of one key, for work that spans several entries."""
        return self._lock(kind, key)

    def discard(self, kind: str, key: str) -> None:
        """Remove an entry, if there is one, so that it is built again."""
        with self._lock(kind, key):
            shutil.rmtree(self.path(kind, key), ignore_errors=True)

    def _lock(self, kind: str, key: str) -> AnnouncedLock:
        folder = self.root / kind
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write the cache folder {folder}: {error.strerror}. "
                "Set XDG_CACHE_HOME to a folder you can write, or use --no-cache."
            ) from error
        lock = AnnouncedLock(str(folder / f".{key}.lock"))
        lock.say = self.say
        return lock

    def entries(self) -> list[Entry]:
        """Every published entry, oldest use first."""
        found = [
            Entry(
                kind=manifest.parent.parent.name,
                key=manifest.parent.name,
                path=manifest.parent,
                bytes=sum(f.stat().st_size for f in manifest.parent.rglob("*") if f.is_file()),
                used=manifest.stat().st_mtime,
            )
            for manifest in self.root.glob(f"*/*/{MANIFEST}")
        ]
        return sorted(found, key=lambda entry: entry.used)

    def prune(self, older_than_s: float = 0.0) -> list[Entry]:
        """Remove entries unused for ``older_than_s`` seconds, and damaged or partial ones."""
        limit = time.time() - older_than_s
        removed = [entry for entry in self.entries() if entry.used <= limit]
        for entry in removed:
            with self._lock(entry.kind, entry.key):
                shutil.rmtree(entry.path, ignore_errors=True)
        for leftover in self._leftovers(limit):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        return removed

    def _leftovers(self, limit: float) -> list[Path]:
        """What interrupted or damaged runs left behind; nothing that a live process may use."""
        found = list(self.root.glob("*/*.damaged-*"))
        found += [
            partial
            for partial in self.root.glob("*/.*.partial")
            if (pid := partial.name.split(".")[-2]).isdigit() and not psutil.pid_exists(int(pid))
        ]
        idle = min(limit, time.time() - IDLE_S)
        for kind in ("training", "evaluating", "downloads"):
            found += [path for path in self.root.glob(f"{kind}/*") if _last_written(path) <= idle]
        return found


def _last_written(path: Path) -> float:
    """When a file, or anything in a folder, was written last; now for what goes meanwhile."""
    try:
        return max(each.stat().st_mtime for each in (path, *path.rglob("*")))
    except FileNotFoundError:
        return time.time()


def _describe(folder: Path) -> dict[str, dict[str, Any]]:
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            stat = path.stat()
            files[path.relative_to(folder).as_posix()] = {
                "bytes": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
                "sha256": sha256_file(path),
            }
    return files


def _damage(folder: Path) -> str | None:
    """What is wrong with an entry, in words, or None."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError, TypeError):
        return "has an unreadable manifest"
    for name, told in files.items():
        path = folder / name
        if not path.is_file():
            return f"lacks {name}"
        stat = path.stat()
        if stat.st_size != told["bytes"]:
            return f"is damaged: {name} has {stat.st_size} bytes, not {told['bytes']}"
        if stat.st_size > ALWAYS_HASHED_BYTES and stat.st_mtime_ns == told["mtime_ns"]:
            continue
        if sha256_file(path) != told["sha256"]:
            return f"is damaged: {name} has another checksum"
    return None
