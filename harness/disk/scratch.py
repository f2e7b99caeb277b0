"""Temporary folders that are removed with the process that made them, however it ends.

A killed process cannot remove its folder. So each folder holds a file that its owner keeps locked;
the system releases the lock with the process, and :func:`sweep`, called at the next start,
removes folders whose lock can be taken. Process numbers would not do: containers that share a
folder for temporary files number their processes apart. Not covered: names that tunebench did not
make, and other users' folders.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from pathlib import Path

from harness.errors import UserError

ALIVE = ".alive"
"""The file in a folder that its owner keeps locked."""

IDLE_S = 86400.0
"""A folder without that file (locks may not work on its disk) counts as abandoned after this many
seconds."""

_NAMES = re.compile(r"tunebench-(no-cache|rank-\d+|sql)-[a-z0-9_]{8}")


class Scratch:
    """A folder for temporary files called ``tunebench-<what>-…``; :meth:`remove` it at the end.

    Raises:
        UserError: the folder for temporary files cannot be written.
    """

    def __init__(self, what: str) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix=f"tunebench-{what}-"))
        except OSError as error:
            raise temporary_files_refused(error) from error
        self._owner = os.getpid()
        self._lock = -1
        fresh = self.path / f"{ALIVE}.new"
        with contextlib.suppress(OSError):
            self._lock = os.open(fresh, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It gets its name only once it is locked: else a sweep could come in between.
            fresh.rename(self.path / ALIVE)

    def remove(self) -> None:
        """Remove the folder; a forked process that shares it does nothing."""
        if os.getpid() != self._owner:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def temporary_files_refused(error: OSError) -> UserError:
    """The message for a folder for temporary files that cannot be written."""
    return UserError(
        f"cannot write in {tempfile.gettempdir()}: {error.strerror or error}. Free space there, or "
        "set TMPDIR to another folder."
    )


def sweep() -> list[Path]:
    """Remove the folders of processes that have ended; returns those that were removed."""
    root = Path(tempfile.gettempdir())
    try:
        found = [path for path in root.iterdir() if _NAMES.fullmatch(path.name)]
    except OSError:
        return []
    removed = []
    for folder in found:
        with contextlib.suppress(OSError):  # somebody else removes it
            ours = stat.S_ISDIR(folder.lstat().st_mode) and folder.lstat().st_uid == os.getuid()
            if ours and _abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
    return removed


def _abandoned(folder: Path) -> bool:
    try:
        handle = os.open(folder / ALIVE, os.O_RDWR)
    except FileNotFoundError:
        return time.time() - last_written(folder) >= IDLE_S
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def last_written(path: Path) -> float:
    """When a file, or anything in a folder, was written last, in Unix seconds; the present time if
    it is removed meanwhile."""
    try:
        return max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
    except FileNotFoundError:
        return time.time()
