"""A content-keyed cache of folders: each is whole, checksummed and locked, or absent.

``cache.build("adapter", key, make)`` returns a folder that ``make`` once filled. A key is a hash
of everything that decides the content, so an entry is never updated. Two processes that want the
same entry wait for one another on a lock file, which names its holder; a process that dies
leaves an unpublished temporary folder, which the next builder removes. Files are compared with the
manifest at every use; a damaged entry is moved aside, reported and built again, never used.

Layout: ``<root>/<kind>/<key>/`` with ``.manifest.json`` beside the content. Folders of other kinds
hold what is no entry yet: unfinished work, downloads, fingerprints of a user's model files.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs

from harness.disk.files import content_key, explaining, refusal, write_json
from harness.disk.locks import AnnouncedLock, CacheRefused, writing_cache
from harness.disk.manifest import MANIFEST, damage_of, describe
from harness.disk.scratch import Scratch
from harness.errors import UserError
from harness.progress import print_message

USING = ".using"
"""A file under the root. Every process that may need entries it has looked up holds a shared lock
on it."""

DOWNLOADS = "downloads"
"""The folder of downloaded files and of what is there of unfinished downloads."""

FINGERPRINTS = "fingerprints"
"""The folder of kept hashes of the large files of a user's models."""

VALUE = "value.json"
"""The file of an entry that :meth:`Cache.value` made."""

UNFINISHED = {"training": ("finetune",), "evaluating": ("loss", "generate", "fuse")}
"""Folders of unfinished work -> the stages that keep it there."""


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
        self.notify: Callable[[str], None] = print_message
        """Takes a line for the user: which entry is damaged, for whom the process waits."""
        self._held = contextlib.ExitStack()

    @classmethod
    def temporary(cls) -> Cache:
        """A cache for ``--no-cache``. :meth:`release` or the end of the process removes it; if the
        process is killed, the next one that starts does.

        Raises:
            UserError: the folder for temporary files cannot be written.
        """
        scratch = Scratch("no-cache")
        cache = cls(scratch.path)
        cache._held.callback(scratch.remove)
        atexit.register(cache.release)
        cache._held.callback(atexit.unregister, cache.release)  # it would hold the whole session
        return cache

    def hold(self) -> None:
        """Keep `cache prune` from removing what this process may have found, until
        :meth:`release` or the end of the process."""
        with contextlib.suppress(OSError):  # a cache that can only be read is not pruned either
            self.root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root / USING, os.O_CREAT | os.O_RDONLY, 0o644)
            self._held.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_SH)

    def release(self) -> None:
        """End :meth:`hold`, and remove a temporary cache."""
        self._held.close()

    @property
    def downloads(self) -> Path:
        """Where downloads are kept; it may not exist yet."""
        return self.root / DOWNLOADS

    def path(self, kind: str, key: str) -> Path:
        """Where an entry lies, whether or not it exists."""
        return self.root / kind / key

    def work_folder(self, stage: str, key: str) -> Path:
        """Where ``stage`` keeps the unfinished work of entry ``key``; it may not exist."""
        folder = "training" if stage in UNFINISHED["training"] else "evaluating"
        return self.root / folder / key

    def find(self, kind: str, key: str) -> Path | None:
        """The folder of a whole, undamaged entry, else None (a damaged one is moved aside).

        Raises:
            UserError: the cache folder cannot be read.
        """
        folder = self.path(kind, key)
        with explaining(
            f"cannot read the cache folder {folder.parent}",
            "Set XDG_CACHE_HOME to a folder of your own, or use --no-cache.",
            CacheRefused,
        ):
            found, damage = _examine(folder)
        if damage is None:
            return found
        # Another process may be building it: only the holder of the lock may move it.
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self.lock(kind, key))
            except CacheRefused as error:
                raise CacheRefused(
                    f"cache entry {kind}/{key} {damage}, and it cannot be moved aside: {error}"
                ) from error.__cause__
            return self._find_locked(folder, f"{kind}/{key}")

    def _find_locked(self, folder: Path, name: str) -> Path | None:
        """:meth:`find` for the holder of the lock of entry ``name``: nothing changes meanwhile."""
        found, damage = _examine(folder)
        if damage is None:
            return found
        aside = folder.with_name(f"{folder.name}.damaged-{time.time_ns()}")
        with explaining(
            f"cache entry {name} {damage}, and it cannot be moved aside",
            f"Remove {folder}, or set XDG_CACHE_HOME to a folder you can write.",
            CacheRefused,
        ):
            folder.rename(aside)
        self.notify(f"tunebench: cache entry {name} {damage}; moved to {aside}")
        return None

    def build(self, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        """The entry's folder; ``make(folder)`` fills a temporary one if it does not exist yet.

        Raises:
            UserError: the cache folder cannot be written.
            Exception: what ``make`` raises; nothing is published then.
        """
        found = self.find(kind, key)
        if found is not None:
            return found
        with self.lock(kind, key):
            folder = self.path(kind, key)
            found = self._find_locked(folder, f"{kind}/{key}")
            if found is not None:
                return found
            for stale in folder.parent.glob(f".{key}.*.partial"):
                shutil.rmtree(stale, ignore_errors=True)
            partial = folder.with_name(f".{key}.{os.getpid()}.partial")
            try:
                partial.mkdir()
                make(partial)
                write_json(partial / MANIFEST, {"files": describe(partial)})
                remove_whole(folder)  # without a manifest it was never published
                partial.rename(folder)
            except BaseException as error:
                shutil.rmtree(partial, ignore_errors=True)
                reason = refusal(error)
                if reason is None:
                    raise
                raise CacheRefused(
                    f"cannot write cache entry {kind}/{key} under {self.root}: {reason}. Free "
                    "space (python -m harness cache prune --older-than-days 7), or set "
                    "XDG_CACHE_HOME to another folder."
                ) from error
            return folder

    def read(self, kind: str, key: str, make: Callable[[Path], None], name: str) -> str:
        """The text of file ``name`` in :meth:`build`'s folder; the entry is made again if another
        process removes it in between.

        Raises:
            UserError, Exception: as :meth:`build`.
        """
        while True:
            folder = self.build(kind, key, make)
            with contextlib.suppress(FileNotFoundError):
                return (folder / name).read_text(encoding="utf-8")

    def value(self, kind: str, parts: Any, packages: Sequence[str], make: Callable[[], Any]) -> Any:
        """The JSON value that ``make`` gives, made once for the same ``parts`` (JSON too), the same
        code of tunebench and the same versions of ``packages``.

        Where the cache can only be read, it is made anew and not kept.
        """
        versions = [metadata.version(name) for name in packages]
        # Half a surrogate pair in a text has no UTF-8: JSON writes it as ASCII.
        key = content_key(code_key(), versions, json.dumps(parts, sort_keys=True))

        def write(folder: Path) -> None:
            (folder / VALUE).write_text(json.dumps(make()), encoding="ascii")

        with contextlib.suppress(CacheRefused):
            return json.loads(self.read(kind, key, write, VALUE))
        return make()

    def discard(self, kind: str, key: str) -> None:
        """Remove an entry, if there is one, so that it is built again.

        Raises:
            UserError: the cache folder cannot be written.
        """
        with self.lock(kind, key):
            remove_whole(self.path(kind, key))

    def clear_work(self, stage: str, key: str) -> None:
        """Remove the work that was kept until entry ``key`` was made, unless another process is
        making it again."""
        work = self.work_folder(stage, key)
        if work.exists():
            # A cache that can only be read keeps it.
            with contextlib.suppress(UserError), self.held_if_free((stage,), key) as free:
                if free:
                    shutil.rmtree(work, ignore_errors=True)

    def lock(self, kind: str, key: str) -> AnnouncedLock:
        """The lock of one key, not taken yet.

        Raises:
            UserError: the cache folder cannot be written.
        """
        folder = self.root / kind
        with writing_cache(folder):
            folder.mkdir(parents=True, exist_ok=True)
        lock = AnnouncedLock(str(folder / f".{key}.lock"))
        lock.notify = self.notify
        return lock

    @contextlib.contextmanager
    def held_if_free(self, kinds: Iterable[str], key: str) -> Iterator[bool]:
        """Hold the locks of ``key`` of all ``kinds`` during the block without waiting for them; the
        block gets False where another process holds one.

        Raises:
            UserError: the cache folder cannot be written.
        """
        with contextlib.ExitStack() as held:
            for lock in [self.lock(kind, key) for kind in kinds]:
                if not lock.take_if_free():
                    yield False
                    return
                held.callback(lock.release)
            yield True

    def entries(self) -> list[Entry]:
        """Every published entry, the least recently used first."""
        found = []
        for manifest in self.root.glob(f"*/*/{MANIFEST}"):
            folder = manifest.parent
            with contextlib.suppress(FileNotFoundError):  # another process removes it
                stats = [f.stat() for f in folder.rglob("*") if f.is_file()]
                size = sum({s.st_ino: s.st_size for s in stats}.values())  # a linked file once
                used = manifest.stat().st_mtime
                found.append(Entry(folder.parent.name, folder.name, folder, size, used))
        return sorted(found, key=lambda entry: entry.used)


@functools.cache
def code_key() -> str:
    """A hash of the code of this package: what it derives from stored results changes with it."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def estimates_file(cache: Path, words: Sequence[str]) -> Path:
    """The file in the cache folder that keeps what something took; ``words`` name it."""
    name = re.sub(r"\W+", "-", " ".join(words)).strip("-").lower()
    return cache / "estimates" / f"{name}.json"


def remove_whole(folder: Path) -> None:
    """Remove an entry's folder, under its lock: it is whole or absent at any moment.

    Raises:
        UserError: the system refuses.
    """
    # It gets the name of an unpublished folder, which the next builder or `cache prune` removes.
    doomed = folder.with_name(f".{folder.name}.{time.time_ns()}.{os.getpid()}.partial")
    remedy = "Remove it yourself, or set XDG_CACHE_HOME to a folder you can write."
    with explaining(f"cannot remove {folder}", remedy), contextlib.suppress(FileNotFoundError):
        folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _examine(folder: Path) -> tuple[Path | None, str | None]:
    """(folder, None) of a whole entry, now marked as used; (None, damage); (None, None) if absent.

    Raises:
        OSError: it cannot be read.
    """
    if not (folder / MANIFEST).is_file():
        return None, None
    try:
        damage = damage_of(folder)
    except FileNotFoundError:
        damage = "went away meanwhile"
    if damage is not None:
        return None, damage
    with contextlib.suppress(OSError):  # a cache that can only be read serves as well
        os.utime(folder / MANIFEST)
    return folder, None
