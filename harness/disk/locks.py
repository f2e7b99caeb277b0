"""A file lock between processes that names its holder while another process waits.

The process that takes the lock writes a note beside the lock file; a process that waits shows it
to the user. Not covered: machines that share a network disk, where file locks may not
work: give each machine a cache of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.disk.files import explaining
from harness.errors import UserError
from harness.markdown import duration
from harness.progress import print_message

FIRST_NOTICE_S = 2.0
"""Seconds of waiting before the first notice; each further one takes twice as long, up to a
minute."""


class AnnouncedLock(FileLock):
    """A lock that reports to :attr:`notify` for whom it waits."""

    notify: Callable[[str], None] = staticmethod(print_message)
    """Takes a line for the user."""

    def acquire(self, *args: Any, **kwargs: Any) -> Any:
        """Wait without end, with notices.

        Raises:
            UserError: the folder cannot be written.
        """
        holder = Path(f"{self.lock_file}.holder")
        started = time.monotonic()
        wait_s = FIRST_NOTICE_S
        with writing_cache(holder.parent):
            while True:
                try:
                    proxy = super().acquire(timeout=wait_s)
                    break
                except Timeout:
                    waited = duration(time.monotonic() - started)
                    self.notify(f"tunebench: waiting {waited} for {_described(holder)}")
                    wait_s = min(60.0, wait_s * 2)
        with contextlib.suppress(OSError):  # a full disk; the lock holds all the same
            holder.write_text(_note(), encoding="utf-8")
        return proxy

    def take_if_free(self) -> bool:
        """Take the lock without waiting; False where another process holds it.

        Raises:
            UserError: the folder cannot be written.
        """
        with writing_cache(Path(self.lock_file).parent):
            try:
                super().acquire(timeout=0)
            except Timeout:
                return False
        return True


class CacheRefused(UserError):
    """The system lets nothing be read or written in the cache; its error is the cause."""


def writing_cache(folder: Path) -> contextlib.AbstractContextManager[None]:
    """:func:`explaining` that ``folder`` of the cache cannot be written, with the remedy."""
    return explaining(
        f"cannot write the cache folder {folder}",
        "Set XDG_CACHE_HOME to a folder you can write, or use --no-cache.",
        CacheRefused,
    )


def _note() -> str:
    """What the holder writes: its process, machine, command and start in Unix seconds."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    command = shlex.join([name or "python", *sys.argv[1:]])
    note = {"pid": os.getpid(), "host": platform.node(), "command": command, "since": time.time()}
    return json.dumps(note)


def _described(holder: Path) -> str:
    """Who holds the lock, by its note."""
    try:
        note = json.loads(holder.read_text(encoding="utf-8"))
        held = duration(max(0.0, time.time() - note["since"]))
        who = f"process {note['pid']} on {note['host']} ({note['command']})"
        key = holder.name.removesuffix(".lock.holder").removeprefix(".")
        return f"{who}: it has held {holder.parent.name}/{key[:12]} for {held}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
