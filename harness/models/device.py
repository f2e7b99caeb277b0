"""The machine under MLX: backend, chip, memory, BLAS -> the `device` record of a run."""

from __future__ import annotations

import datetime
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

from harness.backend import backend_name, blas, mx


def device() -> dict[str, Any]:
    """``{backend, chip, memory_bytes, blas}``: ``memory_bytes`` is the accelerator's own memory
    with CUDA, else the machine's; ``blas`` is null unless the CPU computes."""
    backend = backend_name()
    memory = psutil.virtual_memory().total
    if backend == "cuda":
        info = mx.device_info()
        memory = int(info.get("total_memory", info.get("memory_size", memory)))
    return {
        "backend": backend,
        "chip": chip(backend),
        "memory_bytes": memory,
        "blas": blas.name if backend == "cpu" else None,
    }


def measured_at() -> str:
    """When (UTC) and where: what stands beside a timing."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y-%m-%dT%H:%M:%SZ} on {chip(backend_name())} ({platform.node()})"


def chip(backend: str) -> str:
    """The processor's own name, e.g. ``Apple M2 Max``; the architecture where none is told."""
    if backend == "cuda":
        name = mx.device_info().get("device_name")
        if name:
            return str(name)
    if platform.system() == "Darwin":
        told = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        return told or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
