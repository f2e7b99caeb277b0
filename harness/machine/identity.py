"""A machine's lasting name: the system's own identifier, hashed.

A host name is none: a Mac's follows the network it is in, and a container has a new one each time.
The hash tells whose temporary files and whose timings something is; it is never published.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import platform
import re
import uuid
from pathlib import Path

import platformdirs

from harness.machine.system import said

_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_DIGITS = 16


@functools.cache
def machine_id() -> str:
    """16 hex digits that stay the same while the machine does, whatever it is called.

    Where the system has no identifier (most containers), a random one is kept in the user's cache
    folder; where that cannot be written, it is of this process alone.
    """
    found = _system_id() or _kept_id(Path(platformdirs.user_cache_dir("tunebench")) / "machine-id")
    return hashlib.sha256(f"tunebench {found}".encode()).hexdigest()[:_DIGITS]


@functools.cache
def process_space() -> str:
    """:func:`machine_id` with what else tells where a process number holds: on Linux, a container's
    processes have numbers of their own, and containers may carry their image's identifier."""
    space = ""
    with contextlib.suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{machine_id()} {space}".encode()).hexdigest()[:_DIGITS]


def _system_id() -> str:
    if platform.system() == "Darwin":
        text = said("ioreg", "-rd1", "-c", "IOPlatformExpertDevice")
        found = re.search(r'"IOPlatformUUID" = "([0-9A-Fa-f-]{36})"', text)
        return "" if found is None else found[1]
    for file in _FILES:
        with contextlib.suppress(OSError):
            if identifier := _identifier(file):
                return identifier
    return ""


def _kept_id(file: Path) -> str:
    """The identifier in ``file``, a random one at first."""
    made = uuid.uuid4().hex
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), file.open("xb") as stream:
            stream.write(made.encode())
        return _identifier(file) or made
    return made


def _identifier(file: Path) -> str:
    """The 32 digits in ``file``; empty where it holds something else, or zeros."""
    text = file.read_bytes().strip()
    return text.decode() if re.fullmatch(rb"[0-9a-f]{32}", text) and text.strip(b"0") else ""
