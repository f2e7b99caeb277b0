"""An environment as on a Mac, and what is run in it: see shim/sitecustomize.py.

`python -m tests.as_on_a_mac.mac tests/data -x` (`make test-mac`) runs the project's own tests
there: a locale of ASCII alone, a temporary folder of a long name with spaces and signs, a home that
cannot be written to, and a time zone that is a day ahead.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.disk.kernels import FOLDER_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
SHIM = Path(__file__).with_name("shim")
ODD = "Benutzer Größe ✓ and spaces"


@dataclass(frozen=True)
class Mac:
    """A folder of an odd name, beside a home that nothing can be written to."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        temporary = self.folder / "T".ljust(max(1, 90 - len(str(self.folder))), "x")
        temporary.mkdir(exist_ok=True)
        shared = {FOLDER_VARIABLE: os.environ.get(FOLDER_VARIABLE)}
        return {name: value for name, value in shared.items() if value is not None} | {
            "PATH": f"{SHIM / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(SHIM), str(ROOT)]),
            "HOME": "/sys/kernel",  # read-only even for root
            "TMPDIR": str(temporary),
            "XDG_CACHE_HOME": str(self.folder / "Library" / "Caches"),
            # Else matplotlib makes a temporary one, which each process forked of another removes.
            "MPLCONFIGDIR": str(self.folder / "Library" / "matplotlib"),
            "LC_ALL": "C",
            "PYTHONCOERCECLOCALE": "0",
            "TZ": "Pacific/Kiritimati",
            "COLUMNS": "80",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *arguments: str, capture: bool = True) -> subprocess.CompletedProcess[str]:
        """`python ARGUMENTS` there."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=capture,
            encoding="utf-8",
            check=False,
        )

    def tests(self, *arguments: str, capture: bool = True) -> subprocess.CompletedProcess[str]:
        """The project's own tests there."""
        options = ("-q", "-p", "no:cacheprovider")
        return self.run("-m", "pytest", *options, *arguments, capture=capture)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / ODD).mkdir()
        sys.exit(Mac(Path(place) / ODD).tests(*sys.argv[1:], capture=False).returncode)
