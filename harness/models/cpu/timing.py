"""Seconds that an MLX computation takes: what the choices of kernels are measured with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from harness.backend import mx


def shortest(compute: Callable[[], Any], repeats: int = 3) -> float:
    """Seconds of the shortest of ``repeats`` evaluations: the others were disturbed.

    One evaluation goes before them, which compiles and touches the memory first.
    """
    mx.eval(compute())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        mx.eval(compute())
        times.append(time.perf_counter() - start)
    return min(times)
