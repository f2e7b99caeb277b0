"""What to install where MLX's CPU backend has no fast BLAS, and what it would gain. No MLX here."""

from __future__ import annotations

import os
from collections.abc import Callable

SLOW = (
    "training is about 20 times slower than with a fast BLAS. Install one: pip install mkl "
    "(x86-64), or the system's OpenBLAS (Debian and Ubuntu: apt install libopenblas0-pthread; "
    "Fedora: dnf install openblas-threads); or set TUNEBENCH_BLAS to a library's path"
)

_warned: list[str] = []
"""What this process has been told; never the receiver, which would hold its whole session."""


def warn(blas: str | None, notify: Callable[[str], None]) -> None:
    """Notify the user, once a process, that MLX's own BLAS is in use, unless it was chosen."""
    if blas == "reference" and os.environ.get("TUNEBENCH_BLAS") != "off" and not _warned:
        _warned.append(SLOW)
        notify(f"MLX's own BLAS is in use: {SLOW}")
