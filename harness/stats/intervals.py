"""Intervals of a single rate or mean when examples come in tables.

Input: per-example numbers and the table of each -> output: an interval ``(low, high)`` at 95%.
Sources: the cluster bootstrap of Field & Welsh 2007 (tables are resampled whole, percentile
interval); the bootstrap-t of Efron & Tibshirani 1993, ch. 12, with the linearised standard error of
a ratio (Cochran 1977, §6.4); the rule of three of Hanley & Lippman-Hand 1983, exact by Clopper &
Pearson 1934. Differences and tests are in ``paired``.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.stats.rates import wilson

Floats = NDArray[np.float64]
Interval = tuple[float, float]

BOOTSTRAP_DRAWS = 10_000
MIN_TABLES_FOR_BOOTSTRAP_T = 10
_CELLS_PER_CHUNK = 4_000_000


@dataclass(frozen=True)
class TableSums:
    """Sums ``(tables,)``: a mean of examples or tokens is ``numerators.sum() / weights.sum()``."""

    numerators: Floats
    weights: Floats

    @property
    def estimate(self) -> float:
        """The weighted mean; NaN without weight."""
        weight = float(self.weights.sum())
        return float(self.numerators.sum()) / weight if weight else math.nan

    @property
    def standard_error(self) -> float:
        """Linearised, over tables; NaN with fewer than two of them."""
        tables = len(self.weights)
        if tables < 2:
            return math.nan
        residuals = self.numerators - self.estimate * self.weights
        variance = tables / (tables - 1) * float(np.square(residuals).sum())
        return math.sqrt(variance) / float(self.weights.sum())


def table_sums(
    values: ArrayLike, tables: Sequence[Hashable], weights: ArrayLike | None = None
) -> TableSums:
    """Sum ``values`` and ``weights`` (1 each by default) within tables, in order of appearance."""
    order: dict[Hashable, int] = {}
    index = np.fromiter((order.setdefault(table, len(order)) for table in tables), dtype=np.int64)
    numbers = np.asarray(values, dtype=np.float64)
    weight = np.ones_like(numbers) if weights is None else np.asarray(weights, dtype=np.float64)
    size = len(order)
    return TableSums(
        np.bincount(index, weights=numbers, minlength=size).astype(np.float64),
        np.bincount(index, weights=weight, minlength=size).astype(np.float64),
    )


def cluster_bootstrap(sums: TableSums, seed: int = 0) -> Interval | None:
    """Percentile interval of the weighted mean, tables resampled whole; None below two tables."""
    if len(sums.weights) < 2:
        return None
    columns = np.column_stack([sums.numerators, sums.weights])
    resamples = _resamples(len(sums.weights), seed, BOOTSTRAP_DRAWS)
    means = np.concatenate([np.divide(*(counts @ columns).T) for counts in resamples])
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def clustered_rate(
    correct: ArrayLike, tables: Sequence[Hashable], seed: int = 0
) -> Interval | None:
    """Cluster bootstrap interval of a rate; None below two tables.

    Where every example is right, or every one wrong, resampling cannot vary and would claim
    certainty: the Wilson interval with tables as the sample size stands in.
    """
    sums = table_sums(correct, tables)
    count = len(sums.weights)
    if count < 2:
        return None
    if sums.estimate in (0.0, 1.0):
        return wilson(count if sums.estimate else 0, count)
    return cluster_bootstrap(sums, seed)


def token_weighted_loss(
    nll: ArrayLike, tokens: ArrayLike, tables: Sequence[Hashable], seed: int = 0
) -> Interval | None:
    """Interval of sum(nll)/sum(tokens), bootstrap over tables; None below two tables."""
    return cluster_bootstrap(table_sums(nll, tables, tokens), seed)


def studentized(
    sums: TableSums, seed: int = 0, draws: int = BOOTSTRAP_DRAWS, level: float = 0.95
) -> Interval | None:
    """Studentized interval of the weighted mean over tables; None below two tables.

    Bootstrap-t; with fewer than ten tables that differ from zero the resampled standard errors
    are too coarse, and Student's t with tables - 1 degrees of freedom is used.
    """
    from scipy import stats  # slow to import: collecting tests does without

    error = sums.standard_error
    if math.isnan(error):
        return None
    centre = sums.estimate
    if error == 0.0:
        return centre, centre
    tail = (1 - level) / 2
    if np.count_nonzero(sums.numerators) < MIN_TABLES_FOR_BOOTSTRAP_T:
        reach = float(stats.t.ppf(1 - tail, len(sums.weights) - 1)) * error
        return centre - reach, centre + reach
    scores = _t_scores(sums, seed, draws)
    low, high = np.quantile(scores, [tail, 1 - tail])
    return centre - float(high) * error, centre - float(low) * error


def zero_variance_interval(centre: float, tables: int) -> Interval:
    """95% interval of a difference of rates that was ``centre`` in every one of ``tables``.

    Resampling equal tables would claim certainty. By the one-sided Clopper-Pearson bound for 0 of
    n (Hanley & Lippman-Hand 1983, the rule of three) at most ``1 - 0.05 ** (1 / tables)`` of all
    tables differ from those seen, and such a table can lie anywhere in -1..1.
    """
    others = 1.0 - 0.05 ** (1.0 / tables)
    return centre - others * (1.0 + centre), centre + others * (1.0 - centre)


def chunk_sizes(draws: int, width: int) -> list[int]:
    step = max(1, min(draws, _CELLS_PER_CHUNK // max(1, width)))
    return [min(step, draws - start) for start in range(0, draws, step)]


def _resamples(tables: int, seed: int, draws: int) -> Iterator[Floats]:
    """How often each table is drawn: matrices ``(draws, tables)``, a chunk at a time."""
    sizes = chunk_sizes(draws, tables)
    if len(sizes) == 1:
        # A report resamples the same tables for every metric and pair.
        return iter([_counts_once(tables, seed, draws)])
    rng = np.random.default_rng(seed)
    return (_counts(rng, tables, size) for size in sizes)


@lru_cache(maxsize=2)
def _counts_once(tables: int, seed: int, draws: int) -> Floats:
    return _counts(np.random.default_rng(seed), tables, draws)


def _counts(rng: np.random.Generator, tables: int, draws: int) -> Floats:
    index = rng.integers(0, tables, size=(draws, tables), dtype=np.int32)
    flat = index + np.arange(draws, dtype=np.int64)[:, None] * tables
    counted = np.bincount(flat.ravel(), minlength=draws * tables)
    return counted.reshape(draws, tables).astype(np.float64)


def _t_scores(sums: TableSums, seed: int, draws: int) -> Floats:
    tables = len(sums.weights)
    centre = sums.estimate
    # The error of a resample needs only sums of products, so the rows need not be kept.
    d, w = sums.numerators, sums.weights
    columns = np.column_stack([d, w, np.square(d), d * w, np.square(w)])
    scores = []
    for counts in _resamples(tables, seed, draws):
        d, w, dd, dw, ww = (counts @ columns).T
        estimate = d / w
        squares = np.maximum(dd - 2 * estimate * dw + np.square(estimate) * ww, 0.0)
        error = np.sqrt(tables / (tables - 1) * squares) / w
        keep = error > 1e-12 * max(1.0, abs(centre))
        scores.append((estimate[keep] - centre) / error[keep])
    return np.concatenate(scores)
