"""Tables that set variants against each other: speed trials, comparisons, gates.

Input: columns, comparisons or gates -> output: Markdown; an empty string where there is nothing
to show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.compare.cost import MemoryRatio, SpeedRatio
from harness.compare.metrics import METRICS
from harness.compare.quality import PairComparison
from harness.markdown import (
    NONE,
    code,
    escape,
    fixed,
    gigabytes,
    interval,
    p_value,
    table,
)
from harness.report.columns import Column
from harness.report.conclusions import mcnemar_text
from harness.schema.results import GateResult


def throughput(columns: Sequence[Column]) -> str:
    """Speed trials: medians, with when and where they were taken."""
    rows = []
    for column in columns:
        speed = column.result.throughput
        if speed is None:
            continue
        rows.append(
            [
                escape(column.label),
                fixed(speed.prompt_tokens_per_s, 1),
                fixed(speed.generation_tokens_per_s, 2),
                fixed(speed.ttft_s),
                fixed(speed.inter_token_p50_s, 4),
                fixed(speed.inter_token_p95_s, 4),
                fixed(speed.batched_tokens_per_s, 1),
                str(speed.trials),
                escape(speed.measured_at),
                _timing_note(column, speed.cached),
            ]
        )
    headers = [
        "Variant",
        "Prompt tokens/s",
        "Generation tokens/s",
        "First token, s",
        "Next token p50, s",
        "p95, s",
        "Batched tokens/s",
        "Trials",
        "Taken",
        "Note",
    ]
    if not rows:
        return ""
    notes = [
        f"- The trials of {escape(column.label)} were interleaved with the other variants', "
        f"{escape(speed.interleaving)}."
        for column in columns
        if (speed := column.result.throughput) and speed.interleaving
    ]
    return "\n\n".join([table(headers, rows), "\n".join(notes)]).rstrip()


def speed_comparisons(ratios: Iterable[SpeedRatio]) -> str:
    """Ratios of speeds with their intervals, or why there is none."""
    rows = [
        [
            f"{code(r.b)} / {code(r.a)}",
            METRICS[r.metric].short,
            f"{fixed(r.value_b, 2)} / {fixed(r.value_a, 2)}",
            f"{fixed(r.ratio, 2)} ×" if r.ratio is not None else f"none: {escape(r.reason)}",
            interval(r.ci95, 2),
            "interleaved" if r.paired else "apart",
        ]
        for r in ratios
    ]
    headers = ["Pair", "Speed", "Medians", "Ratio", "95%", "Trials"]
    return table(headers, rows, text_columns=2) if rows else ""


def memory_comparisons(ratios: Iterable[MemoryRatio]) -> str:
    """Ratios of MLX's peaks, or why there is none."""
    rows = [
        [
            f"{code(r.b)} / {code(r.a)}",
            r.phase,
            f"{gigabytes(r.bytes_b)} / {gigabytes(r.bytes_a)}",
            f"{fixed(r.ratio, 2)} ×" if r.ratio is not None else f"none: {escape(r.reason)}",
        ]
        for r in ratios
    ]
    return table(["Pair", "Phase", "MLX peaks", "Ratio"], rows, text_columns=2) if rows else ""


def comparisons(pairs: Sequence[PairComparison]) -> str:
    """The primary family of every pair: delta, interval, p, McNemar, verdict."""
    rows = []
    for pair in pairs:
        for c in pair.primary:
            value_a, value_b, n = pair.values[c.metric]
            metric = METRICS[c.metric]
            rows.append(
                [
                    f"{code(c.b)} − {code(c.a)}",
                    metric.title,
                    f"{metric.show_cell(value_b)} − {metric.show_cell(value_a)}",
                    metric.show_delta(c.delta),
                    metric.show_interval(c.ci95),
                    p_value(c.p),
                    p_value(c.p_holm),
                    mcnemar_text(c),
                    metric.show_size(c.minimum_detectable),
                    str(n),
                    f"**{c.verdict}**",
                ]
            )
    headers = [
        "Pair",
        "Metric",
        "Values",
        "Difference",
        "95% over tables",
        "p",
        "p Holm",
        "McNemar, exact",
        "Minimum detectable effect",
        "n",
        "Verdict",
    ]
    return table(headers, rows, text_columns=2) if rows else ""


def gates(results: Sequence[GateResult]) -> str:
    """Every gate's verdict, and below the table its reason."""
    rows = [
        [
            code(g.variant),
            code(g.metric),
            f"**{g.verdict}**",
            METRICS[g.metric].show(g.baseline),
            METRICS[g.metric].show(g.value),
            METRICS[g.metric].show(g.threshold),
            g.direction,
        ]
        for g in results
    ]
    if not rows:
        return ""
    headers = ["Variant", "Metric", "Verdict", "Baseline", "Value", "Limit", "Better"]
    reasons = [
        f"- {code(g.variant)} {code(g.metric)} **{g.verdict}**: {escape(g.reason)}" for g in results
    ]
    return f"{table(headers, rows, text_columns=3)}\n\n" + "\n".join(reasons)


def _timing_note(column: Column, cached: bool) -> str:
    notes = (["cached"] if cached else []) + (["contended"] if column.contended else [])
    return ", ".join(notes) or NONE
