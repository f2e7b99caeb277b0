"""Real small and read-only disks; mounting them takes root on Linux, elsewhere the tests skip."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a disk in memory of the given size (`1m`), gone after the test."""
    made: list[Path] = []

    def small(size: str) -> Path:
        if shutil.which("mount") is None:
            pytest.skip("no mount command here")
        place = tmp_path / f"disk{len(made)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        made.append(place)
        return place

    try:
        yield small
    finally:
        for place in made:
            subprocess.run(["umount", "-l", str(place)], check=True)
