"""Paired tests between two systems that answered the same examples.

Input: differences summed by unit (table or question), or trials of two systems -> output: p values
and intervals. Sources: the sign-flip (one-sample randomization) test of Fisher 1935 with the Monte
Carlo p of Phipson & Smyth 2010; its step-down maximum over several metrics (Westfall & Young 1993,
§2.6, with joint sign flips as in Nichols & Holmes 2002); the interval as the set of differences
that the same statistic does not reject (Fieller 1954); McNemar 1947, exact binomial form; Holm
1979; Student's and Welch's t on logarithms for a ratio of speeds. Power is in ``power``; what is
compared is in ``compare``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.stats.intervals import Floats, TableSums
from harness.stats.rates import Z95, Interval

FLIPS = 100_000
FLIP_SEED = 1935
"""Of `comparison@2` itself, not of a run: the same rows give the same p for ever."""

EXACT_UNITS = 16
"""Up to this many differing units all 2**k sign patterns are enumerated (65,536 of them)."""

ALPHA = 0.05

TIE = 1e-9
"""Statistics that are this close are equal: they differ by rounding only."""

_FLIPS_AT_ONCE = 20_000
_UNPACKED_AT_ONCE = 128
_MOST_OF_PLANES = 2**16
"""Below this size steps are added bit by bit."""

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class FlipTest:
    """Sign flips of units, the same ones for every metric of a family."""

    p: list[float]
    """Two-sided, each metric on its own."""
    p_family: list[float]
    """Two-sided, step-down over the family: below 0.05 in any of them at most 5% of the time."""
    critical: float
    """What the largest statistic of the family must exceed for its ``p_family`` to be below 5%."""


def flip_test(differences: Floats) -> FlipTest:
    """Test "the sign of each unit's difference is a coin toss" on all metrics at once.

    ``differences`` is ``(units, metrics)``, the units in the order of their ids. The statistic of
    a metric is |sum| / root of the sum of squares; signs are flipped for whole rows, so that the
    metrics keep their dependence. Rows without any difference are left out. Exact up to
    ``EXACT_UNITS`` rows, else by ``FLIPS`` flips, p = (1 + hits) / (1 + flips), never 0.
    """
    return flip_tests([differences])[0]


def flip_tests(families: Sequence[Floats]) -> list[FlipTest]:
    """:func:`flip_test` of each family; the flips of families of like size are drawn once."""
    return [_flip_test(*statistics) for statistics in _statistics(families)]


def _flip_test(observed: Floats, flipped: Floats, drawn: bool) -> FlipTest:
    observed, flipped = np.abs(observed), np.abs(flipped)
    order = np.argsort(-observed, kind="stable")
    p_family = np.ones(len(observed))
    so_far = 0.0
    for step, metric in enumerate(order):
        largest = flipped[order[step:]].max(axis=0)
        so_far = max(so_far, _p(largest, observed[metric], drawn))
        p_family[metric] = so_far
    return FlipTest(
        [_p(flipped[metric], observed[metric], drawn) for metric in range(len(observed))],
        p_family.tolist(),
        _critical(flipped.max(axis=0), drawn),
    )


def largest_lead(differences: Floats, chosen: int) -> tuple[float, float]:
    """Of column ``chosen``, which may have been picked for being the largest: p and a bound.

    ``differences`` is ``(units, comparisons)``, all comparisons with one common partner. The p is
    one-sided: the share of flips in which the largest statistic of all columns, with its sign,
    reaches this column's. The bound is what the largest absolute statistic must exceed to be
    beyond 5%.
    """
    ((observed, flipped, drawn),) = _statistics([differences])
    moving = np.any(differences != 0.0, axis=0)
    p = _p(flipped[moving].max(axis=0), observed[chosen], drawn) if moving[chosen] else 1.0
    return p, _critical(np.abs(flipped).max(axis=0), drawn)


def score_interval(sums: TableSums, critical: float, whole: bool = False) -> Interval:
    """The differences that a statistic of at most ``critical`` does not reject: d ± c·se.

    A difference δ is inside where |Σ(D - δW)| <= c·√Σ(D - δW)²: se is that of the limit itself,
    √Σ(D - δW)² / ΣW, so that the interval excludes zero exactly where the statistic of the test,
    |ΣD| / √ΣD², exceeds c = ``critical``. With so few or so unequal units that this set has no
    end, se is that of zero, which is wider.

    Args:
        sums: the differences D and the weights W by unit.
        critical: from :class:`FlipTest`.
        whole: for answers right or wrong, of which too few may differ to show how they spread:
            where the test does not reject, two more units differ, one each way and as those do
            that were seen (or wholly, with the weight of one unit), and c is at least 1.96.
    """
    d, w = sums.numerators, sums.weights
    total, weight = float(d.sum()), float(w.sum())
    squares, products, weights = float(d @ d), float(d @ w), float(w @ w)
    if whole and abs(total) <= critical * math.sqrt(squares):
        mean = (squares + (weight / len(w)) ** 2) / (np.count_nonzero(d) + 1)
        squares, critical = squares + 2.0 * mean, max(critical, Z95)
    c2 = critical**2
    leading = weight**2 - c2 * weights
    if leading <= TIE * weight**2:
        reach = critical * math.sqrt(squares) / weight
        return total / weight - reach, total / weight + reach
    middle = (total * weight - c2 * products) / leading
    reach = math.sqrt(max(0.0, middle**2 - (total**2 - c2 * squares) / leading))
    return middle - reach, middle + reach


def _statistics(families: Sequence[Floats]) -> Iterator[tuple[Floats, Floats, bool]]:
    """The signed statistic of each family's columns: observed ``(columns,)``, flipped
    ``(columns, flips)``, and whether the flips were drawn.

    A column without any difference has a statistic of 0. Sums are of whole numbers of steps, so
    small that a float64 holds every sum exactly: the result is the same in any order, on any BLAS.
    """
    moving = [family[np.any(family != 0.0, axis=1)] for family in families]
    steps = [_steps(family) for family in moving]
    flipped = _flipped([whole for whole, _ in steps])
    for family, (whole, factors), sums in zip(moving, steps, flipped, strict=True):
        sums *= factors[:, None]
        yield whole.sum(axis=0) * factors, sums, len(family) > EXACT_UNITS


def _steps(moving: Floats) -> tuple[Floats, Floats]:
    """The columns in steps, and what a sum of steps is to be multiplied with for the statistic.

    A step is 1 where all differences are whole, else the power of two that leaves the absolute sum
    of a column 51 bits.
    """
    largest = np.abs(moving).sum(axis=0)
    whole = (moving == np.rint(moving)).all(axis=0) & (largest < 2.0**51)
    exponents = np.where(whole, 0, np.frexp(largest)[1] - 51)
    scale = np.sqrt(np.square(moving).sum(axis=0))
    factors = np.divide(np.ldexp(1.0, exponents), scale, out=np.zeros(len(scale)), where=scale > 0)
    return np.rint(np.ldexp(moving, -exponents)), factors


def _flipped(families: Sequence[Floats]) -> list[Floats]:
    """The sums of each family's columns of steps under every flip: ``(columns, flips)``."""
    sums = [np.empty((steps.shape[1], _flips(len(steps)))) for steps in families]
    alike: dict[int, list[int]] = {}
    for place, steps in enumerate(families):
        alike.setdefault(_words(len(steps)), []).append(place)
    for places in alike.values():
        start = 0
        for bits in _bits(len(families[places[0]])):
            flips = slice(start, start := start + len(bits))
            _fill([families[place] for place in places], bits, [sums[p][:, flips] for p in places])
    return sums


def _fill(families: Sequence[Floats], bits: Words, sums: Sequence[Floats]) -> None:
    """Write the sums of ``families`` under each row of ``bits`` into ``sums``."""
    dense: list[tuple[Floats, Floats]] = []
    for steps, out in zip(families, sums, strict=True):
        for column, row in zip(steps.T, out, strict=True):
            if np.abs(column).max(initial=0.0) < _MOST_OF_PLANES:
                row[:] = _by_planes(column.astype(np.int64), bits)
            else:
                dense.append((column, row))
    if not dense:
        return
    units = max(len(column) for column, _ in dense)
    matrix = np.zeros((units, len(dense)))
    for place, (column, _) in enumerate(dense):
        matrix[: len(column), place] = column
    total = matrix.sum(axis=0)
    for start in range(0, len(bits), _UNPACKED_AT_ONCE):
        some = bits[start : start + _UNPACKED_AT_ONCE]
        flips = np.unpackbits(some.view(np.uint8), axis=1, count=units, bitorder="little")
        found = total - 2.0 * (flips.astype(np.float64) @ matrix)
        for (_, row), values in zip(dense, found.T, strict=True):
            row[start : start + len(some)] = values


def _by_planes(steps: NDArray[np.int64], bits: Words) -> NDArray[np.int64]:
    """The sum of small whole numbers under each row of bits, by counting bits.

    Of the units whose size has bit k, those that are flipped and positive, or negative and not.
    """
    negative, size = steps < 0, np.abs(steps)
    below = _packed(negative, bits.shape[1])
    flipped = np.zeros(len(bits), dtype=np.int64)
    for plane in range(int(size.max(initial=0)).bit_length()):
        has = (size >> plane & 1).astype(bool)
        counted = np.bitwise_count((bits ^ below) & _packed(has, bits.shape[1]))
        found = counted.sum(axis=1, dtype=np.int64) - int((has & negative).sum())
        flipped += found << plane
    return int(steps.sum()) - 2 * flipped


def _packed(flags: NDArray[np.bool_], words: int) -> Words:
    """Flags as bits, unit j in bit j % 64 of word j // 64."""
    padded = np.zeros(words * 64, dtype=bool)
    padded[: len(flags)] = flags
    return np.packbits(padded, bitorder="little").view("<u8")


def _words(units: int) -> int:
    """What makes two numbers of units share their flips: words of 64 bits; below 0 enumerated."""
    return -units if units <= EXACT_UNITS else (units + 63) // 64


def _flips(units: int) -> int:
    return 2**units if units <= EXACT_UNITS else FLIPS


def _bits(units: int) -> Iterator[Words]:
    """Bit j % 64 of word j // 64 flips unit j: every pattern once, or ``FLIPS`` of them."""
    if units <= EXACT_UNITS:
        yield np.arange(2**units, dtype="<u8").reshape(-1, 1)
        return
    words = _words(units)
    draws = np.random.PCG64(FLIP_SEED)
    for _ in range(0, FLIPS, _FLIPS_AT_ONCE):
        raw = draws.random_raw(_FLIPS_AT_ONCE * words)
        yield np.asarray(raw, dtype="<u8").reshape(_FLIPS_AT_ONCE, words)


def _p(flipped: Floats, observed: float, drawn: bool) -> float:
    """The share of flips that reach ``observed``; the observed pattern itself counts once."""
    hits = int(np.count_nonzero(flipped >= observed - TIE))
    return (1 + hits) / (1 + len(flipped)) if drawn else hits / len(flipped)


def _critical(largest: Floats, drawn: bool) -> float:
    """The value that a statistic exceeds exactly where :func:`_p` of it is below ``ALPHA``."""
    allowed = (
        math.ceil(ALPHA * (1 + len(largest))) - 2
        if drawn
        else (math.ceil(ALPHA * len(largest)) - 1)
    )
    return float(np.partition(largest, -1 - allowed)[-1 - allowed]) + TIE


def sign_flip(differences: Floats) -> float:
    """Two-sided p of one metric ``(units,)`` alone: :func:`flip_test` of a family of one."""
    return flip_test(differences[:, None]).p[0]


def mcnemar(fixed: int, broken: int) -> float:
    """Exact two-sided McNemar p from the two discordant counts; 1 when there are none."""
    # In whole numbers, and so without scipy, which takes longer to import than most reports.
    discordant, ways, of = fixed + broken, 1, 1
    for place in range(min(fixed, broken)):
        of = of * (discordant - place) // (place + 1)
        ways += of
    return min(1.0, 2 * ways / (1 << discordant))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given."""
    # Not statsmodels' multipletests: it runs the garbage collector on every call (0.1 s).
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(len(p), 0, -1) * p[order]))
    return [float(value) for value in adjusted]


def geometric_mean(trials: Sequence[float]) -> float:
    """Of positive trials; the ratio of two is what :func:`ratio_test` gives the interval of."""
    return math.exp(float(np.log(np.asarray(trials, float)).mean()))


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
