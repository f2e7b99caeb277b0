"""The share of right answers, and its interval when examples count as independent.

Yes-or-no verdicts -> a rate of 0..1 and its Wilson interval at 95% (Wilson 1927, "Probable
inference, the law of succession, and statistical inference"). Plain arithmetic: `score` starts
without numpy and scipy. Intervals that take whole tables are in `intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

Z95 = 1.959963984540054


def rate(verdicts: Iterable[bool | None]) -> float | None:
    """The share of True among the verdicts that are not None; None where there are none."""
    known = [verdict for verdict in verdicts if verdict is not None]
    return sum(known) / len(known) if known else None


def wilson(successes: int, n: int) -> tuple[float, float] | None:
    """The 95% Wilson score interval of a rate; None for n = 0."""
    if n == 0:
        return None
    share, square = successes / n, Z95 * Z95
    centre = share + square / (2 * n)
    half = Z95 * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    scale = 1 + square / n
    # At the edges the bound is exact; rounding would miss it.
    low = (centre - half) / scale if successes else 0.0
    high = (centre + half) / scale if successes < n else 1.0
    return low, high
