"""The share of right answers and its interval when examples come in tables.

Yes-or-no verdicts and the table of each -> a rate of 0..1 and its 95% interval: Clopper & Pearson
1934 with the effective number of examples n / deff (Korn & Graubard 1998). The unit is the table,
or the question (``units``). Plain arithmetic: `score` starts without numpy and scipy.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

from harness.stats.units import unit_of_each

Interval = tuple[float, float]

Z95 = 1.959963984540054

ADDED_UNITS = 3
"""With fewer, one further right answer can lower the design effect of six tables so much that the
interval's upper limit falls."""

_TINY = 1e-300


def rate(verdicts: Iterable[bool | None]) -> float | None:
    """The share of True among the verdicts that are not None; None where there are none."""
    known = [verdict for verdict in verdicts if verdict is not None]
    return sum(known) / len(known) if known else None


def clustered_rate(correct: Sequence[float], tables: Sequence[Hashable]) -> Interval | None:
    """Clopper-Pearson interval of a rate with n / deff examples; None without any.

    With units of similar size a further right answer moves no limit down, and the interval covers
    at any rate; where one unit holds most of the examples it can fall short (docs/statistics.md).
    """
    right: dict[Hashable, float] = {}
    sizes: dict[Hashable, float] = {}
    for one, unit in zip(correct, unit_of_each(tables), strict=True):
        right[unit] = right.get(unit, 0.0) + float(one)
        sizes[unit] = sizes.get(unit, 0.0) + 1.0
    if not sizes:
        return None
    share = 1.0 / design_effect([*right.values()], [*sizes.values()])
    return clopper_pearson(sum(right.values()) * share, len(tables) * share)


def design_effect(right: Sequence[float], sizes: Sequence[float]) -> float:
    """How many times the variance of a rate is that of independent examples; at least 1.

    Over units, each with so many ``right`` of its ``sizes`` examples, with ``ADDED_UNITS``
    all-right and as many all-wrong units of mean size added: so it is known where every answer is
    right, and no single answer changes it by much. The variance is linearised (Cochran 1977, §6.4).
    """
    mean = sum(sizes) / len(sizes)
    numerators = [*right, *[mean] * ADDED_UNITS, *[0.0] * ADDED_UNITS]
    weights = [*sizes, *[mean] * (2 * ADDED_UNITS)]
    units, weight = len(weights), math.fsum(weights)
    share = math.fsum(numerators) / weight
    squares = math.fsum((x - share * w) ** 2 for x, w in zip(numerators, weights, strict=True))
    variance = units / (units - 1) * squares / weight**2
    return max(1.0, variance / (share * (1.0 - share) / weight))


def clopper_pearson(right: float, n: float) -> Interval:
    """The exact 95% interval of ``right`` of ``n``, which need not be whole numbers."""
    wrong = n - right
    low = _beta_quantile(0.025, right, wrong + 1.0) if right > 0 else 0.0
    high = _beta_quantile(0.975, right + 1.0, wrong) if wrong > 1e-9 * n else 1.0
    return low, high


def _beta_quantile(p: float, a: float, b: float) -> float:
    """Where the beta distribution has ``p`` below: Newton's steps, halving where one leaves the
    bracket."""
    mean = a / (a + b)
    reach = Z95 * math.sqrt(mean * (1.0 - mean) / (a + b + 1.0))
    low, high, x = (
        0.0,
        1.0,
        min(max(mean + (reach if p > 0.5 else -reach), mean / 2), (1 + mean) / 2),
    )
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    for _ in range(200):
        excess = _beta_below(x, a, b, log_beta) - p
        low, high = (low, x) if excess > 0 else (x, high)
        density = math.exp((a - 1) * math.log(x) + (b - 1) * math.log1p(-x) - log_beta)
        step = x - excess / density if density > 0 else -1.0
        after = step if low < step < high else (low + high) / 2
        if abs(after - x) <= 1e-15 * x or after in (low, high):
            return after
        x = after
    return x


def _beta_below(x: float, a: float, b: float, log_beta: float) -> float:
    """The regularized incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _beta_below(1.0 - x, b, a, log_beta)
    # Lentz's method, as modified by Thompson and Barnett 1986.
    fraction, c, d = 1.0, 1.0, 0.0
    for step in range(10_000):
        m, odd = divmod(step, 2)
        if odd:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)) if m else 1.0
        d = 1.0 / (1.0 + term * d or _TINY)
        c = 1.0 + term / c or _TINY
        fraction *= c * d
        if step and abs(c * d - 1.0) < 1e-15:
            break
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta)
    return front * (fraction - 1.0) / a
