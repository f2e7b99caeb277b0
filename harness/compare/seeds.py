"""Across seeds: mean and spread of each variant, and differences that exceed the spread.

Input: runs of one setting with different seeds -> output: :class:`SeedDifference` a pair of
variants and metric. A seed is one draw of the method, so a statement about methods rests on the
per-seed differences: their mean with Student's t over seeds, Holm over the primary family of each
pair. Fewer than three seeds, or seeds that share their weights, give no such statement. Not
covered: tables and sentences (``report.tables.comparison_tables``).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.compare.metrics import FALLBACK, METRICS, PRIMARY, Metric
from harness.compare.sides import (
    RunVariant,
    differing_fields,
    limited,
    sample_note,
    sample_size,
)
from harness.runs.store import StoredRun
from harness.stats.intervals import Interval
from harness.stats.paired import ALPHA, holm

MIN_SEEDS = 3
"""With fewer seeds a difference is one of adapters, not of methods (DESIGN §5)."""

MONITORING_KEYS = {
    "seed",
    "name",
    "description",
    "steps_per_report",
    "steps_per_eval",
    "save_every",
    "val_batches",
    "validate_at",
    "test_batches",
    "clear_cache_threshold",
}
"""Keys of a variant file that do not change how it trains: its seed and name, and how often
training is measured, reported and saved."""


@dataclass(frozen=True)
class SeedDifference:
    """b minus a on one metric, over seeds."""

    a: str
    b: str
    metric: str
    deltas: list[float]
    mean: float
    spread: float
    ci95: Interval | None
    """Student's t over seeds; None below three of them that differ in their weights."""
    p: float | None
    """Two-sided, of Student's t; None where there is no ``ci95``."""
    p_holm: float | None

    @property
    def exceeds(self) -> bool:
        """Whether the difference is beyond the spread between seeds."""
        return self.p_holm is not None and self.p_holm < ALPHA

    @property
    def better(self) -> bool:
        """Whether b is the better one, real or not."""
        return METRICS[self.metric].improves(self.mean)


def seed_runs(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The runs, if they are seeds of one setting, all different; else none.

    One setting is one model, data and protocol, one sample of the test split, and variants of one
    name that were trained alike but for the seed.
    """
    seeds = [run.results.run.seed for run in runs]
    if len(runs) < 2 or len(set(seeds)) != len(seeds):
        return []
    names = common_variants(runs)
    for run in runs[1:]:
        unlike = any(_setting(run, name) != _setting(runs[0], name) for name in names)
        if unlike or differing_fields(runs[0], run):
            return []
    return sorted(runs, key=lambda run: run.results.run.seed)


def _setting(run: StoredRun, variant: str) -> tuple[object, ...]:
    """How a variant was trained and on which examples it was tested, but for the seed."""
    result = run.results.variants[variant]
    trained = {key: value for key, value in result.config.items() if key not in MONITORING_KEYS}
    return trained, sample_note(run, result) if limited(result) else sample_size(result)


def seed_differences(runs: Sequence[StoredRun]) -> list[SeedDifference]:
    """Every pair of variants on every primary metric that all runs have."""
    made = []
    for a, b in itertools.combinations(common_variants(runs), 2):
        family = []
        weights = {tuple(RunVariant(run, name).adapter_sha256 for name in (a, b)) for run in runs}
        for metric in seed_family(runs):
            before, after = (seed_values(runs, name, metric) for name in (a, b))
            if before is not None and after is not None:
                deltas = [y - x for x, y in zip(before, after, strict=True)]
                family.append(_difference(a, b, metric.key, deltas, len(weights) == len(runs)))
        adjusted = iter(holm([d.p for d in family if d.p is not None]))
        made += [d if d.p is None else replace(d, p_holm=next(adjusted)) for d in family]
    return made


def common_variants(runs: Sequence[StoredRun]) -> list[str]:
    """The variants that all runs have, in the first one's order."""
    return [name for name in runs[0].variants if all(name in run.variants for run in runs[1:])]


def seed_family(runs: Sequence[StoredRun]) -> tuple[Metric, ...]:
    """The primary metrics; of plain texts, which have none of them, the loss of the whole text."""
    measured = (
        seed_values(runs, name, metric) for name in common_variants(runs) for metric in PRIMARY
    )
    return PRIMARY if any(values is not None for values in measured) else (FALLBACK,)


def seed_values(runs: Sequence[StoredRun], variant: str, metric: Metric) -> list[float] | None:
    """The metric's value under every seed; None where a run lacks it."""
    found = [metric.value(run.results.variants[variant]) for run in runs]
    known = [value for value in found if value is not None]
    return known if len(known) == len(found) else None


def _difference(
    a: str, b: str, metric: str, deltas: list[float], independent: bool
) -> SeedDifference:
    from scipy import stats  # slow to import: collecting tests does without

    mean, spread = statistics.mean(deltas), statistics.stdev(deltas)
    if len(deltas) < MIN_SEEDS or not independent:
        return SeedDifference(a, b, metric, deltas, mean, spread, None, None, None)
    error = spread / math.sqrt(len(deltas))
    freedom = len(deltas) - 1
    reach = float(stats.t.ppf(0.975, freedom)) * error
    # Without spread every seed gave one difference: a real one, or none at all.
    p = 2 * float(stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0.0)
    return SeedDifference(a, b, metric, deltas, mean, spread, (mean - reach, mean + reach), p, p)
