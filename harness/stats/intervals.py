"""The interval of a mean loss when examples come in tables, and sums over tables.

Input: per-example numbers and the table of each -> output: an interval ``(low, high)`` at 95%. The
unit is the table, or the question (``units``). Source: the cluster bootstrap of Field & Welsh 2007
(units are resampled whole, percentile interval); standard errors are the linearised ones of a
ratio (Cochran 1977, §6.4). Rates are in ``rates``, differences and tests in ``paired``.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.stats.rates import Interval
from harness.stats.units import unit_of_each

Floats = NDArray[np.float64]

BOOTSTRAP_DRAWS = 10_000
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
    def effective(self) -> float:
        """The number of units of equal weight that would be as precise (Kish 1965)."""
        return float(self.weights.sum()) ** 2 / float(np.square(self.weights).sum())

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


def token_weighted_loss(
    nll: ArrayLike, tokens: ArrayLike, tables: Sequence[Hashable], seed: int = 0
) -> Interval | None:
    """Interval of sum(nll)/sum(tokens), bootstrap over units; None below two of them."""
    return cluster_bootstrap(table_sums(nll, unit_of_each(tables), tokens), seed)


def cluster_bootstrap(sums: TableSums, seed: int = 0) -> Interval | None:
    """Percentile interval of the weighted mean, units resampled whole; None below two units."""
    units = len(sums.weights)
    if units < 2:
        return None
    columns = np.column_stack([sums.numerators, sums.weights])
    means = np.concatenate([np.divide(*(counts @ columns).T) for counts in _resamples(units, seed)])
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _resamples(units: int, seed: int) -> Iterator[Floats]:
    """How often each unit is drawn: matrices ``(draws, units)``, a chunk at a time."""
    step = max(1, min(BOOTSTRAP_DRAWS, _CELLS_PER_CHUNK // max(1, units)))
    if step == BOOTSTRAP_DRAWS:
        # A report resamples the same tables for every metric and pair.
        return iter([_counts_once(units, seed, BOOTSTRAP_DRAWS)])
    rng = np.random.default_rng(seed)
    sizes = (min(step, BOOTSTRAP_DRAWS - start) for start in range(0, BOOTSTRAP_DRAWS, step))
    return (_counts(rng, units, size) for size in sizes)


@lru_cache(maxsize=2)
def _counts_once(tables: int, seed: int, draws: int) -> Floats:
    return _counts(np.random.default_rng(seed), tables, draws)


def _counts(rng: np.random.Generator, tables: int, draws: int) -> Floats:
    index = rng.integers(0, tables, size=(draws, tables), dtype=np.int32)
    flat = index + np.arange(draws, dtype=np.int64)[:, None] * tables
    counted = np.bincount(flat.ravel(), minlength=draws * tables)
    return counted.reshape(draws, tables).astype(np.float64)
