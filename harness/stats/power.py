"""Power: how small a true difference a comparison would find, and how much settles a given one.

Input: differences summed by unit -> output: the minimum detectable effect with 80% power at the
first step of the family, and how many times the examples make it a given size. Sources: the power
of McNemar's test under the null variance (Connor 1987), on tables as clusters, with an effective
number of them (Kish 1965); the power of the t test by the noncentral t distribution. The tests
themselves are in ``paired``, seeds in ``welch``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from harness.stats.intervals import TableSums
from harness.stats.paired import ALPHA

POWER = 0.80

MOST_TIMES = 100.0
"""How many times today's examples (or seeds) a needed number is looked for."""


def minimum_detectable(
    sums: TableSums, alpha: float, discordant: int | None = None, times: float = 1.0
) -> float | None:
    """Smallest true |mean difference| that a test at level ``alpha`` finds with 80% power.

    :func:`detectable_errors` standard errors over units, with as many degrees of freedom as
    units of equal size would give the same precision. For right/wrong pairs the standard error
    is McNemar's without a true difference, ``sqrt(d / n)`` with the observed share ``d`` of
    ``discordant`` pairs, times the square root of the design effect of the units (never below
    1); half a step of the count is added for its being whole (Edwards 1948), and no fewer units
    must differ than :func:`fewest_differing`. None when nothing differed: then the
    spread is unknown.

    Args:
        sums: the observed differences.
        alpha: the level of one metric at the family's first step: :func:`first_level`.
        discordant: the pairs that differ, for right and wrong answers.
        times: as if there were so many times the examples, of the same kind.
    """
    n = float(sums.weights.sum())
    error = sums.standard_error
    if math.isnan(error) or n == 0 or discordant == 0 or (discordant is None and error == 0.0):
        return None
    errors = detectable_errors(max(1.0, times * sums.effective - 1.0), alpha)
    if discordant is None:
        return errors * error / math.sqrt(times)
    alone = (discordant / n - sums.estimate**2) / n
    effect = max(1.0, error**2 / alone) if alone > 0 else 1.0
    found = errors * math.sqrt(discordant * effect / times) / n + 1.0 / (n * times)
    moving = np.count_nonzero(sums.numerators)
    together = float(np.abs(sums.numerators).sum()) / moving if moving else 1.0
    return min(1.0, max(found, fewest_differing(alpha) * together / (n * times)))


def times_needed(
    sums: TableSums, alpha: float, size: float, discordant: int | None = None
) -> float | None:
    """How many times the examples, of the same kind, make ``size`` detectable with 80% power.

    At least 1. None where ``MOST_TIMES`` are not enough, or nothing differed.
    """

    def missing(times: float) -> float:
        found = minimum_detectable(sums, alpha, discordant, times)
        return math.inf if found is None else found - abs(size)

    return smallest(missing, MOST_TIMES)


def smallest(missing: Callable[[float], float], most: float) -> float | None:
    """The number from 1 to ``most`` from which on ``missing`` is not positive, or None."""
    from scipy import optimize  # slow to import: collecting tests does without

    if missing(1.0) <= 0:
        return 1.0
    if missing(most) > 0:
        return None
    return float(optimize.brentq(missing, 1.0, most, rtol=1e-4))


def first_level(critical: float, units: float, family: int) -> float:
    """The level of one metric at the first step, whose largest statistic must exceed ``critical``.

    The statistic u = |sum| / root of the sum of squares exceeds it where t = u / √(1 - u²/m), of
    ``units`` = m of equal size, does; at most 5%. With so few units that none could, Bonferroni's
    level over the ``family``.
    """
    from scipy import special  # slow to import: collecting tests does without

    room = 1.0 - critical**2 / units
    if room <= 0.0 or units <= 1.0:
        return ALPHA / family
    return min(ALPHA, 2 * float(special.stdtr(units - 1, -critical / math.sqrt(room))))


def detectable_errors(freedom: float, alpha: float) -> float:
    """How many standard errors a mean must lie from zero for a two-sided t test to find it.

    Exact by the noncentral t; the chance of finding it on the wrong side is left out.
    """
    from scipy import optimize, special  # slow to import: collecting tests does without

    critical = float(special.stdtrit(freedom, 1 - alpha / 2))

    def missing_power(errors: float) -> float:
        return 1.0 - float(special.nctdtr(freedom, errors, critical)) - POWER

    return float(optimize.brentq(missing_power, 0.0, 10.0 * (critical + 1.0)))


def fewest_differing(alpha: float) -> float:
    """Units expected to differ so that, with 80% power, :func:`fewest_flips` of them do.

    Counts taken as Poisson: a quantile of the gamma distribution (Garwood 1936).
    """
    from scipy import special  # slow to import: collecting tests does without

    return float(special.gammaincinv(fewest_flips(alpha), POWER))


def fewest_flips(alpha: float) -> int:
    """Units that must differ, all one way, before any sign-flip p is as small as ``alpha``."""
    return math.ceil(1 - math.log2(alpha))
