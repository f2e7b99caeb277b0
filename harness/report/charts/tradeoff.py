"""Quality against cost: which variants are not dominated?

Input: report entries -> output: one figure, ex against training memory, generation memory, size on
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

from harness.report.charts.style import PAPER, finish, legend_below, percent_limits
from harness.report.columns import BUSY, Entry, contended, entry_looks, machine_of
from harness.stats.intervals import Interval

PANEL_CHARACTERS = 60
"""What fits below one panel."""


@dataclass(frozen=True)
class Point:
    """One variant in one panel; ex and its interval in percent."""

    style: tuple[str, str]
    cost: float
    ex: float
    interval: Interval | None


@dataclass(frozen=True)
class Panel:
    """One cost: its axis, which way is better, its value, and why a value cannot be used."""

    title: str
    more_is_better: bool
    cost: Callable[[Entry], float | None]
    unusable: Callable[[Entry], str]
    measure: Callable[[Entry], object]
    """What must agree among the variants of a panel: machine, backend."""
    unlike: str
    """What is said where it does not."""


def tradeoff_figure(entries: Sequence[Entry]) -> Figure:
    """ex against memory, size and speed; filled where no other variant dominates."""
    made = Figure(figsize=(9.0, 6.4), layout="constrained")
    grid = made.subplots(2, 2, sharey=True)
    for axes, panel in zip(grid.flat, PANELS, strict=True):
        _draw_panel(axes, panel, entries)
    drawn = _points(entries, lambda entry: 0.0)
    grid[0, 0].set_ylim(percent_limits(max([p.ex, *(p.interval or ())]) for p in drawn))
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


def _draw_panel(axes: Axes, panel: Panel, entries: Sequence[Entry]) -> None:
    out = left_out(panel, entries)
    points = _points(entries, lambda e: None if e.label in out else panel.cost(e))
    for point in points:
        _draw(axes, point, dominated(point, points, panel.more_is_better))
    notes = [panel.title, f"{'right' if panel.more_is_better else 'left'} is better"]
    finish(axes)
    if points:
        axes.set_xlim(left=0, right=1.15 * max(point.cost for point in points))
        told = [f"left out, {why}: {names}" for why, names in _by_reason(out).items()]
        notes += [
            line
            for one in told
            for line in textwrap.wrap(one, PANEL_CHARACTERS, break_on_hyphens=False)
        ]
    else:
        told = [f"not compared:\n{why}" for why in _by_reason(out)] or ["not measured"]
        axes.text(0.5, 0.5, "\n".join(told), ha="center", va="center", transform=axes.transAxes)
        axes.set_xticks([])
    axes.set_xlabel("\n".join(notes))


def left_out(panel: Panel, entries: Sequence[Entry]) -> dict[str, str]:
    """The labels of variants that a panel cannot show, each with the reason."""
    measured = [entry for entry in entries if panel.cost(entry) is not None]
    out = {entry.label: why for entry in measured if (why := panel.unusable(entry))}
    rest = [entry for entry in measured if entry.label not in out]
    if len({panel.measure(entry) for entry in rest}) > 1:
        out |= {entry.label: panel.unlike for entry in rest}
    return out


def _by_reason(out: dict[str, str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for label, why in out.items():
        found.setdefault(why, []).append(label)
    return {why: ", ".join(labels) for why, labels in found.items()}


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


def _shared(phase: str) -> Callable[[Entry], str]:
    def why(entry: Entry) -> str:
        memory = entry.result.memory if entry.result else None
        found = memory.phase(phase) if memory else None
        return "in a process shared with others" if found and found.shared_process else ""

    return why


def _memory_panel(title: str, phase: str) -> Panel:
    return Panel(
        title,
        False,
        lambda entry: _memory(entry, phase),
        _shared(phase),
        lambda entry: entry.run and entry.run.results.run.device.backend,
        "measured on different backends",
    )


PANELS = (
    _memory_panel("MLX peak memory, training (GB)", "train"),
    _memory_panel("MLX peak memory, generating (GB)", "generate"),
    Panel(
        "Size on disk, base and adapter (GB)", False, _size, lambda entry: "", lambda entry: 0, ""
    ),
    Panel(
        "Generation speed (tokens/s)",
        True,
        _generation_speed,
        lambda entry: BUSY if contended(entry) else "",
        machine_of,
        "timed on different machines",
    ),
)
