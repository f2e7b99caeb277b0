"""Quality against cost: which variants are not dominated?

Input: report columns -> output: one figure, ex against training memory, generation memory, size on
disk and generation speed. In each panel a variant is dominated when another is at least as good on
both axes and better on one, by the numbers drawn. What has no common measure (a busy machine,
another machine or backend, a shared process) is left out of its panel and named below it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.report.charts.style import (
    BUSY,
    PAPER,
    finish,
    in_percent,
    legend_below,
    marks,
    percent_limits,
    styled,
)
from harness.report.columns import Column
from harness.stats.rates import Interval

PANEL_CHARACTERS = 60
"""What fits below one panel."""


@dataclass(frozen=True)
class Point:
    """One variant in one panel; ex and its interval in percent."""

    colour: str
    marker: str
    cost: float
    ex: float
    interval: Interval | None


@dataclass(frozen=True)
class Panel:
    """One cost: its axis, which way is better, its value, and why a value cannot be used."""

    title: str
    more_is_better: bool
    cost: Callable[[Column], float | None]
    unusable: Callable[[Column], str]
    measure: Callable[[Column], object]
    """What must agree among the variants of a panel: machine, backend."""
    unlike: str
    """What is written where it does not agree."""


def tradeoff_figure(columns: Sequence[Column]) -> Figure:
    """ex against memory, size and speed; filled where no other variant dominates."""
    made = Figure(figsize=(9.0, 6.4), layout="constrained")
    grid = made.subplots(2, 2, sharey=True)
    for axes, panel in zip(grid.flat, PANELS, strict=True):
        _draw_panel(axes, panel, columns)
    drawn = _points(columns, lambda column: 0.0)
    grid[0, 0].set_ylim(percent_limits(max([p.ex, *(p.interval or ())]) for p in drawn))
    for axes in grid[:, 0]:
        axes.set_ylabel("Execution accuracy (%)")
    handles = [Line2D([], [], **marks(colour, marker, 9)) for colour, marker, _ in styled(columns)]
    legend_below(made, handles, [column.label for column in columns])
    made.suptitle(
        "Filled: no other variant is as good on both axes and better on one. Bars: 95% intervals",
        fontsize=10,
    )
    return made


def _draw_panel(axes: Axes, panel: Panel, columns: Sequence[Column]) -> None:
    out = left_out(panel, columns)
    reasons = list(dict.fromkeys(out.values()))
    points = _points(columns, lambda e: None if e.label in out else panel.cost(e))
    for point in points:
        _draw(axes, point, dominated(point, points, panel.more_is_better))
    notes = [panel.title, f"{'right' if panel.more_is_better else 'left'} is better"]
    finish(axes)
    if points:
        axes.set_xlim(left=0, right=1.15 * max(point.cost for point in points))
        for why in reasons:
            names = ", ".join(label for label in out if out[label] == why)
            left = f"left out, {why}: {names}"
            notes += textwrap.wrap(left, PANEL_CHARACTERS, break_on_hyphens=False)
    else:
        empty = [f"not compared:\n{why}" for why in reasons] or ["not measured"]
        axes.text(0.5, 0.5, "\n".join(empty), ha="center", va="center", transform=axes.transAxes)
        axes.set_xticks([])
    axes.set_xlabel("\n".join(notes))


def left_out(panel: Panel, columns: Sequence[Column]) -> dict[str, str]:
    """The labels of variants that a panel cannot show, each with the reason."""
    measured = [column for column in columns if panel.cost(column) is not None]
    out = {column.label: why for column in measured if (why := panel.unusable(column))}
    rest = [column for column in measured if column.label not in out]
    if len({panel.measure(column) for column in rest}) > 1:
        out |= {column.label: panel.unlike for column in rest}
    return out


def dominated(point: Point, points: Sequence[Point], more_is_better: bool) -> bool:
    """Whether some other point is at least as good on both axes and better on one."""
    sign = 1 if more_is_better else -1
    return any(
        sign * other.cost >= sign * point.cost
        and other.ex >= point.ex
        and (other.cost, other.ex) != (point.cost, point.ex)
        for other in points
    )


def _points(columns: Sequence[Column], cost: Callable[[Column], float | None]) -> list[Point]:
    points = []
    for colour, marker, column in styled(columns):
        execution = column.result.execution
        value = cost(column)
        if execution is None or execution.ex is None or value is None:
            continue
        interval = in_percent(column.rate_interval("ex"))
        points.append(Point(colour, marker, value, 100 * execution.ex, interval))
    return points


def _draw(axes: Axes, point: Point, hollow: bool) -> None:
    if point.interval:
        cost = [point.cost, point.cost]
        axes.plot(cost, point.interval, color=point.colour, linewidth=1.2, alpha=0.7)
    face = PAPER if hollow else point.colour
    look = marks(point.colour, point.marker, 9, markerfacecolor=face)
    axes.plot([point.cost], [point.ex], **look)


def _size(column: Column) -> float | None:
    size = column.result.size
    return (size.base_bytes + size.adapter_bytes) / 1e9 if size else None


def _generation_speed(column: Column) -> float | None:
    speed = column.result.throughput
    return speed.generation_tokens_per_s if speed else None


def _memory_panel(title: str, phase: str) -> Panel:
    def peak(column: Column) -> float | None:
        found = column.peak(phase)
        return found.mlx_peak_bytes / 1e9 if found else None

    def shared(column: Column) -> str:
        found = column.peak(phase)
        return "in a process shared with others" if found and found.shared_process else ""

    return Panel(
        title,
        False,
        peak,
        shared,
        lambda column: column.run.results.run.device.backend,
        "measured on different backends",
    )


PANELS = (
    _memory_panel("MLX peak memory, training (GB)", "train"),
    _memory_panel("MLX peak memory, generating (GB)", "generate"),
    Panel(
        "Size on disk, base and adapter (GB)", False, _size, lambda column: "", lambda column: 0, ""
    ),
    Panel(
        "Generation speed (tokens/s)",
        True,
        _generation_speed,
        lambda column: BUSY if column.contended else "",
        lambda column: column.machine,
        "timed on different machines",
    ),
)
