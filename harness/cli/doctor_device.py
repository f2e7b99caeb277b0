"""The checks of `doctor` that import MLX and measure: device, BLAS, kernels, memory."""

from __future__ import annotations

import os
from dataclasses import asdict

from harness.backend import BlasInfo, backend_name, mx
from harness.cli.doctor import Check, Report, other_checks
from harness.disk.cache import Cache
from harness.machine.installed import (
    SLOW_BLAS,
    backends,
    extra_for_this_machine,
    install_command,
    old_driver,
)
from harness.models.cpu.rule import this_rule
from harness.models.device import (
    device,
    device_memory,
    measure_gflops,
    measured_blas,
    product_gflops,
)
from harness.worker.memory_advice import more_for_the_gpu

_SLOW_GFLOPS = 15.0  # two cores of any recent processor with a fast BLAS give several times this
_NEEDED_MEMORY = 4 * 10**9


def examine(cache: Cache) -> Report:
    """Run every check; a problem that one finds is never an exception."""
    if backend_name() != "cpu":
        checks = (_device(), _memory(), *other_checks(cache))
        return Report(device(), {}, checks)
    blas = measured_blas()
    checks = (_device(), _blas(blas), _kernels(blas), _memory(), *other_checks(cache))
    return Report(device(), asdict(blas), checks)


def _device() -> Check:
    backend, this = backend_name(), device()
    found = f"{backend} on {this['chip']}"
    if backend != "cpu":
        cores = f", {this['gpu_cores']} GPU cores" if this["gpu_cores"] else ""
        speed = f"{product_gflops():.0f} GFLOP/s in bfloat16; no CPU kernel or BLAS is used"
        return Check("device", "ok", f"{found}{cores}: {speed}")
    wanted = extra_for_this_machine()
    if wanted == "cpu":
        too_old = old_driver()
        return Check("device", "warning" if too_old else "ok", found, too_old)
    if wanted == "metal":
        return Check("device", "warning", found, "an Apple silicon Mac computes on its GPU")
    advice = f"this machine has an NVIDIA GPU. Run: {install_command()}"
    if "cpu" not in backends():
        advice = "MLX sees no GPU: does `nvidia-smi` list it, and is CUDA_VISIBLE_DEVICES unset?"
    return Check("device", "warning", found, advice)


def _blas(blas: BlasInfo) -> Check:
    half = measure_gflops(256, mx.float16, 1)
    found = (
        f"{blas.name} ({blas.path or 'built into MLX'}), {blas.threads} threads: "
        f"{blas.gflops:.0f} GFLOP/s in float32 (float16 {half:.0f}, so weights are float32 here)"
    )
    if (blas.gflops or 0.0) >= _SLOW_GFLOPS:
        return Check("blas", "ok", found)
    advice = SLOW_BLAS
    if blas.fast:
        advice = "slow: is the machine busy, or limited to a share?"
    elif os.environ.get("TUNEBENCH_BLAS") == "off":
        advice = "unset TUNEBENCH_BLAS to use a fast BLAS"
    return Check("blas", "warning", found, advice)


def _kernels(blas: BlasInfo) -> Check:
    """By which rule the CPU's kernels are chosen; a run's own record is in results.json."""
    rule = this_rule(blas.name)
    loss = "in chunks" if rule.chunked_loss else "MLX's"
    found = (
        f"by the rule {rule.name!r}: exponential from {rule.exponential.swiglu_min} elements on, "
        f"loss {loss}, weights dequantized from {rule.bytes_min_rows} rows on, {rule.batches} "
        "batches decoded together (acceleration in results.json)"
    )
    return Check("kernels", "ok", found)


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
