"""Across seeds: mean and spread of each variant, and differences that exceed the spread.

Input: runs of the same setting with different seeds -> output: Markdown. A seed is one draw of the
method, so a statement about methods rests on the per-seed differences: their mean with Student's t
over seeds. Fewer than three seeds give no such statement.
"""

from __future__ import annotations

import itertools
import math
import statistics as stdlib
from collections.abc import Sequence
from dataclasses import dataclass

from harness.results.gate_rules import metric_value
from harness.results.intervals import Interval
from harness.results.markdown import NONE, code, escape, fixed, percent, table
from harness.results.pairing import PRIMARY, RATE_METRICS, unlike_fields
from harness.results.store import StoredRun
from harness.results.verdicts import metric_name, show_delta, show_delta_interval

MIN_SEEDS = 3
"""Seeds from which a difference may be said of methods rather than of adapters (DESIGN §5)."""


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
    """Student's t over seeds; None below three seeds."""

    @property
    def exceeds(self) -> bool:
        """Whether the difference is beyond the spread between seeds."""
        return self.ci95 is not None and not self.ci95[0] <= 0.0 <= self.ci95[1]


def seed_runs(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The runs, if they are seeds of one setting (alike, seeds all different); else none."""
    seeds = [run.results.run.seed for run in runs]
    if len(runs) < 2 or len(set(seeds)) != len(seeds):
        return []
    if any(unlike_fields(runs[0], run) for run in runs[1:]):
        return []
    return sorted(runs, key=lambda run: run.results.run.seed)


def seed_differences(runs: Sequence[StoredRun]) -> list[SeedDifference]:
    """Every pair of variants on every primary metric that all runs have."""
    made = []
    for a, b in itertools.combinations(_common(runs), 2):
        for metric in PRIMARY:
            before, after = _values(runs, a, metric), _values(runs, b, metric)
            if before is None or after is None:
                continue
            deltas = [y - x for x, y in zip(before, after, strict=True)]
            mean, spread = stdlib.mean(deltas), stdlib.stdev(deltas)
            made.append(SeedDifference(a, b, metric, deltas, mean, spread, _interval(deltas)))
    return made


def seed_summary(runs: Sequence[StoredRun]) -> str:
    """Tables and sentences over the seeds; empty unless ``runs`` are seeds of one setting."""
    found = seed_runs(runs)
    if not found:
        return ""
    parts = [_spread_table(found)]
    differences = seed_differences(found)
    if differences:
        parts.append(_difference_table(differences, len(found)))
        parts.append("\n".join(f"- {_sentence(d, len(found))}" for d in differences))
    return "\n\n".join(parts)


def _common(runs: Sequence[StoredRun]) -> list[str]:
    return [name for name in runs[0].variants if all(name in run.variants for run in runs[1:])]


def _values(runs: Sequence[StoredRun], variant: str, metric: str) -> list[float] | None:
    found = [metric_value(run.results.variants[variant], metric) for run in runs]
    known = [value for value in found if value is not None]
    return known if len(known) == len(found) else None


def _interval(deltas: Sequence[float]) -> Interval | None:
    from scipy import stats  # slow to import: collecting tests does without

    if len(deltas) < MIN_SEEDS:
        return None
    mean = stdlib.mean(deltas)
    reach = float(stats.t.ppf(0.975, len(deltas) - 1))
    reach *= stdlib.stdev(deltas) / math.sqrt(len(deltas))
    return mean - reach, mean + reach


def _spread_table(runs: Sequence[StoredRun]) -> str:
    rows = []
    for variant in _common(runs):
        for metric in PRIMARY:
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


def _difference_table(differences: Sequence[SeedDifference], seeds: int) -> str:
    rows = [
        [
            f"{code(d.b)} − {code(d.a)}",
            metric_name(d.metric),
            *(show_delta(d.metric, delta) for delta in d.deltas),
            show_delta(d.metric, d.mean),
            show_delta_interval(d.metric, d.ci95) if d.ci95 else NONE,
        ]
        for d in differences
    ]
    by_seed = [f"Seed {place + 1} of {seeds}" for place in range(seeds)]
    return table(["Pair", "Metric", *by_seed, "Mean", "95% over seeds"], rows, text_columns=2)


def _sentence(difference: SeedDifference, seeds: int) -> str:
    d = difference
    pair = f"On {metric_name(d.metric)}, {code(d.b)} and {code(d.a)}"
    if d.ci95 is None:
        return f"{pair}: {seeds} seeds are too few to speak of methods (three are needed)."
    if not d.exceeds:
        return f"{pair} differ by no more than seeds do ({show_delta(d.metric, d.mean)})."
    better = (d.mean > 0) == (d.metric in RATE_METRICS)
    return (
        f"On {metric_name(d.metric)}, {code(d.b)} is {'better' if better else 'worse'} than "
        f"{code(d.a)} beyond the spread between {seeds} seeds "
        f"({show_delta(d.metric, d.mean)}, 95% {show_delta_interval(d.metric, d.ci95)})."
    )
