"""The machine under MLX: backend, chip, memory, BLAS and its speed -> a run's `device` record."""

from __future__ import annotations

import datetime
import timeit
from dataclasses import replace
from typing import Any

import psutil

from harness.backend import BlasInfo, backend_name, blas, mx
from harness.errors import UserError
from harness.machine.chip import gpu_cores, processor
from harness.machine.memory_limits import memory_limits, variable
from harness.models.cpu.rule import memory_bytes
from harness.schema.stage_results import DeviceMemory


def device() -> dict[str, Any]:
    """The fields of :class:`~harness.schema.results.Device`: ``memory_bytes`` is the accelerator's
    own memory with CUDA, else the machine's; ``blas`` is null unless the CPU computes."""
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
        "gpu_cores": gpu_cores() if backend == "metal" else None,
    }


def device_memory() -> DeviceMemory:
    """What MLX may take now, asked of its owner: the GPU where one computes, else the host.

    Metal: the working set that macOS recommends for the GPU, less what MLX holds in this process
    (what others hold is not seen). CUDA: what the driver says of the card. CPU: what the host has
    to give, in all no more than its container may have. psutil's "available" says neither what
    Metal may take nor anything of a card.
    """
    backend, host = backend_name(), psutil.virtual_memory()
    held = int(mx.get_active_memory() + mx.get_cache_memory())
    if backend == "cpu":
        total = int(memory_bytes())
        free = min(host.available, total)
    else:
        info = mx.device_info()
        if backend == "metal":
            total = int(info.get("max_recommended_working_set_size", host.total * 2 // 3))
            free = max(0, total - held)
        else:
            total = int(info.get("total_memory", info.get("memory_size", host.total)))
            free = int(info.get("free_memory", max(0, total - held)))
    return DeviceMemory(
        backend=backend,
        free_bytes=free,
        held_bytes=held,
        total_bytes=total,
        host_bytes=host.total,
    )


def limit_memory() -> None:
    """Set MLX's limits in this process, as the user's environment names them.

    Raises:
        UserError: a limit is wrong; a wired one where Metal does not compute, or above macOS's.
    """
    for kind, limit in memory_limits().items():
        if kind == "wired" and backend_name() != "metal":
            raise UserError(
                f"{variable(kind)} limits what Metal keeps resident, and {backend_name()} computes "
                "here. Unset it."
            )
        try:
            getattr(mx, f"set_{kind}_limit")(limit)
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"{variable(kind)}={limit / 1e9:g} was refused by MLX: {error} Lower it, or raise "
                "macOS's own limit: sudo sysctl iogpu.wired_limit_mb=MB."
            ) from error


def measured_at() -> str:
    """When (UTC) and on which chip something was timed, without the machine's name."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y-%m-%dT%H:%M:%SZ} on {chip(backend_name())}"


def chip(backend: str) -> str:
    """The name of the GPU with CUDA, else of the processor, e.g. ``Apple M2 Max``."""
    if backend == "cuda":
        name = mx.device_info().get("device_name")
        if name:
            return str(name)
    return processor()


def measure_gflops(size: int = 1024, dtype: mx.Dtype = mx.float32, repeats: int = 3) -> float:
    """Best GFLOP/s over ``repeats`` products of two ``size`` x ``size`` matrices."""
    a, b = (mx.random.normal((size, size)).astype(dtype) for _ in range(2))
    mx.eval(a @ b)  # reads the library, starts its threads, writes to the memory
    shortest_s = min(timeit.repeat(lambda: mx.eval(a @ b), number=1, repeat=repeats))
    return 2 * size**3 / shortest_s / 1e9


def measured_blas() -> BlasInfo:
    """The BLAS with its measured speed (about 0.05 s with a fast one, 1.5 s without)."""
    return replace(blas, gflops=round(measure_gflops(size=1024 if blas.fast else 512), 1))


def product_gflops() -> float:
    """The speed of a large product where MLX computes: in float32 on a CPU, in bfloat16 on a GPU,
    of matrices that grow until they keep it busy for two milliseconds."""
    if backend_name() == "cpu":
        return measured_blas().gflops or 1.0
    size = 512
    found = measure_gflops(size, mx.bfloat16)
    while size < 4096 and 2 * size**3 < found * 1e9 * 2e-3:
        size *= 2
        found = measure_gflops(size, mx.bfloat16)
    return found
