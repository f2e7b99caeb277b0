"""Tables over seeds: every variant's metrics by seed, and the differences of every pair.

Input: an :class:`Analysis` of runs that are seeds of one setting -> output: Markdown. The
statistics are in ``compare.seeds``, the sentences in ``conclusions``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from harness.compare.analysis import Analysis
from harness.compare.metrics import METRICS
from harness.compare.seeds import SeedDifference, common_variants, seed_family, seed_values
from harness.markdown import bullets, code, escape, p_value, paragraphs, table_of
from harness.report.conclusions import seed_claim, seed_sentence
from harness.runs.store import StoredRun


def seed_summary(analysis: Analysis) -> str:
    """Tables and sentences over the seeds; empty unless the runs are seeds of one setting."""
    seeds, differences = analysis.seeds, analysis.seed_differences
    parts = [spread_table(seeds)] if seeds else []
    if differences:
        parts.append(f"**{seed_claim(differences, len(seeds))}**")
        parts.append(_difference_table(differences, seeds))
        parts.append(bullets(seed_sentence(d, len(seeds)) for d in differences))
    return paragraphs(*parts)


def spread_table(runs: Sequence[StoredRun]) -> str:
    """Every variant's primary metrics by seed, with mean and standard deviation."""
    rows = []
    for variant in common_variants(runs):
        for metric in seed_family(runs):
            values = seed_values(runs, variant, metric)
            if values is None:
                continue
            rows.append(
                {
                    "Variant": escape(variant),
                    "Metric": metric.title,
                    **_by_seed(runs, map(metric.show_cell, values)),
                    "Mean": metric.show_cell(statistics.mean(values)),
                    "Standard deviation": metric.show_size(statistics.stdev(values)),
                }
            )
    return table_of(rows, text_columns=2)


def _difference_table(differences: Sequence[SeedDifference], runs: Sequence[StoredRun]) -> str:
    rows = [
        {
            "Pair": f"{code(d.b)} − {code(d.a)}",
            "Metric": metric.title,
            **_by_seed(runs, map(metric.show_delta, d.deltas)),
            "Mean": metric.show_delta(d.mean),
            "Standard deviation": metric.show_size(d.spread),
            "95% over seeds": metric.show_interval(d.ci95),
            "p": p_value(d.p),
            "p Holm": p_value(d.p_holm),
        }
        for d in differences
        for metric in [METRICS[d.metric]]
    ]
    return table_of(rows, text_columns=2)


def _by_seed(runs: Sequence[StoredRun], cells: Iterable[str]) -> dict[str, str]:
    return {f"seed {run.results.run.seed}": cell for run, cell in zip(runs, cells, strict=True)}
