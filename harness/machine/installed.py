"""What MLX computes with here, as far as the installed packages tell: its one backend and its BLAS.

MLX's wheels for Metal, the CPU and CUDA own one file, ``mlx/lib/libmlx.so``, so an environment has
exactly one of them: of two, the one that was unpacked last computes, whatever either says. Each
comes by an extra of this package. No MLX is imported here, so that a command can say what is
missing; `python -m harness.machine.installed` prints this machine's extra, and with an EXTRA what
must be uninstalled before it (for `make`, before anything is installed).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from shlex import quote

from harness.bundled import PROJECT_ROOT
from harness.errors import UserError

BACKENDS = {
    "metal": "mlx-metal",
    "cpu": "mlx-cpu",
    "cuda12": "mlx-cuda-12",
    "cuda13": "mlx-cuda-13",
}
"""The extra that brings each backend's wheel."""

CUDA_12_DRIVER, CUDA_13_DRIVER = 550, 580
"""The first NVIDIA drivers that run CUDA 12 and 13 (MLX's docs, Build and Install)."""


def backends() -> list[str]:
    """The extras whose wheels are installed; one in a working environment."""
    return [extra for extra, wheel in BACKENDS.items() if _requires(wheel) is not None]


def has_package(name: str) -> bool:
    """Whether a package is installed; a folder of that name (`wandb/`, `datasets/`) is none."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def extra_for_this_machine() -> str:
    """``metal`` on a Mac, ``cuda13`` or ``cuda12`` by the NVIDIA driver, else ``cpu``."""
    if platform.system() == "Darwin":
        return "metal"
    driver = nvidia_driver() or 0
    if driver < CUDA_12_DRIVER:
        return "cpu"
    return "cuda13" if driver >= CUDA_13_DRIVER else "cuda12"


def old_driver() -> str:
    """What to say where an NVIDIA driver is too old for any CUDA of MLX's; else nothing."""
    driver = None if platform.system() == "Darwin" else nvidia_driver()
    if driver is None or driver >= CUDA_12_DRIVER:
        return ""
    return (
        f"the NVIDIA driver {driver} is too old for MLX, so the CPU computes: CUDA 12 needs "
        f"{CUDA_12_DRIVER}, CUDA 13 needs {CUDA_13_DRIVER}. Update it; then `python -m harness "
        "doctor` says what to install"
    )


def nvidia_driver() -> int | None:
    """The major version of the NVIDIA driver; None where no GPU answers."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.match(r"\s*(\d+)\.", done.stdout)
    return int(version[1]) if version and done.returncode == 0 else None


def install_command(extra: str | None = None) -> str:
    """What to type for ``extra``, by default this machine's, in place of any other backend."""
    installer = "python -m pip" if find_spec("pip") else "uv pip"
    chosen = extra or extra_for_this_machine()
    if not (PROJECT_ROOT / "constraints.txt").is_file():
        what = f"'tunebench[{chosen}]'"
    elif Path.cwd() == PROJECT_ROOT:
        what = f"-c constraints.txt -e '.[{chosen}]'"
    else:
        constraints, project = f"{PROJECT_ROOT}/constraints.txt", f"{PROJECT_ROOT}[{chosen}]"
        what = f"-c {quote(constraints)} -e {quote(project)}"
    command = f"{installer} install {what}"
    if not (gone := " ".join(replaced_by(chosen))):
        return command
    return f"{installer} uninstall {'-y ' if find_spec('pip') else ''}{gone} && {command}"


def replaced_by(extra: str) -> list[str]:
    """The wheels to uninstall before ``extra`` is installed: where there is another backend, the
    one that stays too, for removing the other takes the file that they share."""
    present = backends()
    kept = extra not in BACKENDS or present == [extra]
    return [] if kept else [BACKENDS[one] for one in present]


def backend_problem() -> str | None:
    """Why nothing can be computed here, and the command that mends it; None where all is well."""
    present = backends()
    if len(present) > 1:
        names = " and ".join(BACKENDS[one] for one in present)
        return (
            f"{names} are both installed, and own the same files: which of them computes is "
            f"chance. Run: {install_command()}"
        )
    required = _requires("mlx")
    if required is None or _requires("mlx-lm") is None:
        return f"MLX is not installed, and this needs a model. Run: {install_command()}"
    # An MLX that was built from source has no backend apart.
    split = any(line.startswith(tuple(BACKENDS.values())) for line in required)
    if split and not present:
        return f"MLX is installed without a backend to compute with. Run: {install_command()}"
    return None


def check_backend() -> None:
    """Raises:
    UserError: MLX has no backend here, or more than one.
    """
    if problem := backend_problem():
        raise UserError(problem)


def _requires(package: str) -> list[str] | None:
    """What an installed package requires; None where it is not installed."""
    try:
        return metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return None


SLOW_BLAS = (
    "training is about 20 times slower than with a fast BLAS. Install one: pip install mkl "
    "(x86-64), or the system's OpenBLAS (Debian and Ubuntu: apt install libopenblas0-pthread; "
    "Fedora: dnf install openblas-threads); or set TUNEBENCH_BLAS to a library's path"
)

_warned: list[str] = []
"""What this process has been told; never the receiver, which would hold its whole session."""


def warn_of_blas(blas: str | None, notify: Callable[[str], None]) -> None:
    """Notify the user, once a process, that MLX's own BLAS is in use, unless it was chosen."""
    if blas == "reference" and os.environ.get("TUNEBENCH_BLAS") != "off" and not _warned:
        _warned.append(SLOW_BLAS)
        notify(f"MLX's own BLAS is in use: {SLOW_BLAS}")


if __name__ == "__main__":
    if not sys.argv[1:]:
        print(extra_for_this_machine())
    else:
        print(*replaced_by(sys.argv[1]))
        if sys.argv[1] == "cpu" and (too_old := old_driver()):
            print(f"tunebench: {too_old}.", file=sys.stderr)
