"""Saved checkpoints in words: one table over all variants, then a verdict on the last.

Input: columns and the analysis of their checkpoints (`--checkpoints`) -> output: Markdown; runs
that stored only the section without rows get the table without intervals and no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from harness.compare.analysis import Analysis
from harness.compare.checkpoints import BestCheckpoint
from harness.compare.metrics import METRICS
from harness.markdown import (
    bullets,
    code,
    escape,
    fixed,
    interval,
    p_value,
    paragraphs,
    percent,
    percent_interval,
    table,
)
from harness.report.columns import Column


def checkpoints(columns: Sequence[Column], analysis: Analysis) -> str:
    """Every evaluated checkpoint, the best by each metric in bold, and the verdicts on the last."""
    known = [
        (column, analysis.checkpoints[column.key])
        for column in columns
        if column.key in analysis.checkpoints
    ]
    rows = []
    for column, checkpoints in known:
        found = checkpoints.scores
        full = _best([q.full_text_loss for q in found], min)
        completion = _best([q.completion_loss for q in found], min)
        ex = _best([q.ex for q in found], max)
        rows += [
            [
                escape(column.label),
                str(q.iteration),
                _bold(fixed(q.full_text_loss), q.full_text_loss == full),
                _bold(fixed(q.completion_loss), q.completion_loss == completion),
                interval(q.completion_ci95),
                _bold(percent(q.ex), q.ex == ex),
                percent_interval(q.ex_ci95),
            ]
            for q in found
        ]
    if not rows:
        return ""
    headers = ["Variant", "Iteration", "full_text loss", "Completion loss", "95%", "ex", "95%"]
    return paragraphs(table(headers, rows), bullets(checkpoint_sentences(columns, analysis)))


def checkpoint_sentences(columns: Sequence[Column], analysis: Analysis) -> list[str]:
    """Of every variant with checkpoints the verdict on the last, by each metric."""
    return [
        checkpoint_sentence(column.label, one, len(analysis.checkpoints[column.key].best))
        for column in columns
        if column.key in analysis.checkpoints
        for one in analysis.checkpoints[column.key].best
    ]


def checkpoint_sentence(label: str, one: BestCheckpoint, family: int) -> str:
    """Which checkpoint is best by a metric, and whether the last is worse beyond noise.

    Args:
        label: the variant, as the report calls it.
        one: the last checkpoint beside the best by one metric.
        family: the number of metrics that Holm's correction covers.
    """
    metric = METRICS[one.metric]
    if one.best == one.last:
        return (
            f"{code(label)}: by {metric.title} the last of {one.of} checkpoints ({one.last}) is "
            "best."
        )
    if one.units.too_few:
        return (
            f"{code(label)}: by {metric.title} the best of {one.of} checkpoints is {one.best}; "
            f"whether the last ({one.last}) is worse is not decided: {one.units.too_few}."
        )
    verdict = (
        "is worse beyond noise"
        if one.worse
        else "is not distinguishable from it: no reason to go back"
    )
    others = one.of - 1
    corrected = [f"the choice among {others} others"] if others > 1 else []
    corrected += [f"{family} metrics"] if family > 1 else []
    correction = f" corrected for {' and '.join(corrected)}" if corrected else ""
    return (
        f"{code(label)}: by {metric.title} the best of {one.of} checkpoints is {one.best}; the "
        f"last ({one.last}) {verdict} ({metric.show_delta(one.delta)}, 95% "
        f"{metric.show_interval(one.ci95)}, p {p_value(one.p_holm)}{correction}; over "
        f"{one.units.text})."
    )


def _best(values: Sequence[float | None], better: Callable[[list[float]], float]) -> float:
    """The best of two values or more; NaN, which no value equals, of fewer."""
    known = [value for value in values if value is not None]
    return better(known) if len(known) > 1 else math.nan


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text
