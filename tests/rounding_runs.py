"""`make test-rounding`: the numeric tests under BLAS settings that round differently.

Runs the tests marked `numeric` (tests/conftest.py: NUMERIC) under every setting that this machine
can run, with one thread and with two, and prints a table of setting -> passed and failed. What it
cannot run it names with the reason. An OpenBLAS is looked for at OPENBLAS=/path/to/libopenblas.so.0
and among the system's libraries (Debian: `apt-get install libopenblas0`).
"""

from __future__ import annotations

import ctypes.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("tests/models", "tests/measure", "tests/train")


@dataclass(frozen=True)
class Setting:
    """Environment variables that change how sums are ordered, or why they cannot be set here."""

    name: str
    environment: dict[str, str]
    missing: str = ""


def mkl() -> str | None:
    """The library of the mkl wheel."""
    try:
        files = metadata.distribution("mkl").files or []
    except metadata.PackageNotFoundError:
        return None
    found = (Path(str(f.locate())).resolve() for f in files if f.name.startswith("libmkl_rt.so"))
    return next((str(path) for path in found if path.exists()), None)


def processor() -> set[str]:
    """Instruction sets of this processor, as Linux names them."""
    try:
        return set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text("utf-8")))
    except OSError:
        return set()


def settings() -> list[Setting]:
    """What to run, and what cannot be."""
    library, able = mkl(), processor()
    found = []
    for name, variables in (
        ("mkl, its own choice", {}),
        ("mkl, MKL_CBWR=COMPATIBLE", {"MKL_CBWR": "COMPATIBLE"}),
        ("mkl, MKL_ENABLE_INSTRUCTIONS=SSE4_2", {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}),
        ("mkl, MKL_ENABLE_INSTRUCTIONS=AVX2", {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}),
    ):
        missing = "" if library else "the mkl wheel is not installed (Linux x86-64 only)"
        found.append(Setting(name, {"TUNEBENCH_BLAS": library or "", **variables}, missing))
    found.append(Setting("MLX's own (TUNEBENCH_BLAS=off)", {"TUNEBENCH_BLAS": "off"}))
    openblas = os.environ.get("OPENBLAS") or ctypes.util.find_library("openblas")
    for core, needs in (("Zen", "avx2"), ("Haswell", "avx2"), ("SkylakeX", "avx512f")):
        missing = "" if openblas else "no OpenBLAS: apt-get install libopenblas0, or OPENBLAS=/path"
        if needs not in able:
            missing = f"this processor has no {needs}"
        variables = {"TUNEBENCH_BLAS": openblas or "", "OPENBLAS_CORETYPE": core}
        found.append(Setting(f"openblas, OPENBLAS_CORETYPE={core}", variables, missing))
    return found


def run(setting: Setting, threads: int) -> tuple[bool, str]:
    """Whether the tests passed, and pytest's last line; failures are printed."""
    every = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **setting.environment, **dict.fromkeys(every, str(threads))}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *FOLDERS, "-m", "numeric and not slow"),
            *("-q", "--tb=line", "-p", "no:cacheprovider", *sys.argv[1:]),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["no output"]
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            print("   ", line)
    return done.returncode == 0, lines[-1]


def main() -> int:
    """Run all, print the table; 1 where a test failed."""
    failed = False
    print("| setting | threads | result |\n|---|---|---|", flush=True)
    for setting in settings():
        if setting.missing:
            print(f"| {setting.name} | - | not run: {setting.missing} |", flush=True)
            continue
        for threads in (1, 2):
            passed, line = run(setting, threads)
            failed |= not passed
            print(f"| {setting.name} | {threads} | {line} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
