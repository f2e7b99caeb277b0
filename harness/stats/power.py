"""Power: how small a true difference a paired comparison would find.

Input: differences summed by table -> output: the minimum detectable effect with 80% power at the
first step of Holm's correction. Sources: the power of McNemar's test under the null variance
(Connor 1987), on tables as clusters, with an effective number of them (Kish 1965); the power of the
t test by the noncentral t distribution. The tests themselves are in ``paired``.
"""

from __future__ import annotations

import math

import numpy as np

from harness.stats.intervals import TableSums
from harness.stats.paired import ALPHA

POWER = 0.80


def minimum_detectable(sums: TableSums, family: int, discordant: int | None = None) -> float | None:
    """Smallest true |mean difference| that the first Holm step finds with 80% power.

    :func:`detectable_errors` standard errors over tables, with as many degrees of freedom as
    tables of equal size would give the same precision. For right/wrong pairs the standard error
    is McNemar's without a true difference, ``sqrt(d / n)`` with the observed share ``d`` of
    ``discordant`` pairs, times the square root of the design effect of the tables (never below
    1); half a step of the count is added for its being whole (Edwards 1948), and no fewer pairs
    must differ than :func:`fewest_differing`. None when nothing differed: then the
    spread is unknown.
    """
    n = float(sums.weights.sum())
    error = sums.standard_error
    if math.isnan(error) or n == 0 or discordant == 0 or (discordant is None and error == 0.0):
        return None
    tables = n**2 / float(np.square(sums.weights).sum())  # Kish 1965: effective number
    errors = detectable_errors(max(1.0, tables - 1.0), ALPHA / family)
    if discordant is None:
        return errors * error
    alone = (discordant / n - sums.estimate**2) / n
    effect = max(1.0, error**2 / alone) if alone > 0 else 1.0
    found = errors * math.sqrt(discordant * effect) / n + 1.0 / n
    moving = np.count_nonzero(sums.numerators)
    together = float(np.abs(sums.numerators).sum()) / moving if moving else 1.0
    return min(1.0, max(found, fewest_differing(family) * together / n))


def detectable_errors(freedom: float, alpha: float) -> float:
    """How many standard errors a mean must lie from zero for a two-sided t test to find it.

    Exact by the noncentral t; the chance of finding it on the wrong side is left out.
    """
    from scipy import optimize, stats  # slow to import: collecting tests does without

    critical = float(stats.t.ppf(1 - alpha / 2, freedom))

    def missing_power(errors: float) -> float:
        return float(stats.nct.sf(critical, freedom, errors)) - POWER

    return float(optimize.brentq(missing_power, 0.0, 10.0 * (critical + 1.0)))


def fewest_differing(family: int) -> float:
    """Tables expected to differ so that, with 80% power, :func:`fewest_flips` of them do.

    Counts taken as Poisson: half a quantile of chi-squared (Garwood 1936).
    """
    from scipy import stats  # slow to import: collecting tests does without

    return float(stats.chi2.ppf(POWER, 2 * fewest_flips(family))) / 2


def fewest_flips(family: int) -> int:
    """Tables that must differ, all one way, before any sign-flip p passes the first Holm step."""
    return math.ceil(1 - math.log2(ALPHA / family))
