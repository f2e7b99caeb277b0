"""Charts as SVG: loss curves and accuracy with intervals; every chart by its file name.

Input: stored runs -> output: file name -> SVG text, the same bytes for the same store. Figures are
made without pyplot, so that no global state or display is touched. Quality against cost is in
``tradeoff``, failure kinds, speeds and checkpoints in ``details``, the common look in
``style``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    column_styles,
    finish,
    legend_below,
    percent_limits,
    to_svg,
)
from harness.report.columns import CHARTS, Column, available_charts, columns_of
from harness.stats.intervals import Interval, clustered_rate

RATES = (
    ("ex", "ex"),
    ("ex_hardened", "ex hardened"),
    ("lf", "logical form"),
)


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
    return draw[name](columns)


def loss_figure(columns: Sequence[Column]) -> Figure:
    """Validation (solid) and train loss (dashed) by iteration, the test loss of checkpoints as
    rings; a variant that trains nothing is a dotted level."""
    made = Figure(figsize=(8.6, 4.2), layout="constrained")
    axes = made.add_subplot()
    for (colour, marker), column in zip(column_styles(columns), columns, strict=True):
        if len(column.curve) == 1 and column.curve[0].val_loss is not None:
            axes.axhline(
                column.curve[0].val_loss,
                linestyle=":",
                color=colour,
                label=f"{column.label}, validation",
            )
            continue
        for field, line in (("val_loss", "-"), ("train_loss", "--")):
            points = [
                (point.iteration, getattr(point, field))
                for point in column.curve
                if getattr(point, field) is not None
            ]
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    linestyle=line,
                    color=colour,
                    marker=marker,
                    markersize=6 if line == "-" else 4,
                    fillstyle="full" if line == "-" else "none",
                    label=f"{column.label}, {'validation' if line == '-' else 'train'}",
                )
        _checkpoint_rings(axes, column, colour)
    axes.set_xlabel("Iteration (micro-batches)")
    axes.set_ylabel("Loss (nats per token, full text)")
    finish(axes)
    legend_below(made, *axes.get_legend_handles_labels())
    return made


def _checkpoint_rings(axes: Axes, column: Column, colour: str) -> None:
    found = column.result.checkpoints or []
    points = [(c.iteration, c.loss) for c in found if c.loss is not None]
    if points:
        axes.plot(
            *zip(*points, strict=True),
            linestyle="none",
            color=colour,
            marker="o",
            markersize=12,
            fillstyle="none",
            label=f"{column.label}, test at checkpoint",
        )


def accuracy_figure(columns: Sequence[Column]) -> Figure:
    """Execution, hardened and logical-form accuracy of each variant with intervals."""
    shown = [
        (colour, column)
        for (colour, _), column in zip(column_styles(columns), columns, strict=True)
        if column.result.execution
    ]
    made = Figure(figsize=(8.0, 1.3 + 0.55 * len(shown) * 1.3), layout="constrained")
    axes = made.add_subplot()
    drawn = [0.0]
    for row, (colour, column) in enumerate(shown):
        for step, (metric, _) in enumerate(RATES):
            found = _rate(column, metric)
            if found is None:
                continue
            rate, interval = found
            drawn.append(100 * max([rate, *(interval or ())]))
            height = row + (step - 1) * 0.22
            if interval:
                axes.plot(
                    [100 * interval[0], 100 * interval[1]],
                    [height, height],
                    color=colour,
                    linewidth=2,
                    solid_capstyle="butt",
                )
            axes.plot(
                [100 * rate],
                [height],
                marker=MARKERS[step],
                color=colour,
                markersize=7,
                markerfacecolor=colour if step == 0 else PAPER,
                linestyle="none",
            )
            axes.annotate(
                f"{100 * rate:.1f}",
                (100 * (interval[1] if interval else rate), height),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    axes.set_yticks(range(len(shown)), [column.label for _, column in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(percent_limits(drawn, room=0.1))  # of the numbers behind the bars
    axes.set_xlabel("Right answers (%), bars: 95% over tables")
    finish(axes)
    axes.grid(visible=False, axis="y")
    handles = [
        Line2D(
            [],
            [],
            marker=MARKERS[step],
            color=INK,
            linestyle="none",
            markersize=7,
            markerfacecolor=INK if step == 0 else PAPER,
            label=title,
        )
        for step, (_, title) in enumerate(RATES)
    ]
    legend_below(made, handles, [title for _, title in RATES])
    return made


def _rate(column: Column, metric: str) -> tuple[float, Interval | None] | None:
    execution = column.result.execution
    rate = getattr(execution, metric, None)
    if rate is None or execution is None:
        return None
    if metric == "ex":
        return rate, execution.clustered_ci95 or execution.ci95
    rows = column.run.predictions(column.variant) or []
    graded = [row for row in rows if getattr(row, metric) is not None]
    marks = [float(getattr(row, metric)) for row in graded]
    seed = column.run.results.run.seed
    return rate, clustered_rate(marks, [row.table_id for row in graded], seed) if graded else None
