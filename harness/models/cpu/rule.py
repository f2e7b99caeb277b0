"""The rule by which the CPU's kernels are chosen: never a stopwatch, so one command has one result.

System and BLAS -> :class:`Rule`: from what size on each kernel of this folder computes. Another
kernel rounds otherwise, so the choice follows from what stays the same from run to run: shapes,
types, the BLAS. The sizes are where the kernels' times crossed on Intel (AVX-512) and AMD (AVX2)
with two cores, MLX 0.32; they differ by half between machines, which costs microseconds a call.
"""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

COPIES_SHARE = 0.25
"""The share of the machine's memory that copies made for speed may take, of each kind."""

_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class VectorExp:
    """From how many elements on a function takes the vectorized exponential; None is never."""

    swiglu_min: int | None = None
    softmax_min: int | None = None
    """Inside of our attention; below, it is MLX's softmax."""
    attention_min: int | None = None
    """Elements of the scores."""


MLX_EXPONENTIAL = VectorExp()
"""MLX's own everywhere."""


@dataclass(frozen=True, slots=True)
class Rule:
    """From what size on each kernel computes. The default is MLX's own functions everywhere."""

    name: str = "stock"
    exponential: VectorExp = MLX_EXPONENTIAL
    chunked_loss: bool = False
    """Whether training's cross-entropy is `models/chunked_loss.py`'s."""
    bytes_min_rows: int | None = None
    """From this many rows of input on weights of 2, 4 or 8 bits are dequantized first; None is
    never."""
    mlx_min_rows: int | None = None
    """The same for weights that only ``mx.dequantize`` unpacks, one at a time."""
    batches: int = 1
    """How many of the protocol's batches are decoded as one."""


MLX_RULE = Rule()
"""MLX's own functions, and one batch at a time."""

GPU_RULE = Rule("chunked loss@1", chunked_loss=True)
"""On a GPU: MLX's own functions, but no logits beyond a chunk in training."""


def rule_for(system: str, blas: str) -> Rule:
    """The rule of an operating system (as of ``platform.system()``) and a BLAS.

    MLX's Linux builds have no vector instructions of their own, so its exponential is slow there;
    the macOS build has, so its own functions stay (not measured: a Mac computes on its GPU). With
    the reference BLAS a product takes 20 times as long, so packed weights win up to more rows.
    """
    if system == "Darwin":
        return Rule("kernels@1 darwin", batches=4)
    exponential = VectorExp(swiglu_min=2_600, softmax_min=5_000, attention_min=0)
    if blas == "reference":
        name, bytes_min_rows, mlx_min_rows = "kernels@1 reference BLAS", 16, 32
    else:
        name, bytes_min_rows, mlx_min_rows = "kernels@1", 4, 16
    return Rule(
        name,
        exponential,
        chunked_loss=True,
        bytes_min_rows=bytes_min_rows,
        mlx_min_rows=mlx_min_rows,
        batches=4,
    )


def this_rule(blas: str) -> Rule:
    """The rule of this machine's system and ``blas``."""
    return rule_for(platform.system(), blas)


def memory_shortfall(needed: int) -> str | None:
    """Why ``needed`` bytes of float32 copies are not made, or None where they may be.

    Measured by the memory that the machine, or its container, has in all: what is free changes
    from run to run, and products with copies round otherwise.
    """
    allowed = int(memory_bytes() * COPIES_SHARE)
    if needed <= allowed:
        return None
    return f"float32 copies need {needed / 1e9:.1f} GB, {allowed / 1e9:.1f} GB may be taken"


def memory_bytes() -> float:
    """The machine's memory, or what the control group (container) grants of it."""
    try:
        limit = float(_LIMIT.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        limit = math.inf
    return min(psutil.virtual_memory().total, limit)
