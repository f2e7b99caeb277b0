"""Quality against cost: which variants are not dominated?

Input: report entries -> output: one figure, ex against training memory, generation memory, size on
disk and generation speed. In each panel a variant is dominated when another is at least as good on
both axes and better on one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.results.chart_style import PAPER, finish, legend_below
from harness.results.entries import Entry, entry_looks
from harness.results.intervals import Interval


@dataclass(frozen=True)
class Point:
    """One variant in one panel; ex and its interval in percent."""

    style: tuple[str, str]
    cost: float
    ex: float
    interval: Interval | None


def tradeoff_figure(entries: Sequence[Entry]) -> Figure:
    """ex against memory, size and speed; filled where no other variant dominates."""
    panels: tuple[tuple[str, bool, Callable[[Entry], float | None]], ...] = (
        ("MLX peak memory, training (GB)", False, lambda entry: _memory(entry, "train")),
        ("MLX peak memory, generating (GB)", False, lambda entry: _memory(entry, "generate")),
        ("Size on disk, base and adapter (GB)", False, _size),
        ("Generation speed (tokens/s)", True, _generation_speed),
    )
    made = Figure(figsize=(9.0, 6.4), layout="constrained")
    grid = made.subplots(2, 2, sharey=True)
    for axes, (title, more_is_better, cost) in zip(grid.flat, panels, strict=True):
        points = _points(entries, cost)
        for point in points:
            _draw(axes, point, dominated(point, points, more_is_better))
        axes.set_xlabel(f"{title}\n{'right' if more_is_better else 'left'} is better")
        finish(axes)
        if points:
            axes.set_xlim(left=0, right=1.15 * max(point.cost for point in points))
        else:
            axes.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axes.transAxes)
            axes.set_xticks([])
        axes.set_ylim(-4, 104)
    for axes in grid[:, 0]:
        axes.set_ylabel("Execution accuracy (%)")
    handles = [
        Line2D([], [], marker=marker, color=colour, linestyle="none", markersize=9)
        for colour, marker in entry_looks(entries)
    ]
    legend_below(made, handles, [entry.label for entry in entries])
    made.suptitle(
        "Filled: no other variant is as good on both axes and better on one. Bars: 95% over tables",
        fontsize=10,
    )
    return made


def dominated(point: Point, points: Sequence[Point], more_is_better: bool) -> bool:
    """Whether some other point is at least as good on both axes and better on one."""
    sign = 1 if more_is_better else -1
    return any(
        sign * other.cost >= sign * point.cost
        and other.ex >= point.ex
        and (other.cost, other.ex) != (point.cost, point.ex)
        for other in points
    )


def _points(entries: Sequence[Entry], cost: Callable[[Entry], float | None]) -> list[Point]:
    points = []
    for style, entry in zip(entry_looks(entries), entries, strict=True):
        execution = entry.result.execution if entry.result else None
        value = cost(entry)
        if execution is None or execution.ex is None or value is None:
            continue
        interval = execution.clustered_ci95 or execution.ci95
        shown = None if interval is None else (100 * interval[0], 100 * interval[1])
        points.append(Point(style, value, 100 * execution.ex, shown))
    return points


def _draw(axes: Axes, point: Point, hollow: bool) -> None:
    colour, marker = point.style
    if point.interval:
        axes.plot([point.cost, point.cost], point.interval, color=colour, linewidth=1.2, alpha=0.7)
    axes.plot(
        [point.cost],
        [point.ex],
        marker=marker,
        markersize=9,
        color=colour,
        markerfacecolor=PAPER if hollow else colour,
        linestyle="none",
    )


def _memory(entry: Entry, phase: str) -> float | None:
    memory = entry.result.memory if entry.result else None
    found = memory.phase(phase) if memory else None
    return found.mlx_peak_bytes / 1e9 if found else None


def _size(entry: Entry) -> float | None:
    size = entry.result.size if entry.result else None
    return (size.base_bytes + size.adapter_bytes) / 1e9 if size else None


def _generation_speed(entry: Entry) -> float | None:
    speed = entry.result.throughput if entry.result else None
    return speed.generation_tokens_per_s if speed else None
