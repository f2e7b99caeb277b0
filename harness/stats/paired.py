"""Paired tests between two systems that answered the same examples.

Input: differences summed by table, or trials of two systems -> output: p values and intervals.
Sources: the sign-flip (one-sample randomization) test of Fisher 1935 with the Monte Carlo p of
Phipson & Smyth 2010; its single-step maximum over several comparisons (Westfall & Young 1993,
§2.5, with sign flips as in Nichols & Holmes 2002); McNemar 1947, exact binomial form; Holm 1979;
Student's and Welch's t on logarithms for a ratio of speeds. Intervals over tables are in
``intervals``, power in ``power``; what is compared is in ``compare``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from harness.stats.intervals import Floats, Interval, chunk_sizes

FLIPS = 10_000
EXACT_TABLES = 16
"""Up to this many differing tables all 2**k sign patterns are enumerated (65,536 of them)."""

ALPHA = 0.05


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
    statistic, its sum over the root of its sum of squares, is compared with the largest of all
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


def ratio_interval(a: Sequence[float], b: Sequence[float], paired: bool) -> Interval | None:
    """95% interval of b/a from repeated trials, on logarithms; None below two trials a side.

    ``paired`` takes trials i of both as one interleaved block; otherwise Welch's t.
    """
    if paired and len(a) != len(b):
        return None
    found = _test_of_logarithms(a, b, paired)
    if found is None:
        return None
    low, high = found.confidence_interval(0.95)
    return math.exp(low), math.exp(high)


def ratio_p(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Two-sided p that b/a is 1, Welch's t on logarithms of independent trials; None below two
    trials a side. Below 0.05 exactly where :func:`ratio_interval` excludes 1."""
    found = _test_of_logarithms(a, b, paired=False)
    if found is None:
        return None
    if len({*a}) == len({*b}) == 1:  # no spread, so no t
        return float(a[0] == b[0])
    return float(found.pvalue)


def _test_of_logarithms(a: Sequence[float], b: Sequence[float], paired: bool) -> Any:
    """scipy's t test of log b - log a; None below two trials a side or with a trial of 0."""
    from scipy import stats  # slow to import: collecting tests does without

    if min(len(a), len(b)) < 2 or min(*a, *b) <= 0:
        return None
    before, after = np.log(np.asarray(a, float)), np.log(np.asarray(b, float))
    with warnings.catch_warnings():
        # Trials that are equal have no spread; scipy warns, and its interval is the ratio itself.
        warnings.simplefilter("ignore", RuntimeWarning)
        if paired:
            return stats.ttest_rel(after, before)
        return stats.ttest_ind(after, before, equal_var=False)
