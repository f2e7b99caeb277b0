"""How many examples a gate needs before equal checkpoints pass it.

Input: the margin, the standard error of a difference, and how far two trainings that differ in
the seed alone lie apart -> output: a share, or a number of examples. Normal approximation: the
difference seen between two equal checkpoints varies by the sampling of examples, which more of
them shrink, and by the seed, which they do not; a gate passes where its interval excludes the
margin. `tests/results/simulate_gates.py` holds it against resampled runs.
"""

from __future__ import annotations

import math
from statistics import NormalDist

PASSING_SHARE = 0.80
"""Of equal checkpoints, at the number of examples that an inconclusive gate names."""

REACH = 1.959963984540054
"""Standard errors from a difference to the end of its 95% interval."""


def passing_share(margin: float, error: float, seed_spread: float) -> float:
    """The share of equal checkpoints that pass.

    Args:
        margin: tolerated worsening.
        error: standard error of the difference over the units of the sample.
        seed_spread: standard deviation between trainings that differ in the seed alone.
    """
    spread = math.hypot(error, math.sqrt(2.0) * seed_spread)
    room = margin - REACH * error
    return NormalDist().cdf(room / spread) if spread else float(room > 0.0)


def examples_needed(n: int, margin: float, error: float, seed_spread: float) -> int | None:
    """The fewest examples with which :data:`PASSING_SHARE` of equal checkpoints pass.

    ``error`` is the standard error at ``n`` examples; it falls with the root of their number.
    None where no number of them does, since the seeds alone differ by more than the margin allows.
    """
    z = NormalDist().inv_cdf(PASSING_SHARE)
    seeds = z * math.sqrt(2.0) * seed_spread
    if margin <= seeds:
        return None
    # The error x with (margin - REACH x)² = z² (x² + 2 seed_spread²), the smaller root.
    a, b, c = REACH**2 - z**2, margin * REACH, margin**2 - seeds**2
    allowed = (b - math.sqrt(b**2 - a * c)) / a
    return max(1, math.ceil(n * (error / allowed) ** 2))
