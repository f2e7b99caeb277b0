"""Two methods by their seeds: Welch's t on one value a seed, and what so many seeds can see.

Input: the value of a metric under every seed, for two methods -> output: difference, interval, p,
the smallest difference found with 80% power, and the seeds that would settle the one that was
seen. The seeds of two methods are taken as independent: they share a number, not its luck (chosen
by design, not by data). Sources: Welch 1947; Satterthwaite 1946 for the degrees of freedom. A
method without spread is a constant, and the test is then Student's of one sample.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from harness.stats.intervals import Floats
from harness.stats.power import MOST_TIMES, POWER
from harness.stats.rates import Interval

GRID = 32
"""Values of each method's variance over which the power of the test is averaged."""


@dataclass(frozen=True)
class Welch:
    """b minus a over seeds, where at least one of them has a spread."""

    difference: float
    variances: tuple[float, float]
    """Between the seeds of a and of b."""
    seeds: tuple[int, int]

    @property
    def p(self) -> float:
        """Two-sided."""
        from scipy import stats  # slow to import: collecting tests does without

        error, freedom = self._precision(np.ones(1), np.ones(1))
        return 2 * float(stats.t.sf(abs(self.difference) / float(error[0]), float(freedom[0])))

    def interval(self, alpha: float) -> Interval:
        """The interval at level 1 - ``alpha``: it excludes zero where p is below ``alpha``."""
        from scipy import stats  # slow to import: collecting tests does without

        error, freedom = self._precision(np.ones(1), np.ones(1))
        reach = float((stats.t.isf(alpha / 2, freedom) * error)[0])
        return self.difference - reach, self.difference + reach

    def minimum_detectable(self, alpha: float, times: float = 1.0) -> float:
        """Smallest true |difference| found at level ``alpha`` with 80% power.

        The spreads seen are taken as the true ones; what the test makes of them varies from one
        set of so many seeds to the next, and with few seeds that costs much of its power.

        Args:
            alpha: the level of the test.
            times: as if each method had so many times the seeds.
        """
        from scipy import optimize  # slow to import: collecting tests does without

        error, critical = self._critical(alpha, times)
        missing = partial(_missing_power, critical / error)
        return error * float(optimize.brentq(missing, 0.0, float(critical.max()) / error + 3.0))

    def seeds_needed(self, alpha: float) -> int | None:
        """Seeds of each method with which a true difference of this size is found so.

        None where a hundred times today's are not enough.
        """
        today = min(self.seeds)
        few, many = today, math.ceil(today * MOST_TIMES)

        def enough(seeds: int) -> bool:
            return self.minimum_detectable(alpha, seeds / today) <= abs(self.difference)

        if not enough(many):
            return None
        while few < many:
            middle = (few + many) // 2
            few, many = (few, middle) if enough(middle) else (middle + 1, many)
        return few

    def _critical(self, alpha: float, times: float) -> tuple[float, Floats]:
        """The true standard error, and what a difference must exceed, over equally likely pairs of
        variances as so many seeds would give them."""
        from scipy import stats  # slow to import: collecting tests does without

        shares = (np.arange(GRID) + 0.5) / GRID
        drawn = [stats.chi2.ppf(shares, n * times - 1) / (n * times - 1) for n in self.seeds]
        before, after = (axis.ravel() for axis in np.meshgrid(*drawn))
        error, freedom = self._precision(before, after, times)
        true = self._precision(np.ones(1), np.ones(1), times)[0]
        return float(true[0]), stats.t.isf(alpha / 2, freedom) * error

    def _precision(
        self, before: Floats, after: Floats, times: float = 1.0
    ) -> tuple[Floats, Floats]:
        """Standard error and degrees of freedom where the variances are so many times these."""
        counts = [n * times for n in self.seeds]
        parts = [
            variance * factor / n
            for variance, factor, n in zip(self.variances, (before, after), counts, strict=True)
        ]
        squares = sum(part**2 / (n - 1) for part, n in zip(parts, counts, strict=True))
        return np.sqrt(sum(parts)), np.square(sum(parts)) / squares


def _missing_power(critical: Floats, size: float) -> float:
    """How much of 80% a difference of ``size`` lacks, all in standard errors."""
    from scipy import special  # slow to import: collecting tests does without

    return float(POWER - special.ndtr(size - critical).mean())


def welch(a: Sequence[float], b: Sequence[float]) -> Welch | None:
    """b against a; None where neither has a spread, or one has fewer than two seeds."""
    if min(len(a), len(b)) < 2:
        return None
    variances = statistics.variance(a), statistics.variance(b)
    if not any(variances):
        return None
    return Welch(statistics.mean(b) - statistics.mean(a), variances, (len(a), len(b)))
