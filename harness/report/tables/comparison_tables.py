"""Tables that set variants against each other: speed trials, comparisons, seeds.

Input: columns, comparisons or an :class:`Analysis` -> output: Markdown; an empty string
where there is nothing to show. The sentences are in ``conclusions``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from harness.compare.analysis import Analysis
from harness.compare.cost import MemoryRatio, SpeedRatio
from harness.compare.metrics import METRICS
from harness.compare.quality import PairComparison
from harness.compare.seeds import SeedDifference, common_variants, seed_family, seed_values
from harness.markdown import (
    NONE,
    bullets,
    code,
    escape,
    fixed,
    gigabytes,
    interval,
    p_value,
    paragraphs,
    table_of,
)
from harness.report.columns import Column
from harness.report.conclusions import (
    mcnemar_text,
    needed_text,
    seed_claim,
    seed_sentence,
    seeds_needed_text,
)
from harness.runs.store import StoredRun
from harness.schema.variant_result import Throughput


def throughput(columns: Sequence[Column]) -> str:
    """Speed trials: medians (least to most), with when and where they were taken."""
    rows, notes = [], []
    for column in columns:
        speed = column.result.throughput
        if speed is None:
            continue
        rows.append(
            {
                "Variant": escape(column.label),
                "Prompt tokens/s": _spread(column, speed, "prompt_tokens_per_s", 1),
                "Generation tokens/s": _spread(column, speed, "generation_tokens_per_s", 2),
                "First token, s": _spread(column, speed, "ttft_s", 3),
                "Next token p50, s": fixed(speed.inter_token_p50_s, 4),
                "p95, s": fixed(speed.inter_token_p95_s, 4),
                "Batched tokens/s": _spread(column, speed, "batched_tokens_per_s", 1),
                "Trials": str(speed.trials),
                "Taken": escape(speed.measured_at),
                "Note": column.speed_note or NONE,
            }
        )
        if speed.interleaving and len(column.run.results.variants) > 1:
            notes.append(
                f"The trials of {escape(column.label)} were interleaved with the other "
                f"variants', {escape(speed.interleaving)}."
            )
    return paragraphs(table_of(rows), bullets(notes))


def _spread(column: Column, speed: Throughput, key: str, digits: int) -> str:
    """The median of the trials, and in parentheses the least and the most of them."""
    trials = column.run.trials(column.variant) or []
    values = [value for row in trials if (value := getattr(row, key)) is not None]
    median = fixed(getattr(speed, key), digits)
    if len(values) < 2:
        return median
    return f"{median} ({fixed(min(values), digits)} to {fixed(max(values), digits)})"


def speed_comparisons(ratios: Iterable[SpeedRatio]) -> str:
    """Ratios of speeds with their intervals, or why there is none."""
    rows = [
        {
            "Pair": f"{code(r.b)} / {code(r.a)}",
            "Speed": METRICS[r.metric].short,
            "Medians": f"{fixed(r.value_b, 2)} / {fixed(r.value_a, 2)}",
            "Ratio": _ratio(r),
            "95%": interval(r.ci95, 2),
            "Trials": "interleaved" if r.paired else "apart",
        }
        for r in ratios
    ]
    return table_of(rows, text_columns=2)


def memory_comparisons(ratios: Iterable[MemoryRatio]) -> str:
    """Ratios of MLX's peaks, or why there is none."""
    rows = [
        {
            "Pair": f"{code(r.b)} / {code(r.a)}",
            "Phase": r.phase,
            "MLX peaks": f"{gigabytes(r.bytes_b)} / {gigabytes(r.bytes_a)}",
            "Ratio": _ratio(r),
        }
        for r in ratios
    ]
    return table_of(rows, text_columns=2)


def comparisons(pairs: Sequence[PairComparison]) -> str:
    """The primary family of every pair: delta, interval, p, McNemar, verdict."""
    rows = []
    for pair in pairs:
        for c in pair.primary:
            on, metric = pair.tested[c.metric], METRICS[c.metric]
            rows.append(
                {
                    "Pair": f"{code(c.b)} − {code(c.a)}",
                    "Metric": metric.title,
                    "Values": f"{metric.show_cell(on.value_b)} − {metric.show_cell(on.value_a)}",
                    "Difference": metric.show_delta(c.delta),
                    "95%": metric.show_interval(c.ci95),
                    "p": p_value(c.p),
                    "p of the family": p_value(c.p_family),
                    "McNemar, exact": mcnemar_text(c),
                    "Minimum detectable effect": metric.show_size(c.minimum_detectable),
                    "n": str(on.n),
                    "n to settle": needed_text(c),
                    "Verdict": f"**{c.verdict}**",
                }
            )
    return table_of(rows, text_columns=2)


def seed_summary(analysis: Analysis) -> str:
    """Tables and sentences over the seeds; empty unless the runs are seeds of one setting."""
    seeds, differences = analysis.seeds, analysis.seed_differences
    parts = [spread_table(seeds)] if seeds else []
    if differences:
        parts.append(f"**{seed_claim(differences, len(seeds))}**")
        parts.append(_difference_table(differences))
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


def _ratio(found: SpeedRatio | MemoryRatio) -> str:
    """The ratio, or why there is none."""
    return f"none: {escape(found.reason)}" if found.ratio is None else f"{found.ratio:.2f} ×"


def _difference_table(differences: Sequence[SeedDifference]) -> str:
    rows = [
        {
            "Pair": f"{code(d.b)} − {code(d.a)}",
            "Metric": metric.title,
            "Difference of means": metric.show_delta(d.mean),
            "95%": metric.show_interval(d.ci95),
            "p": p_value(d.p),
            "p Holm": p_value(d.p_holm),
            "Minimum detectable effect": metric.show_size(d.minimum_detectable),
            "Seeds to settle": seeds_needed_text(d),
        }
        for d in differences
        for metric in [METRICS[d.metric]]
    ]
    return table_of(rows, text_columns=2)


def _by_seed(runs: Sequence[StoredRun], cells: Iterable[str]) -> dict[str, str]:
    return {f"seed {run.results.run.seed}": cell for run, cell in zip(runs, cells, strict=True)}
