"""Paired tests between two systems that answered the same examples.

Input: differences summed by table -> output: p values and the smallest detectable difference.
Sources: the sign-flip (one-sample randomization) test of Fisher 1935 with the Monte Carlo p of
Phipson & Smyth 2010; its single-step maximum over several comparisons (Westfall & Young 1993,
§2.5, with sign flips as in Nichols & Holmes 2002); McNemar 1947, exact binomial form; Holm 1979;
the power of McNemar's test under the null variance (Connor 1987), on tables as clusters; Welch's t
on logarithms for a ratio of speeds. Intervals are in ``intervals``; what is compared, and in which
words, in ``compare``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from harness.stats.intervals import Floats, Interval, TableSums, chunk_sizes

FLIPS = 10_000
EXACT_TABLES = 16
"""Up to this many differing tables all 2**k sign patterns are enumerated (65,536 of them)."""

ALPHA = 0.05
POWER = 0.80


def sign_flip(differences: Floats, seed: int = 0, flips: int = FLIPS) -> float:
    """Two-sided p of "the sign of each table's difference is a coin toss".

    The statistic is the absolute sum of ``differences``. Tables without a difference cannot
    change it and are left out; with none left, p is 1. Exact up to ``EXACT_TABLES`` differing
    tables, else Monte Carlo with ``(1 + hits) / (1 + flips)``, which is never 0.
    """
    moving = differences[differences != 0.0]
    count = len(moving)
    if count == 0:
        return 1.0
    # Sums that differ by rounding only are ties, and ties count as hits.
    observed = abs(float(moving.sum())) - 1e-9 * float(np.abs(moving).sum())
    if count <= EXACT_TABLES:
        patterns = np.arange(2**count)[:, None] >> np.arange(count) & 1
        sums = (1.0 - 2.0 * patterns) @ moving
        return float(np.mean(np.abs(sums) >= observed))
    hits = 0
    for bits in _coins(count, seed, flips):
        # sum(±d) = sum(d) - 2 * sum(d where flipped)
        flipped = bits @ moving
        hits += int(np.count_nonzero(np.abs(moving.sum() - 2.0 * flipped) >= observed))
    return (1 + hits) / (1 + flips)


def sign_flip_largest(differences: Floats, chosen: int, seed: int = 0, flips: int = FLIPS) -> float:
    """One-sided p of column ``chosen`` where it may have been picked for being the largest.

    ``differences`` holds a row a table and a column a comparison with one common partner. Signs
    are flipped for whole rows, so that the columns keep their dependence, and the column's
    statistic, its sum over the root of its sum of squares, is held against the largest of all
    columns in each flip. With one column it is a one-sided :func:`sign_flip`.
    """
    moving = differences[np.any(differences != 0.0, axis=1)]
    scale = np.sqrt(np.square(moving).sum(axis=0))
    if len(moving) == 0 or scale[chosen] == 0.0:
        return 1.0
    moving = moving[:, scale > 0.0] / scale[scale > 0.0]
    place = int(np.count_nonzero(scale[:chosen] > 0.0))
    total = moving.sum(axis=0)
    observed = float(total[place]) - 1e-9
    count = len(moving)
    if count <= EXACT_TABLES:
        patterns = np.arange(2**count)[:, None] >> np.arange(count) & 1
        largest = (total - 2.0 * (patterns @ moving)).max(axis=1)
        return float(np.mean(largest >= observed))
    hits = 0
    for bits in _coins(count, seed, flips):
        hits += int(np.count_nonzero((total - 2.0 * (bits @ moving)).max(axis=1) >= observed))
    return (1 + hits) / (1 + flips)


def _coins(count: int, seed: int, flips: int) -> Iterator[Floats]:
    """Fair coins: matrices of flips × ``count``, a chunk at a time."""
    rng = np.random.default_rng(seed)
    for size in chunk_sizes(flips, count):
        packed = rng.integers(0, 256, size=(size, (count + 7) // 8), dtype=np.uint8)
        yield np.unpackbits(packed, axis=1)[:, :count].astype(np.float64)


def mcnemar(fixed: int, broken: int) -> float:
    """Exact two-sided McNemar p from the two discordant counts; 1 when there are none."""
    from scipy import stats  # slow to import: collecting tests does without

    discordant = fixed + broken
    if discordant == 0:
        return 1.0
    return float(stats.binomtest(fixed, discordant, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given."""
    # Not statsmodels' multipletests: it runs the garbage collector on every call (0.1 s).
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for step, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def minimum_detectable(
    sums: TableSums, family: int, discordant: int | None = None, power: float = POWER
) -> float | None:
    """Smallest true |mean difference| that the first Holm step finds with ``power``.

    :func:`detectable_errors` standard errors over tables, with as many degrees of freedom as
    tables of equal size would give the same precision. For right/wrong pairs the standard error
    is McNemar's without a true difference, ``sqrt(d / n)`` with the observed share ``d`` of
    ``discordant`` pairs, times the square root of the design effect of the tables (never below
    1); half a step of the count is added for its being whole (Edwards 1948), and no fewer pairs
    must differ than :func:`fewest_differing`. None when nothing differed: then the data say
    nothing about the spread.
    """
    n = float(sums.weights.sum())
    error = sums.standard_error
    if math.isnan(error) or n == 0 or discordant == 0 or (discordant is None and error == 0.0):
        return None
    tables = n**2 / float(np.square(sums.weights).sum())  # Kish 1965: effective number
    errors = detectable_errors(max(1.0, tables - 1.0), ALPHA / family, power)
    if discordant is None:
        return errors * error
    alone = (discordant / n - sums.estimate**2) / n
    effect = max(1.0, error**2 / alone) if alone > 0 else 1.0
    found = errors * math.sqrt(discordant * effect) / n + 1.0 / n
    moving = np.count_nonzero(sums.numerators)
    together = float(np.abs(sums.numerators).sum()) / moving if moving else 1.0
    return min(1.0, max(found, fewest_differing(family, power) * together / n))


def detectable_errors(freedom: float, alpha: float, power: float) -> float:
    """How many standard errors a mean must lie from zero for a two-sided t test to find it.

    Johnson & Welch's 1940 approximation to the noncentral t; tends to z + z for many tables.
    """
    from scipy import special, stats  # slow to import: collecting tests does without

    critical = float(stats.t.ppf(1 - alpha / 2, freedom))
    bias = math.sqrt(2 / freedom) * math.exp(
        special.gammaln((freedom + 1) / 2) - special.gammaln(freedom / 2)
    )
    spread = math.sqrt(1 + critical**2 * (1 - bias**2))
    return critical * bias + float(stats.norm.ppf(power)) * spread


def fewest_differing(family: int, power: float = POWER) -> float:
    """Tables expected to differ so that, with ``power``, :func:`fewest_flips` of them do.

    Counts taken as Poisson: half a quantile of chi-squared (Garwood 1936).
    """
    from scipy import stats  # slow to import: collecting tests does without

    return float(stats.chi2.ppf(power, 2 * fewest_flips(family))) / 2


def fewest_flips(family: int) -> int:
    """Tables that must differ, all one way, before any sign-flip p passes the first Holm step."""
    return math.ceil(1 - math.log2(ALPHA / family))


def ratio_interval(a: Sequence[float], b: Sequence[float], paired: bool) -> Interval | None:
    """95% interval of b/a from repeated trials, on logarithms; None below two trials a side.

    ``paired`` takes trials i of both as one interleaved block; otherwise Welch's t.
    """
    from scipy import stats  # slow to import: collecting tests does without

    if min(len(a), len(b)) < 2 or min(*a, *b) <= 0 or (paired and len(a) != len(b)):
        return None
    log_a, log_b = np.log(np.asarray(a, float)), np.log(np.asarray(b, float))
    if paired:
        ratios = log_b - log_a
        error = float(ratios.std(ddof=1)) / math.sqrt(len(ratios))
        freedom = float(len(ratios) - 1)
    else:
        parts = [float(x.var(ddof=1)) / len(x) for x in (log_a, log_b)]
        error = math.sqrt(sum(parts))
        spread = sum(v * v / (len(x) - 1) for v, x in zip(parts, (log_a, log_b), strict=True))
        freedom = error**4 / spread if spread else 1.0
    centre = float(log_b.mean() - log_a.mean())
    reach = float(stats.t.ppf(0.975, freedom)) * error
    return math.exp(centre - reach), math.exp(centre + reach)


def ratio_p(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Two-sided p that b/a is 1, Welch's t on logarithms of trials taken apart; None below two
    trials a side. Below 0.05 exactly where :func:`ratio_interval` excludes 1."""
    from scipy import stats  # slow to import: collecting tests does without

    if min(len(a), len(b)) < 2 or min(*a, *b) <= 0:
        return None
    log_a, log_b = np.log(np.asarray(a, float)), np.log(np.asarray(b, float))
    if log_a.std() == log_b.std() == 0.0:
        return float(log_a[0] == log_b[0])
    return float(stats.ttest_ind(log_a, log_b, equal_var=False).pvalue)
