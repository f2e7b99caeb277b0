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

from harness.stats.intervals import Interval
from harness.stats.power import MOST_TIMES, detectable_errors


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

        error, freedom = self._precision()
        return 2 * float(stats.t.sf(abs(self.difference) / error, freedom))

    def interval(self, alpha: float) -> Interval:
        """The interval at level 1 - ``alpha``: it excludes zero where p is below ``alpha``."""
        from scipy import stats  # slow to import: collecting tests does without

        error, freedom = self._precision()
        reach = float(stats.t.isf(alpha / 2, freedom)) * error
        return self.difference - reach, self.difference + reach

    def minimum_detectable(self, alpha: float, times: float = 1.0) -> float:
        """Smallest true |difference| found at level ``alpha`` with 80% power.

        Args:
            alpha: the level of the test.
            times: as if each method had so many times the seeds.
        """
        error, freedom = self._precision(times)
        return detectable_errors(freedom, alpha) * error

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

    def _precision(self, times: float = 1.0) -> tuple[float, float]:
        """Standard error and degrees of freedom."""
        parts = [v / (n * times) for v, n in zip(self.variances, self.seeds, strict=True)]
        squares = [
            part**2 / (n * times - 1)
            for part, n in zip(parts, self.seeds, strict=True)
            if part > 0.0
        ]
        return math.sqrt(sum(parts)), sum(parts) ** 2 / sum(squares)


def welch(a: Sequence[float], b: Sequence[float]) -> Welch | None:
    """b against a; None where neither has a spread, or one has fewer than two seeds."""
    if min(len(a), len(b)) < 2:
        return None
    variances = statistics.variance(a), statistics.variance(b)
    if not any(variances):
        return None
    return Welch(statistics.mean(b) - statistics.mean(a), variances, (len(a), len(b)))
