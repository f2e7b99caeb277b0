"""Charts of details: failure kinds by variant, every speed trial, checkpoints.

Input: report columns -> output: figures; ``curves`` collects them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.compare.analysis import Analysis
from harness.compare.checkpoints import CheckpointScores
from harness.report.charts.style import (
    BUSY,
    HATCHES,
    MARKERS,
    PAPER,
    column_styles,
    finish,
    legend_below,
)
from harness.report.columns import Column
from harness.stats.intervals import Interval

Panel = tuple[
    str,
    Callable[[CheckpointScores], float | None],
    Callable[[CheckpointScores], Interval | None],
    Callable[[list[float]], float],
]
"""Axis title, value, interval, and which value is best."""

SHOWN_KINDS = 12
"""Failure kinds drawn; the rest are summed as `other`."""


def failure_figure(columns: Sequence[Column]) -> Figure:
    """Failed answers by kind in percent of those asked, variants side by side."""
    shown = [
        (style, column, column.result.execution)
        for style, column in zip(column_styles(columns), columns, strict=True)
        if column.result.execution and column.result.execution.n
    ]
    totals: dict[str, int] = {}
    for _, _, execution in shown:
        for kind, number in execution.failures.items():
            totals[kind] = totals.get(kind, 0) + number
    ranked = sorted(totals, key=lambda kind: (-totals[kind], kind))
    kinds = ranked[:SHOWN_KINDS]
    rows = [*kinds, "other"] if len(ranked) > SHOWN_KINDS else kinds
    made = Figure(figsize=(8.0, 1.2 + 0.17 * len(rows) * (len(shown) + 1)), layout="constrained")
    axes = made.add_subplot()
    height = 0.8 / len(shown)
    shared = len({colour for (colour, _), _, _ in shown}) < len(shown)
    for order, ((colour, marker), column, execution) in enumerate(shown):
        counts = [execution.failures.get(kind, 0) for kind in kinds]
        if len(rows) > len(kinds):
            counts.append(sum(execution.failures.get(kind, 0) for kind in ranked[SHOWN_KINDS:]))
        centres = [row + (order - (len(shown) - 1) / 2) * height for row in range(len(rows))]
        bars = axes.barh(
            centres,
            [100 * number / execution.n for number in counts],
            height=0.9 * height,
            color=colour,
            edgecolor=PAPER,
            linewidth=0,
            hatch=HATCHES[MARKERS.index(marker)] if shared else "",
            label=column.label,
        )
        axes.bar_label(bars, [str(n) if n else "" for n in counts], padding=3, fontsize=8)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("Answers that failed (% of those asked; counts beside the bars)")
    axes.margins(x=0.08)
    finish(axes)
    axes.grid(visible=False, axis="y")
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
        (style, column, rows)
        for style, column in zip(column_styles(columns), columns, strict=True)
        if (rows := column.run.trials(column.variant))
    ]
    made = Figure(figsize=(9.0, 1.2 + 0.5 * len(trials)), layout="constrained")
    pair = made.subplots(1, 2, sharey=True)
    for axes, (title, metric) in zip(pair, panels, strict=True):
        for row, ((colour, marker), column, found) in enumerate(trials):
            values = sorted(float(getattr(trial, metric)) for trial in found)
            half = len(values) // 2
            median = (values[half] + values[~half]) / 2
            axes.plot(
                values,
                [row] * len(values),
                linestyle="none",
                marker=marker,
                markersize=6,
                fillstyle="none",
                color=colour,
            )
            axes.plot(
                [median, median],
                [row - 0.3, row + 0.3],
                color=colour,
                linewidth=2,
                linestyle=":" if column.contended else "-",
            )
        fastest = max(float(getattr(trial, metric)) for _, _, found in trials for trial in found)
        axes.set_xlim(0, 1.06 * fastest or 1)
        axes.set_xlabel(title)
        finish(axes)
        axes.grid(visible=False, axis="y")
    shown = [column for _, column, _ in trials]
    pair[0].set_yticks(range(len(trials)), _speed_labels(shown))
    pair[0].set_ylim(len(trials) - 0.5, -0.5)
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
        (style, column, analysis.checkpoints[column.key].scores)
        for style, column in zip(column_styles(columns), columns, strict=True)
        if column.key in analysis.checkpoints
    ]
    scored = all(q.completion_loss is not None for _, _, each in found for q in each)
    loss: Panel = (
        ("Completion loss (nats per token)", _completion, _completion_interval, min)
        if scored
        else ("Loss (nats per token, full text)", lambda q: q.full_text_loss, lambda q: None, min)
    )
    made = Figure(figsize=(9.0, 3.8), layout="constrained")
    pair = made.subplots(1, 2)
    ex: Panel = ("Execution accuracy (%)", _percent, _percent_interval, max)
    for axes, panel in zip(pair, (loss, ex), strict=True):
        for order, (style, column, scores) in enumerate(found):
            # Bars of variants at one iteration stand side by side.
            beside = 0.012 * (order - (len(found) - 1) / 2)
            _checkpoint_line(axes, (style, beside), column.label, scores, panel)
        axes.set_xlabel("Iteration (micro-batches)")
        axes.set_ylabel(panel[0])
        axes.margins(x=0.1)
        finish(axes)
    legend_below(made, *pair[0].get_legend_handles_labels())
    made.suptitle("Ringed: the best checkpoint. Bars: 95% over tables", fontsize=10)
    return made


def _checkpoint_line(
    axes: Axes,
    position: tuple[tuple[str, str], float],
    label: str,
    scores: Sequence[CheckpointScores],
    panel: Panel,
) -> None:
    _, value, interval, better = panel
    (colour, marker), beside = position
    shown = [(q.iteration, y, interval(q)) for q in scores if (y := value(q)) is not None]
    if not shown:
        return
    shift = beside * max(x for x, _, _ in shown)
    xs, ys = [x + shift for x, _, _ in shown], [y for _, y, _ in shown]
    for x, (_, _, bounds) in zip(xs, shown, strict=True):
        if bounds:
            axes.plot([x, x], bounds, color=colour, linewidth=1.2, alpha=0.7)
    axes.plot(xs, ys, color=colour, marker=marker, label=label)
    if len(ys) > 1:
        best = ys.index(better(ys))
        axes.plot(xs[best], ys[best], color=colour, marker="o", markersize=14, fillstyle="none")


def _completion(q: CheckpointScores) -> float | None:
    return q.completion_loss


def _completion_interval(q: CheckpointScores) -> Interval | None:
    return q.completion_ci95


def _percent(q: CheckpointScores) -> float | None:
    return None if q.ex is None else 100 * q.ex


def _percent_interval(q: CheckpointScores) -> Interval | None:
    return None if q.ex_ci95 is None else (100 * q.ex_ci95[0], 100 * q.ex_ci95[1])
