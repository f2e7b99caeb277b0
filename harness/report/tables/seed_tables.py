"""Tables over seeds: every variant's metrics by seed, and the differences of every pair.

Input: an :class:`Analysis` of runs that are seeds of one setting -> output: Markdown. The
statistics are in ``compare.seeds``, the sentences in ``conclusions``.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from harness.compare.analysis import Analysis
from harness.compare.metrics import METRICS
from harness.compare.seeds import (
    SeedDifference,
    common_variants,
    seed_family,
    seed_values,
)
from harness.markdown import code, escape, p_value, table
from harness.report.conclusions import seed_claim, seed_sentence
from harness.runs.store import StoredRun


def seed_summary(analysis: Analysis) -> str:
    """Tables and sentences over the seeds; empty unless the runs are seeds of one setting."""
    seeds, differences = analysis.seeds, analysis.seed_differences
    parts = [spread_table(seeds)] if seeds else []
    if differences:
        parts.append(f"**{seed_claim(differences, len(seeds))}**")
        parts.append(_difference_table(differences, seeds))
        parts.append("\n".join(f"- {seed_sentence(d, len(seeds))}" for d in differences))
    return "\n\n".join(parts)


def spread_table(runs: Sequence[StoredRun]) -> str:
    """Every variant's primary metrics by seed, with mean and standard deviation."""
    rows = []
    for variant in common_variants(runs):
        for metric in seed_family(runs):
            values = seed_values(runs, variant, metric)
            if values is None:
                continue
            shown = [metric.show_cell(v) for v in (*values, statistics.mean(values))]
            spread = metric.show_size(statistics.stdev(values))
            rows.append([escape(variant), metric.title, *shown, spread])
    headers = ["Variant", "Metric", *_seeds(runs), "Mean", "Standard deviation"]
    return table(headers, rows, text_columns=2)


def _difference_table(differences: Sequence[SeedDifference], runs: Sequence[StoredRun]) -> str:
    rows = [
        [
            f"{code(d.b)} − {code(d.a)}",
            metric.title,
            *(metric.show_delta(delta) for delta in (*d.deltas, d.mean)),
            metric.show_size(d.spread),
            metric.show_interval(d.ci95),
            p_value(d.p),
            p_value(d.p_holm),
        ]
        for d in differences
        for metric in [METRICS[d.metric]]
    ]
    headers = ["Pair", "Metric", *_seeds(runs), "Mean", "Standard deviation", "95% over seeds"]
    return table([*headers, "p", "p Holm"], rows, text_columns=2)


def _seeds(runs: Sequence[StoredRun]) -> list[str]:
    return [f"seed {run.results.run.seed}" for run in runs]
