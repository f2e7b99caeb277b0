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
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.stats.intervals import Floats, Interval, chunk_sizes

FLIPS = 10_000
EXACT_TABLES = 16
"""Up to this many differing tables all 2**k sign patterns are enumerated (65,536 of them)."""

ALPHA = 0.05


def sign_flip(differences: Floats, seed: int = 0, flips: int = FLIPS) -> float:
    """Two-sided p of "the sign of each table's difference is a coin toss".

    The statistic is the absolute sum of ``differences`` ``(tables,)``. Tables without a
    difference cannot change it and are left out; with none left, p is 1.
    """
    moving = differences[differences != 0.0]
    if len(moving) == 0:
        return 1.0
    # Sums that differ by rounding only are ties, and ties count as hits.
    observed = abs(float(moving.sum())) - 1e-9 * float(np.abs(moving).sum())
    return _share_of_flips(moving, lambda sums: np.abs(sums) >= observed, seed, flips)


def sign_flip_largest(differences: Floats, chosen: int, seed: int = 0) -> float:
    """One-sided p of column ``chosen`` where it may have been picked for being the largest.

    ``differences`` is ``(tables, comparisons)``, all comparisons with one common partner. Signs
    are flipped for whole rows, so that the columns keep their dependence, and the column's
    statistic, its sum over the root of its sum of squares, is compared with the largest of all
    columns in each flip. With one column it is a one-sided :func:`sign_flip`.
    """
    moving = differences[np.any(differences != 0.0, axis=1)]
    scale = np.sqrt(np.square(moving).sum(axis=0))
    if len(moving) == 0 or scale[chosen] == 0.0:
        return 1.0
    observed = float(moving[:, chosen].sum() / scale[chosen]) - 1e-9
    scaled = moving[:, scale > 0.0] / scale[scale > 0.0]
    return _share_of_flips(scaled, lambda sums: sums.max(axis=1) >= observed, seed, FLIPS)


def _share_of_flips(
    differences: Floats, is_hit: Callable[[Floats], NDArray[np.bool_]], seed: int, flips: int
) -> float:
    """The share of sign patterns over tables, the rows, whose column sums are a hit.

    Exact up to ``EXACT_TABLES`` rows, else Monte Carlo with ``(1 + hits) / (1 + flips)``, which is
    never 0.
    """
    count = len(differences)
    total = differences.sum(axis=0)
    # sum(±d) = sum(d) - 2 * sum(d where flipped)
    if count <= EXACT_TABLES:
        patterns = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return float(np.mean(is_hit(total - 2.0 * (patterns @ differences))))
    hits = 0
    for coins in _coins(count, seed, flips):
        hits += int(np.count_nonzero(is_hit(total - 2.0 * (coins @ differences))))
    return (1 + hits) / (1 + flips)


def _coins(count: int, seed: int, flips: int) -> Iterator[Floats]:
    """Fair coins: matrices ``(flips, count)``, a chunk at a time."""
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
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(len(p), 0, -1) * p[order]))
    return [float(value) for value in adjusted]


def ratio_test(
    a: Sequence[float], b: Sequence[float], paired: bool
) -> tuple[Interval, float] | None:
    """95% interval of b/a from repeated trials, and the two-sided p that the ratio is 1.

    Student's t on logarithms where ``paired`` takes trials i of both as one interleaved block,
    else Welch's; p is below 0.05 exactly where the interval excludes 1. None below two trials a
    side, with a trial of 0, and for blocks of unequal number.
    """
    from scipy import stats  # slow to import: collecting tests does without

    if min(len(a), len(b)) < 2 or min(*a, *b) <= 0 or (paired and len(a) != len(b)):
        return None
    before, after = np.log(np.asarray(a, float)), np.log(np.asarray(b, float))
    with warnings.catch_warnings():
        # Trials that are equal have no spread; scipy warns, and its interval is the ratio itself.
        warnings.simplefilter("ignore", RuntimeWarning)
        if paired:
            found = stats.ttest_rel(after, before)
        else:
            found = stats.ttest_ind(after, before, equal_var=False)
    low, high = found.confidence_interval(0.95)
    without_spread = len({*a}) == len({*b}) == 1  # so without t
    p = float(a[0] == b[0]) if without_spread else float(found.pvalue)
    return (math.exp(low), math.exp(high)), p
