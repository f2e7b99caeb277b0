"""Charts as SVG: loss curves, accuracy with intervals, quality against memory and speed.

Input: stored runs -> output: file name -> SVG text, the same bytes for the same store. Figures are
made without pyplot, so that no global state or display is touched. Failure kinds, speeds and
checkpoints are in ``detail_charts``, the common look in ``chart_style``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.results import detail_charts
from harness.results.chart_style import INK, MARKERS, PAPER, STYLE, finish, look, to_svg
from harness.results.entries import CHARTS, Entry, available_charts, run_entries
from harness.results.intervals import Interval, clustered_rate
from harness.results.rows import PredictionRow
from harness.results.store import StoredRun
from harness.results.variant_schema import Execution

RATES = (
    ("ex", "ex"),
    ("ex_hardened", "ex hardened"),
    ("lf", "logical form"),
)


def render_charts(runs: Sequence[StoredRun]) -> dict[str, str]:
    """Every chart that the runs have data for, by file name."""
    entries = [entry for entry in run_entries(runs) if entry.result is not None]
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        return {
            name: to_svg(figure(name, entries), CHARTS[name]) for name in available_charts(entries)
        }


def figure(name: str, entries: Sequence[Entry]) -> Figure:
    """The chart called ``name`` (a key of ``entries.CHARTS``) as a figure."""
    draw: dict[str, Callable[[Sequence[Entry]], Figure]] = {
        "loss.svg": loss_figure,
        "accuracy.svg": accuracy_figure,
        "tradeoff.svg": tradeoff_figure,
        "failures.svg": detail_charts.failure_figure,
        "speed.svg": detail_charts.speed_figure,
        "checkpoints.svg": detail_charts.checkpoint_figure,
    }
    return draw[name](entries)


def loss_figure(entries: Sequence[Entry]) -> Figure:
    """Validation (solid) and train loss (dashed) by iteration, variants overlaid."""
    made = Figure(figsize=(8.0, 4.2), layout="constrained")
    axes = made.add_subplot()
    for place, entry in enumerate(entries):
        colour, marker = look(place)
        for field, line in (("val_loss", "-"), ("train_loss", "--")):
            points = [
                (point.iteration, getattr(point, field))
                for point in entry.curve
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
                    label=f"{entry.label}, {'validation' if line == '-' else 'train'}",
                )
    axes.set_xlabel("Iteration (micro-batches)")
    axes.set_ylabel("Loss (nats per token, full text)")
    finish(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return made


def accuracy_figure(entries: Sequence[Entry]) -> Figure:
    """Execution, hardened and logical-form accuracy of each variant with intervals."""
    shown = [(place, entry) for place, entry in enumerate(entries) if _execution(entry)]
    made = Figure(figsize=(8.0, 1.3 + 0.55 * len(shown) * 1.3), layout="constrained")
    axes = made.add_subplot()
    for row, (place, entry) in enumerate(shown):
        colour, _ = look(place)
        for step, (metric, _) in enumerate(RATES):
            found = _rate(entry, metric)
            if found is None:
                continue
            rate, interval = found
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
    axes.set_yticks(range(len(shown)), [entry.label for _, entry in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("Right answers (%), 95% over tables")
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
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return made


def tradeoff_figure(entries: Sequence[Entry]) -> Figure:
    """ex against training memory, generation memory and speed; filled where not dominated."""
    panels: tuple[tuple[str, bool, Callable[[Entry], float | None]], ...] = (
        ("MLX peak memory, training (GB)", False, lambda entry: _memory(entry, "train")),
        ("MLX peak memory, generating (GB)", False, lambda entry: _memory(entry, "generate")),
        ("Generation speed (tokens/s)", True, _generation_speed),
    )
    made = Figure(figsize=(10.0, 3.8), layout="constrained")
    row = made.subplots(1, len(panels), sharey=True)
    for axes, (title, more_is_better, value) in zip(row, panels, strict=True):
        points = [
            (place, entry, x, 100 * execution.ex)
            for place, entry in enumerate(entries)
            if (execution := _execution(entry))
            and execution.ex is not None
            and (x := value(entry)) is not None
        ]
        for place, _, x, y in points:
            colour, marker = look(place)
            sign = 1 if more_is_better else -1
            beaten = any(
                (sign * u >= sign * x and v >= y) and (u != x or v != y) for _, _, u, v in points
            )
            axes.plot(
                [x],
                [y],
                marker=marker,
                markersize=9,
                color=colour,
                markerfacecolor=PAPER if beaten else colour,
                linestyle="none",
            )
        axes.set_xlabel(f"{title}\n{'right' if more_is_better else 'left'} is better")
        axes.margins(0.3)
        finish(axes)
        if points:
            axes.set_xlim(left=0, right=1.35 * max(point[2] for point in points))
        axes.set_ylim(0, 105)
    row[0].set_ylabel("Execution accuracy (%)")
    made.suptitle("Hollow: another variant is as good or better on both axes", fontsize=10)
    handles = [
        Line2D([], [], marker=marker, color=colour, linestyle="none", markersize=9, label=label)
        for label, (colour, marker) in ((e.label, look(i)) for i, e in enumerate(entries))
    ]
    made.legend(handles=handles, loc="outside right center")
    return made


def _execution(entry: Entry) -> Execution | None:
    return entry.result.execution if entry.result else None


def _rate(entry: Entry, metric: str) -> tuple[float, Interval | None] | None:
    execution = _execution(entry)
    rate = getattr(execution, metric, None)
    if rate is None or execution is None:
        return None
    if metric == "ex":
        return rate, execution.clustered_ci95 or execution.ci95
    rows: list[PredictionRow] = (entry.run.predictions(entry.name) if entry.run else None) or []
    graded = [row for row in rows if getattr(row, metric) is not None]
    marks = [float(getattr(row, metric)) for row in graded]
    return rate, clustered_rate(marks, [row.table_id for row in graded]) if graded else None


def _memory(entry: Entry, phase: str) -> float | None:
    memory = entry.result.memory if entry.result else None
    found = memory.phase(phase) if memory else None
    return found.mlx_peak_bytes / 1e9 if found else None


def _generation_speed(entry: Entry) -> float | None:
    speed = entry.result.throughput if entry.result else None
    return speed.generation_tokens_per_s if speed else None
