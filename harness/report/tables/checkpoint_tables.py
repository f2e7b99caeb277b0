"""Saved checkpoints in words: one table over all variants, then what may be said of the last.

Input: columns and the analysis of their checkpoints (`--checkpoints`) -> output: Markdown; runs
that stored only the section without rows get the table without intervals and no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.compare.analysis import Analysis
from harness.compare.checkpoints import (
    BestCheckpoint,
    CheckpointScores,
)
from harness.compare.metrics import METRICS
from harness.markdown import (
    code,
    escape,
    fixed,
    interval,
    p_value,
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
        best = {
            name: _best(found, value, least)
            for name, value, least in (
                ("full", lambda q: q.full_text_loss, True),
                ("completion", lambda q: q.completion_loss, True),
                ("ex", lambda q: q.ex, False),
            )
        }
        rows += [
            [
                escape(column.label),
                str(q.iteration),
                _bold(fixed(q.full_text_loss), q in best["full"]),
                _bold(fixed(q.completion_loss), q in best["completion"]),
                interval(q.completion_ci95),
                _bold(percent(q.ex), q in best["ex"]),
                percent_interval(q.ex_ci95),
            ]
            for q in found
        ]
    if not rows:
        return ""
    headers = ["Variant", "Iteration", "full_text loss", "Completion loss", "95%", "ex", "95%"]
    sentences = [
        f"- {checkpoint_sentence(column.label, one, len(checkpoints.best))}"
        for column, checkpoints in known
        for one in checkpoints.best
    ]
    return "\n\n".join([table(headers, rows), "\n".join(sentences)]).rstrip()


def checkpoint_sentence(label: str, one: BestCheckpoint, family: int) -> str:
    """Which checkpoint is best by a metric, and whether the last is worse beyond noise.

    Args:
        label: the variant, as the report calls it.
        one: the last checkpoint beside the best by one metric.
        family: by how many metrics that was asked.
    """
    metric = METRICS[one.metric]
    if one.best == one.last:
        return (
            f"{code(label)}: by {metric.title} the last of {one.of} checkpoints ({one.last}) is "
            "best."
        )
    verdict = (
        "is worse beyond noise"
        if one.worse
        else "is not distinguishable from it: no reason to go back"
    )
    others = one.of - 1
    corrected = [f"the choice among {others} others"] if others > 1 else []
    corrected += [f"{family} metrics"] if family > 1 else []
    told = f" corrected for {' and '.join(corrected)}" if corrected else ""
    return (
        f"{code(label)}: by {metric.title} the best of {one.of} checkpoints is {one.best}; the "
        f"last ({one.last}) {verdict} ({metric.show_delta(one.delta)}, 95% "
        f"{metric.show_interval(one.ci95)}, p {p_value(one.p_holm)}{told})."
    )


def _best(
    found: Sequence[CheckpointScores],
    value: Callable[[CheckpointScores], float | None],
    least: bool,
) -> list[CheckpointScores]:
    known = [number for q in found if (number := value(q)) is not None]
    if len(known) < 2:
        return []
    wanted = min(known) if least else max(known)
    return [q for q in found if value(q) == wanted]


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text
