"""What the system says about the machine (a command -> its words, or none), and what it allows."""

from __future__ import annotations

import resource
import subprocess

from harness.errors import UserError

_LONGEST_S = 20.0
"""`nvidia-smi` takes seconds where the driver is not kept loaded."""


def said(*command: str) -> str:
    """What a program prints; empty where there is none, it fails or it does not end."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            timeout=_LONGEST_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def require_address_space(needed: int, who: str) -> None:
    """Refuse a limit under which libraries fail in ways of their own: some never end.

    Args:
        needed: bytes.
        who: the process that needs them, with the reason of the number.

    Raises:
        UserError: `ulimit -v` allows less.
    """
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UserError(
            f"`ulimit -v` allows {hard // 1024} kB of address space, and {who} needs "
            f"{needed // 1024} kB. Raise it (`ulimit -v unlimited`), then repeat the command."
        )
