"""Filling a disk up, and taking away the right to write on it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def fill(disk: Path) -> None:
    """Use up all space that is left on ``disk``."""
    with (disk / "filler").open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            return


def read_only(disk: Path) -> None:
    """Remount ``disk`` so that nothing can be written, root or not."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
