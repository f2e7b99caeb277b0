"""Across seeds: mean and spread of each variant, and differences that exceed the spread.

Input: runs of one setting with different seeds -> output: :class:`SeedDifference` a pair of
variants and metric. A seed is one draw of the method, so a statement about methods rests on one
value a seed: Welch's t (``stats.welch``), Holm over the primary family of each pair. Fewer than
three seeds, seeds of which some share their weights, and no spread on both sides give no such
statement; a variant that no seed changes is a constant. Not covered: tables and sentences
(``report.tables.comparison_tables``).
"""

from __future__ import annotations

import itertools
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
from harness.stats.paired import ALPHA, holm
from harness.stats.rates import Interval
from harness.stats.welch import Welch, welch

MIN_SEEDS = 3
"""With fewer seeds a difference is one of adapters, not of methods (DESIGN §5)."""

SHARED_WEIGHTS = "the same weights stand under several seeds"
NO_SPREAD = "no seed changes the value of either, so there is no spread to test against"

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
    mean: float
    """The mean of b's seeds minus that of a's."""
    reason: str
    """Why nothing is tested; empty where p is known."""
    ci95: Interval | None = None
    """Of Holm's first step: 95% for all metrics of the family at once."""
    p: float | None = None
    """Two-sided, of Welch's t."""
    p_holm: float | None = None
    minimum_detectable: float | None = None
    """Smallest true difference found with 80% power at Holm's first step with so many seeds."""
    n_needed: int | None = None
    """Seeds of each variant that would settle a difference of this size; None beyond a hundred
    times today's."""

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
        values = {
            metric.key: (before, after)
            for metric in seed_family(runs)
            if (before := seed_values(runs, a, metric)) and (after := seed_values(runs, b, metric))
        }
        why = _why_untested(runs, a, b)
        tests = {} if why else {key: _welch(runs, (a, b), found) for key, found in values.items()}
        tested = {key: test for key, test in tests.items() if test is not None}
        adjusted = dict(zip(tested, holm([test.p for test in tested.values()]), strict=True))
        for key, (before, after) in values.items():
            mean = statistics.mean(after) - statistics.mean(before)
            untested = SeedDifference(a, b, key, mean, why or NO_SPREAD)
            test = tested.get(key)
            made.append(untested if test is None else _tested(untested, test, adjusted))
    return made


def _why_untested(runs: Sequence[StoredRun], a: str, b: str) -> str:
    if len(runs) < MIN_SEEDS:
        return f"{len(runs)} seeds are too few, {MIN_SEEDS} are needed"
    kept = [_sets_of_weights(runs, name) for name in (a, b)]
    # One set is a constant; some that are shared are neither that nor independent draws.
    return SHARED_WEIGHTS if kept == [1, 1] or set(kept) - {1, len(runs)} else ""


def _sets_of_weights(runs: Sequence[StoredRun], variant: str) -> int:
    return len({RunVariant(run, variant).adapter_sha256 for run in runs})


def _welch(
    runs: Sequence[StoredRun], names: tuple[str, str], found: tuple[list[float], list[float]]
) -> Welch | None:
    """The test of one metric, a variant of one set of weights taken as a constant."""
    a, b = (
        [values[0]] * len(values) if _sets_of_weights(runs, name) == 1 else values
        for name, values in zip(names, found, strict=True)
    )
    return welch(a, b)


def _tested(untested: SeedDifference, test: Welch, adjusted: dict[str, float]) -> SeedDifference:
    first = ALPHA / len(adjusted)
    p_holm = adjusted[untested.metric]
    return replace(
        untested,
        reason="",
        ci95=test.interval(first),
        p=test.p,
        p_holm=p_holm,
        minimum_detectable=test.minimum_detectable(first),
        n_needed=None if p_holm < ALPHA else test.seeds_needed(first),
    )


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
