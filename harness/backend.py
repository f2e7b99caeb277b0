"""MLX with a fast BLAS under it: import ``mx``, ``nn`` and ``optim`` from here, never from mlx.

MLX's Linux CPU wheel links the reference BLAS (about 4 GFLOP/s on two cores). A shared library
whose ``cblas_*`` symbols are already in the process's global scope wins over it, so this module
loads one before the first import of ``mlx.core``: the system's OpenBLAS, else the one in this
environment's ``lib`` folder (conda), else the ``mkl`` wheel's ``libmkl_rt`` (which comes with the
extra ``cpu`` on Linux x86-64).

``TUNEBENCH_BLAS=off`` leaves MLX alone; ``TUNEBENCH_BLAS=/path/to/lib.so`` names the library.
On macOS nothing is done: Accelerate and Metal are already fast. Not covered: float16 and
bfloat16 products, which MLX's CPU backend computes without BLAS (see `models/cpu/accelerate.py`).
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from harness.errors import UserError

_SYSTEM: str = sys.platform
"""Not compared in place: a type checker would take what is for other systems for unreachable."""
BLAS_VARIABLE = "TUNEBENCH_BLAS"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class BlasInfo:
    """The BLAS that MLX's CPU backend calls in this process."""

    name: str
    """``openblas``, ``mkl``, ``accelerate``, ``reference`` (MLX's own) or ``custom``."""
    path: str | None
    """The library file or soname that was loaded; None for MLX's own."""
    threads: int
    """Threads it may use."""
    gflops: float | None = None
    """Measured float32 GFLOP/s; None where it was not measured."""

    @property
    def fast(self) -> bool:
        """Whether something better than the reference BLAS was loaded."""
        return self.name != "reference"


def available_cores() -> int:
    """CPU cores this process may use: affinity mask, container quota and physical cores."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    limits = (_cgroup_quota(), psutil.cpu_count(logical=False))
    return max(1, min(cores, *(limit for limit in limits if limit is not None)))


def _cgroup_quota() -> int | None:
    """CPUs granted by the control group (containers), rounded up; None where there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return math.ceil(float(quota) / float(period))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _candidates() -> Iterator[tuple[str, str]]:
    """``(name, library)`` in order of preference. OpenBLAS first: it is the system's choice."""
    for library in ("libopenblas.so.0", "libopenblas.so", *_in_environment("libopenblas.so*")):
        yield "openblas", str(library)
    for library in _mkl_libraries():
        yield "mkl", str(library)


def _in_environment(pattern: str) -> list[Path]:
    """Libraries in the ``lib`` folders of this environment and of the one that it is made from."""
    folders = (Path(prefix) / "lib" for prefix in (sys.prefix, sys.base_prefix))
    return [path for folder in folders for path in sorted(folder.glob(pattern))]


def _mkl_libraries() -> list[Path]:
    """``libmkl_rt`` of the mkl wheel: where its metadata is, else in the environment's ``lib``."""
    found: list[Path] = []
    with suppress(metadata.PackageNotFoundError):
        files = metadata.distribution("mkl").files or []
        found += [Path(str(f.locate())) for f in files if f.name.startswith("libmkl_rt.so")]
    found += _in_environment("libmkl_rt.so*")
    return [path.resolve() for path in found if path.exists()]


def _load(library: str) -> bool:
    """Load ``library`` into the global symbol scope, if it exists and has BLAS's C symbols."""
    try:
        handle = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return hasattr(handle, "cblas_sgemm")


def _preload() -> BlasInfo:
    """Load a fast BLAS, whose symbols then win over those of MLX's own.

    Raises:
        UserError: ``TUNEBENCH_BLAS`` names a library that cannot be loaded.
    """
    if _SYSTEM == "darwin":
        return BlasInfo("accelerate", None, available_cores())
    choice = os.environ.get(BLAS_VARIABLE, "")
    threads = int(os.environ.get("OMP_NUM_THREADS") or 0) or available_cores()
    # Once mlx.core is mapped, its symbols are bound and nothing loaded later can win.
    if choice == "off" or _SYSTEM != "linux" or "mlx.core" in sys.modules:
        return BlasInfo("reference", None, 1)
    for variable in _THREAD_VARIABLES:
        os.environ.setdefault(variable, str(threads))
    # GNU threading needs only libgomp; Intel's own runtime measured 12% slower, TBB is not found.
    os.environ.setdefault("MKL_INTERFACE_LAYER", "LP64")
    os.environ.setdefault("MKL_THREADING_LAYER", "GNU")
    # libgomp's default spins 300,000 times at each barrier: two processes on two cores then take
    # 1.7 s for what takes 0.19 s alone; with 1,000 they take 0.34 s and alone it is as fast.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Threads that spin for one another lose a scheduler tick a call on a busy machine: a training
    # step of the tiny model took 2.5 s instead of 0.18 s. Sleeping costs 3 microseconds a call.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if choice:
        if not _load(choice):
            raise UserError(
                f"{BLAS_VARIABLE}={choice!r} cannot be loaded as a BLAS (no such file, or no "
                "cblas_sgemm in it). Allowed: off, a path to libopenblas.so or libmkl_rt.so."
            )
        return BlasInfo("custom", choice, threads)
    for name, library in _candidates():
        if _load(library):
            return BlasInfo(name, library, threads)
    return BlasInfo("reference", None, 1)


def _keep_freed_memory() -> None:
    """Have glibc keep large freed blocks instead of returning each one to the kernel.

    MLX's CPU backend allocates every array with malloc; above 32 MB each one is mapped, faulted
    in page by page and unmapped again. Kept, an elementwise product of 28 million float32 takes
    18 ms instead of 52, with the same peak of resident memory.
    """
    if _SYSTEM != "linux" or "MALLOC_MMAP_MAX_" in os.environ:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # not glibc
        return
    for parameter, value in ((-4, 0), (-1, 2**31 - 1), (-2, 64 * 2**20)):  # malloc.h
        mallopt(parameter, value)  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD


_keep_freed_memory()
blas: BlasInfo = _preload()

import mlx.core as mx  # noqa: E402  (after the BLAS, see above)
import mlx.nn as nn  # noqa: E402
import mlx.optimizers as optim  # noqa: E402

__all__ = [
    "BlasInfo",
    "available_cores",
    "backend_name",
    "blas",
    "mx",
    "nn",
    "optim",
]


def backend_name() -> str:
    """``metal``, ``cuda`` or ``cpu``: where MLX's default device computes."""
    if mx.default_device() == mx.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"
