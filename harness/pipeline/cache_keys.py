"""Cache keys: what decides the content of a stage's result, and nothing else.

Two settings share an entry only if they would give the same bytes. The versions of the stages are
in ``schema/stage_results``.
"""

from __future__ import annotations

import functools
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.disk.files import content_key, sha256_file
from harness.errors import UserError
from harness.machine.chip import CUDA_WHEELS, compute_device
from harness.models.adapter import adapter_config
from harness.models.weights import ADAPTER_FILE

# Tokenization decides the rows as much as MLX decides the numbers.
_COMPUTING = ("mlx", "mlx-lm", "transformers", "tokenizers")
# What mlx-lm reads of an adapter's configuration when it applies the weights.
_APPLIED = ("fine_tune_type", "num_layers", "lora_parameters")


def machine() -> list[str]:
    """What makes results differ between machines, and between a machine's devices, as far as it is
    known without MLX: system, architecture, the device that computes, the installed MLX backend
    wheels, the BLAS of TUNEBENCH_BLAS. Not the machine itself: see ``machine/identity.py``."""
    backends = ("mlx-metal", "mlx-cpu", *CUDA_WHEELS, "mkl")
    installed = [f"{name} {version}" for name in backends if (version := _version(name))]
    blas = os.environ.get("TUNEBENCH_BLAS", "auto")
    system = [platform.system(), platform.machine(), *compute_device()]
    return [*system, *installed, f"blas {blas}"]


def adapter_key(folder: Path | None) -> str | None:
    """What decides the tuned model given its base: the weights and how they are applied."""
    if folder is None:
        return None
    try:
        config = adapter_config(folder)
        applied = [config.get(field) for field in _APPLIED]
    except UserError:
        applied = []  # loading names what is wrong with the configuration
    return content_key(sha256_file(folder / ADAPTER_FILE), applied)


def base_key(base_sha256: str, quantize: Any) -> list[Any]:
    """What decides the loaded base: files, quantization, versions, backend."""
    packages = [_version(name) for name in _COMPUTING]
    return [base_sha256, quantize, packages, machine()]


@functools.cache
def _version(package: str) -> str | None:
    """Of an installed package; asked for with every key, and slow to find."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
