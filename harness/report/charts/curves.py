"""Charts as SVG: loss curves and accuracy with intervals; every chart by its file name.

Input: stored runs -> output: file name -> SVG text, the same bytes for the same store. Figures are
made without pyplot, so that no global state or display is used. Quality against cost is in
``tradeoff``, failure kinds, speeds and checkpoints in ``details``, the common look in
``style``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.compare.analysis import Analysis
from harness.report.charts import details, tradeoff
from harness.report.charts.style import (
    INK,
    MARKERS,
    PAPER,
    STYLE,
    finish,
    in_a_chart,
    in_percent,
    legend_below,
    marks,
    name_rows,
    percent_limits,
    styled,
    to_svg,
)
from harness.report.columns import CHARTS, Column, available_charts, columns_of
from harness.stats.rates import Interval

RATES = (("ex", "ex"), ("ex_hardened", "ex hardened"), ("lf", "logical form"))

Rate = tuple[float, Interval | None]


def render_charts(analysis: Analysis) -> dict[str, str]:
    """Every chart that the runs have data for, by file name."""
    columns = columns_of(analysis.runs)
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        return {
            name: to_svg(figure(name, columns, analysis), CHARTS[name])
            for name in available_charts(columns)
        }


def figure(name: str, columns: Sequence[Column], analysis: Analysis) -> Figure:
    """The chart called ``name`` (a key of ``columns.CHARTS``) as a figure."""
    draw: dict[str, Callable[[Sequence[Column]], Figure]] = {
        "loss.svg": loss_figure,
        "accuracy.svg": accuracy_figure,
        "tradeoff.svg": tradeoff.tradeoff_figure,
        "failures.svg": details.failure_figure,
        "speed.svg": details.speed_figure,
        "checkpoints.svg": lambda shown: details.checkpoint_figure(shown, analysis),
    }
    return draw[name]([replace(column, label=in_a_chart(column.label)) for column in columns])


def loss_figure(columns: Sequence[Column]) -> Figure:
    """Validation (solid) and train loss (dashed) by iteration, the test loss of checkpoints as
    rings; a variant that trains nothing is a dotted level."""
    made = Figure(figsize=(8.6, 4.2), layout="constrained")
    axes = made.add_subplot()
    for colour, marker, column in styled(columns):
        if len(column.curve) == 1 and column.curve[0].val_loss is not None:
            axes.axhline(
                column.curve[0].val_loss,
                linestyle=":",
                color=colour,
                label=f"{column.label}, validation",
            )
            continue
        checked = [(point.iteration, point.val_loss) for point in column.curve]
        trained = [(point.iteration, point.train_loss) for point in column.curve]
        tested = [(c.iteration, c.loss) for c in column.result.checkpoints or []]
        for points, name, look in (
            (checked, "validation", {"marker": marker, "markersize": 6}),
            (trained, "train", marks(colour, marker, 4, linestyle="--", fillstyle="none")),
            (tested, "test at checkpoint", marks(colour, "o", 12, fillstyle="none")),
        ):
            if known := [(x, y) for x, y in points if y is not None]:
                axes.plot(
                    *zip(*known, strict=True),
                    **{"color": colour, **look},
                    label=f"{column.label}, {name}",
                )
    axes.set_xlabel("Iteration (micro-batches)")
    axes.set_ylabel("Loss (nats per token, full text)")
    finish(axes)
    legend_below(made, *axes.get_legend_handles_labels())
    return made


def accuracy_figure(columns: Sequence[Column]) -> Figure:
    """Execution, hardened and logical-form accuracy of each variant with intervals."""
    shown = [(colour, column) for colour, _, column in styled(columns) if column.result.execution]
    made = Figure(figsize=(8.0, 1.3 + 0.55 * len(shown) * 1.3), layout="constrained")
    axes = made.add_subplot()
    drawn = [0.0]
    for row, (colour, column) in enumerate(shown):
        for step, (metric, _) in enumerate(RATES):
            found = _rate(column, metric)
            if found is not None:
                _draw_rate(axes, found, row + (step - 1) * 0.22, colour, step)
                drawn += [found[0], *(found[1] or ())]
    axes.set_xlim(percent_limits(drawn, margin=0.1))  # of the numbers behind the bars
    axes.set_xlabel("Right answers (%), bars: 95% intervals")
    name_rows(axes, [column.label for _, column in shown])
    handles = [Line2D([], [], **_rate_mark(INK, step)) for step in range(len(RATES))]
    legend_below(made, handles, [title for _, title in RATES])
    return made


def _draw_rate(axes: Axes, found: Rate, height: float, colour: str, step: int) -> None:
    rate, interval = found
    if interval:
        axes.plot(interval, [height, height], color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot([rate], [height], **_rate_mark(colour, step))
    axes.annotate(
        f"{rate:.1f}",
        (interval[1] if interval else rate, height),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
    )


def _rate_mark(colour: str, step: int) -> dict[str, Any]:
    """How the rate at place ``step`` of ``RATES`` is drawn: the first filled."""
    return marks(colour, MARKERS[step], 7, markerfacecolor=colour if step == 0 else PAPER)


def _rate(column: Column, metric: str) -> Rate | None:
    """One accuracy with its interval, both in percent; None where it was not measured."""
    execution = column.result.execution
    rate = getattr(execution, metric, None)
    if rate is None:
        return None
    return 100 * rate, in_percent(column.rate_interval(metric))
