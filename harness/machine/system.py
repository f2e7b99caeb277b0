"""What the system's own programs say about the machine: a command -> its words, or none."""

from __future__ import annotations

import subprocess

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
