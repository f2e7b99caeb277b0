"""What the CPU kernels share: the time of a computation, memory for copies, parts of an array."""

from __future__ import annotations

import timeit
from collections.abc import Callable
from typing import Any

import psutil

from harness.backend import mx

FREE_SHARE = 0.5
"""The share of the free memory that copies made for speed may take."""


def shortest_s(compute: Callable[[], Any], repeats: int = 3) -> float:
    """Seconds of the shortest of ``repeats`` evaluations: other processes slowed the longer ones.

    One evaluation, not timed, goes before them: it compiles and first writes to the memory.
    """

    def evaluate() -> None:
        mx.eval(compute())

    evaluate()
    return min(timeit.repeat(evaluate, number=1, repeat=repeats))


def slices(length: int, step: int) -> list[slice]:
    """``length`` positions in parts of ``step``, the last perhaps shorter."""
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def memory_shortfall(needed: int) -> str | None:
    """Why ``needed`` bytes of float32 copies are not made, or None where they may be."""
    allowed = int(psutil.virtual_memory().available * FREE_SHARE)
    if needed <= allowed:
        return None
    return f"float32 copies need {needed / 1e9:.1f} GB, {allowed / 1e9:.1f} GB may be taken"
