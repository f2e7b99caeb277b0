"""Charts of details: failure kinds by variant, every speed trial, checkpoints.

Input: report columns -> output: figures; ``curves`` collects them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.compare.analysis import Analysis
from harness.report.charts.style import (
    BUSY,
    HATCHES,
    MARKERS,
    PAPER,
    finish,
    in_percent,
    legend_below,
    marks,
    name_rows,
    styled,
)
from harness.report.columns import Column, failure_kinds
from harness.stats.rates import Interval

Scored = tuple[int, float | None, Interval | None]
"""Iteration, value and interval of one checkpoint."""

SHOWN_KINDS = 12
"""Failure kinds drawn; the rest are summed as `other`."""


def failure_figure(columns: Sequence[Column]) -> Figure:
    """Failed answers by kind in percent of those asked, variants side by side."""
    shown = [
        (colour, marker, column.label, execution)
        for colour, marker, column in styled(columns)
        if (execution := column.result.execution) and execution.n
    ]
    ranked = failure_kinds(columns)
    kinds, rest = ranked[:SHOWN_KINDS], ranked[SHOWN_KINDS:]
    rows = [*kinds, "other"] if rest else kinds
    made = Figure(figsize=(8.0, 1.2 + 0.17 * len(rows) * (len(shown) + 1)), layout="constrained")
    axes = made.add_subplot()
    height = 0.8 / len(shown)
    shared = len({colour for colour, *_ in shown}) < len(shown)
    for order, (colour, marker, label, execution) in enumerate(shown):
        counts = [execution.failures.get(kind, 0) for kind in kinds]
        if rest:
            counts.append(sum(execution.failures.get(kind, 0) for kind in rest))
        bars = axes.barh(
            [row + (order - (len(shown) - 1) / 2) * height for row in range(len(rows))],
            [100 * number / execution.n for number in counts],
            height=0.9 * height,
            color=colour,
            edgecolor=PAPER,
            linewidth=0,
            hatch=HATCHES[MARKERS.index(marker)] if shared else "",
            label=label,
        )
        axes.bar_label(bars, [str(n) if n else "" for n in counts], padding=3, fontsize=8)
    axes.set_xlabel("Answers that failed (% of those asked; counts beside the bars)")
    axes.margins(x=0.08)
    name_rows(axes, rows)
    legend_below(made, *axes.get_legend_handles_labels())
    return made


def speed_figure(columns: Sequence[Column]) -> Figure:
    """Prompt and generation speed of every timed trial, with the median as a bar; dotted where the
    machine was busy."""
    panels = (
        ("Prompt speed (tokens/s)", "prompt_tokens_per_s"),
        ("Generation speed (tokens/s)", "generation_tokens_per_s"),
    )
    trials = [
        (colour, marker, column, rows)
        for colour, marker, column in styled(columns)
        if (rows := column.run.trials(column.variant))
    ]
    shown = [column for _, _, column, _ in trials]
    made = Figure(figsize=(9.0, 1.2 + 0.5 * len(trials)), layout="constrained")
    for axes, (title, metric) in zip(made.subplots(1, 2, sharey=True), panels, strict=True):
        fastest = 0.0
        for row, (colour, marker, column, found) in enumerate(trials):
            values = sorted(float(getattr(trial, metric)) for trial in found)
            fastest = max(fastest, *values)
            middle = statistics.median(values)
            axes.plot(values, [row] * len(values), **marks(colour, marker, 6, fillstyle="none"))
            axes.plot(
                [middle, middle],
                [row - 0.3, row + 0.3],
                color=colour,
                linewidth=2,
                linestyle=":" if column.contended else "-",
            )
        axes.set_xlim(0, 1.06 * fastest or 1)
        axes.set_xlabel(title)
        name_rows(axes, _speed_labels(shown))
    busy = f". Dotted, contended: {BUSY}" if any(column.contended for column in shown) else ""
    made.suptitle(f"Marks: trials. Bars: their medians{busy}", fontsize=10)
    return made


def _speed_labels(columns: Sequence[Column]) -> list[str]:
    """Each variant with what keeps its speeds from being set beside the others'."""
    several = len({column.machine for column in columns}) > 1
    labels = []
    for column in columns:
        lines = [f"{column.label} (contended)" if column.contended else column.label]
        if several:
            lines.append(column.run.results.run.device.chip)
        labels.append("\n".join(lines))
    return labels


def checkpoint_figure(columns: Sequence[Column], analysis: Analysis) -> Figure:
    """Loss and execution accuracy of every evaluated checkpoint; the best of each is ringed."""
    found = [
        (colour, marker, column.label, analysis.checkpoints[column.key].scores)
        for colour, marker, column in styled(columns)
        if column.key in analysis.checkpoints
    ]
    scored = all(q.completion_loss is not None for *_, scores in found for q in scores)
    made = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = made.subplots(1, 2)
    for order, (colour, marker, label, scores) in enumerate(found):
        # Bars of variants at one iteration stand side by side.
        beside = 0.012 * (order - (len(found) - 1) / 2)
        losses: list[Scored] = [
            (q.iteration, q.completion_loss, q.completion_ci95)
            if scored
            else (q.iteration, q.full_text_loss, None)
            for q in scores
        ]
        rates: list[Scored] = [
            (q.iteration, None if q.ex is None else 100 * q.ex, in_percent(q.ex_ci95))
            for q in scores
        ]
        line = {"color": colour, "marker": marker, "label": label}
        _checkpoint_line(left, beside, losses, min, line)
        _checkpoint_line(right, beside, rates, max, line)
    what = "Completion loss (nats per token)" if scored else "Loss (nats per token, full text)"
    for axes, title in ((left, what), (right, "Execution accuracy (%)")):
        axes.set_xlabel("Iteration (micro-batches)")
        axes.set_ylabel(title)
        axes.margins(x=0.1)
        finish(axes)
    legend_below(made, *left.get_legend_handles_labels())
    made.suptitle("Ringed: the best checkpoint. Bars: 95% intervals", fontsize=10)
    return made


def _checkpoint_line(
    axes: Axes,
    beside: float,
    scores: Sequence[Scored],
    better: Callable[[list[float]], float],
    line: dict[str, str],
) -> None:
    """One variant's values, moved by ``beside`` of the axis, the best of them ringed."""
    shown = [(x, y, bounds) for x, y, bounds in scores if y is not None]
    if not shown:
        return
    shift = beside * max(x for x, _, _ in shown)
    xs, ys = [x + shift for x, _, _ in shown], [y for _, y, _ in shown]
    for x, (_, _, bounds) in zip(xs, shown, strict=True):
        if bounds:
            axes.plot([x, x], bounds, color=line["color"], linewidth=1.2, alpha=0.7)
    axes.plot(xs, ys, **line)  # type: ignore[arg-type]
    if len(ys) > 1:
        best = ys.index(better(ys))
        axes.plot(
            xs[best], ys[best], color=line["color"], marker="o", markersize=14, fillstyle="none"
        )
