"""Across seeds: mean and spread of each variant, and differences that exceed the spread.

Input: runs of the same setting with different seeds -> output: Markdown. A seed is one draw of the
method, so a statement about methods rests on the per-seed differences: their mean with Student's t
over seeds, Holm over the primary family of each pair. Fewer than three seeds, or seeds that share
their weights, give no such statement.
"""

from __future__ import annotations

import itertools
import math
import statistics as stdlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.compare.pairing import PRIMARY, RATE_METRICS, STAND_IN
from harness.compare.sides import unlike_fields
from harness.compare.thresholds import metric_value
from harness.markdown import NONE, code, escape, fixed, p_value, percent, table
from harness.report.columns import limited, sample_note, sample_size
from harness.report.conclusions import (
    clauses,
    listed,
    metric_name,
    show_delta,
    show_delta_interval,
)
from harness.runs.store import StoredRun
from harness.stats.intervals import Interval
from harness.stats.paired import ALPHA, holm

MIN_SEEDS = 3
"""Seeds from which a difference may be said of methods rather than of adapters (DESIGN §5)."""

WATCHED = {
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
"""What a variant file says besides how it trains: the seed, and how training is looked at."""

SHARED_WEIGHTS = "the same weights stand under several seeds"


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
        return (self.mean > 0) == (self.metric in RATE_METRICS)


def seed_runs(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The runs, if they are seeds of one setting, all different; else none.

    One setting is one model, data and protocol, one sample of the test split, and variants of one
    name that were trained alike but for the seed.
    """
    seeds = [run.results.run.seed for run in runs]
    if len(runs) < 2 or len(set(seeds)) != len(seeds):
        return []
    if any(unlike_fields(runs[0], run) for run in runs[1:]):
        return []
    if any(
        _setting(run, name) != _setting(runs[0], name) for name in _common(runs) for run in runs
    ):
        return []
    return sorted(runs, key=lambda run: run.results.run.seed)


def _setting(run: StoredRun, variant: str) -> tuple[object, ...]:
    """How a variant was trained and on which examples it was tested, but for the seed."""
    result = run.results.variants[variant]
    trained = {key: value for key, value in result.config.items() if key not in WATCHED}
    return trained, sample_note(run, result) if limited(result) else sample_size(result)


def seed_differences(runs: Sequence[StoredRun]) -> list[SeedDifference]:
    """Every pair of variants on every primary metric that all runs have."""
    made = []
    for a, b in itertools.combinations(_common(runs), 2):
        family = []
        independent = len({(_weights(run, a), _weights(run, b)) for run in runs}) == len(runs)
        for metric in _family(runs):
            before, after = _values(runs, a, metric), _values(runs, b, metric)
            if before is not None and after is not None:
                deltas = [y - x for x, y in zip(before, after, strict=True)]
                family.append(_difference(a, b, metric, deltas, independent))
        adjusted = iter(holm([d.p for d in family if d.p is not None]))
        made += [d if d.p is None else replace(d, p_holm=next(adjusted)) for d in family]
    return made


def seed_claim(differences: Sequence[SeedDifference], seeds: int) -> str:
    """One sentence over all pairs: what may be said of the methods; empty without a pair."""
    if not differences:
        return ""
    if seeds < MIN_SEEDS:
        return (
            f"Nothing may be claimed of the methods: {seeds} seeds are too few, {MIN_SEEDS} are "
            "needed."
        )
    tested = [d for d in differences if d.p is not None]
    if not tested:
        return f"Nothing may be claimed of the methods: {SHARED_WEIGHTS}."
    won: dict[tuple[str, str], list[str]] = {}
    within: dict[tuple[str, str], list[str]] = {}
    for d in tested:
        if d.exceeds:
            pair = (d.b, d.a) if d.better else (d.a, d.b)
            won.setdefault(pair, []).append(metric_name(d.metric))
        else:
            within.setdefault((d.a, d.b), []).append(metric_name(d.metric))
    parts = [
        f"{code(x)} is better than {code(y)} on {listed(metrics)} by more than seeds differ"
        for (x, y), metrics in won.items()
    ]
    parts += [
        f"no difference between {code(a)} and {code(b)} beyond the spread of seeds is shown on "
        f"{listed(metrics)}, which is not evidence that they are equal"
        for (a, b), metrics in within.items()
    ]
    return f"Over {seeds} seeds, with this model and data: {clauses(parts)}."


def seed_summary(runs: Sequence[StoredRun]) -> str:
    """Tables and sentences over the seeds; empty unless ``runs`` are seeds of one setting."""
    found = seed_runs(runs)
    if not found:
        return ""
    parts = [spread_table(found)]
    differences = seed_differences(found)
    if differences:
        parts.append(f"**{seed_claim(differences, len(found))}**")
        parts.append(_difference_table(differences, found))
        parts.append("\n".join(f"- {_sentence(d, len(found))}" for d in differences))
    return "\n\n".join(parts)


def _common(runs: Sequence[StoredRun]) -> list[str]:
    return [name for name in runs[0].variants if all(name in run.variants for run in runs[1:])]


def _family(runs: Sequence[StoredRun]) -> tuple[str, ...]:
    """The primary metrics; of plain texts, which have none of them, the loss of the whole text."""
    measured = (_values(runs, name, metric) for name in _common(runs) for metric in PRIMARY)
    return PRIMARY if any(values is not None for values in measured) else (STAND_IN,)


def _values(runs: Sequence[StoredRun], variant: str, metric: str) -> list[float] | None:
    found = [metric_value(run.results.variants[variant], metric) for run in runs]
    known = [value for value in found if value is not None]
    return known if len(known) == len(found) else None


def _weights(run: StoredRun, variant: str) -> str | None:
    adapter = run.results.variants[variant].adapter
    return adapter.sha256 if adapter else None


def _difference(
    a: str, b: str, metric: str, deltas: list[float], independent: bool
) -> SeedDifference:
    from scipy import stats  # slow to import: collecting tests does without

    mean, spread = stdlib.mean(deltas), stdlib.stdev(deltas)
    if len(deltas) < MIN_SEEDS or not independent:
        return SeedDifference(a, b, metric, deltas, mean, spread, None, None, None)
    error = spread / math.sqrt(len(deltas))
    freedom = len(deltas) - 1
    reach = float(stats.t.ppf(0.975, freedom)) * error
    # Without spread every seed gave one difference: a real one, or none at all.
    p = 2 * float(stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0.0)
    return SeedDifference(a, b, metric, deltas, mean, spread, (mean - reach, mean + reach), p, p)


def spread_table(runs: Sequence[StoredRun]) -> str:
    """Every variant's primary metrics by seed, with mean and standard deviation."""
    rows = []
    for variant in _common(runs):
        for metric in _family(runs):
            values = _values(runs, variant, metric)
            if values is None:
                continue
            rate = metric in RATE_METRICS
            shown = [percent(v) if rate else fixed(v) for v in (*values, stdlib.mean(values))]
            spread = stdlib.stdev(values)
            rows.append(
                [
                    escape(variant),
                    metric_name(metric),
                    *shown,
                    f"{100 * spread:.1f} points" if rate else fixed(spread, 4),
                ]
            )
    seeds = [f"seed {run.results.run.seed}" for run in runs]
    headers = ["Variant", "Metric", *seeds, "Mean", "Standard deviation"]
    return table(headers, rows, text_columns=2)


def _difference_table(differences: Sequence[SeedDifference], runs: Sequence[StoredRun]) -> str:
    rows = [
        [
            f"{code(d.b)} − {code(d.a)}",
            metric_name(d.metric),
            *(show_delta(d.metric, delta) for delta in d.deltas),
            show_delta(d.metric, d.mean),
            show_delta(d.metric, d.spread).lstrip("+"),
            show_delta_interval(d.metric, d.ci95) if d.ci95 else NONE,
            p_value(d.p),
            p_value(d.p_holm),
        ]
        for d in differences
    ]
    by_seed = [f"seed {run.results.run.seed}" for run in runs]
    headers = ["Pair", "Metric", *by_seed, "Mean", "Standard deviation", "95% over seeds"]
    return table([*headers, "p", "p Holm"], rows, text_columns=2)


def _sentence(difference: SeedDifference, seeds: int) -> str:
    d = difference
    pair = f"On {metric_name(d.metric)}, {code(d.b)} and {code(d.a)}"
    if d.ci95 is None and seeds < MIN_SEEDS:
        return f"{pair}: {seeds} seeds are too few to speak of methods (three are needed)."
    if d.ci95 is None:
        return f"{pair}: {SHARED_WEIGHTS}, so they say nothing of methods."
    if not d.exceeds:
        return (
            f"{pair} are not shown to differ by more than seeds do "
            f"({show_delta(d.metric, d.mean)} on average, p {p_value(d.p_holm)} after Holm)."
        )
    return (
        f"On {metric_name(d.metric)}, {code(d.b)} is {'better' if d.better else 'worse'} than "
        f"{code(d.a)} beyond the spread between {seeds} seeds "
        f"({show_delta(d.metric, d.mean)}, 95% {show_delta_interval(d.metric, d.ci95)}, "
        f"p {p_value(d.p_holm)} after Holm)."
    )
