"""results/growth.svg: the growth table of results/performance.json as a chart.

Two panels a sweep: seconds on logarithmic axes beside a straight line of slope one, and gigabytes.
A pure function of the stored table: ``python tests/perf/growth_chart.py`` draws it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator
from table import ROOT, stored

from harness.disk.files import write_text
from harness.report.charts.style import COLOURS, GRID, INK, STYLE, finish, to_svg

CHART = ROOT / "results" / "growth.svg"

Curve = tuple[list[str], list[float], list[float], list[float], str]
"""Labels, numbers, seconds, gigabytes, the exponent in words."""


def curves(rows: Sequence[Sequence[str]]) -> dict[str, Curve]:
    """The table's rows by sweep."""
    found: dict[str, Curve] = {}
    for title, label, seconds, _, memory in rows:
        labels, numbers, times, peaks, _ = found.setdefault(title, ([], [], [], [], ""))
        if label.startswith("exponent"):
            found[title] = (labels, numbers, times, peaks, seconds)
            continue
        # "256 (18M parameters)": against the parameters.
        named, _, parameters = label.partition(" (")
        number = float(parameters.split("M")[0]) if parameters else float(named)
        labels.append(f"{number:.0f}M" if parameters else f"{number:,.0f}")
        numbers.append(number)
        times.append(float(seconds.split()[0]))
        peaks.append(float(memory.split()[0]))
    return found


def draw(rows: Sequence[Sequence[str]], chart: Path = CHART) -> None:
    """Write the chart of the table's rows."""
    with matplotlib.rc_context(STYLE):
        found = curves(rows)
        figure = Figure(figsize=(13, 5.6), layout="constrained")
        axes = figure.subplots(2, len(found))
        for column, (title, (labels, numbers, seconds, peaks, slope)) in enumerate(found.items()):
            top, below = axes[0][column], axes[1][column]
            top.loglog(
                numbers, seconds, "o-", color=COLOURS[0], label=f"measured, exponent {slope}"
            )
            guide = [seconds[-1] * number / numbers[-1] for number in numbers]
            top.loglog(numbers, guide, "--", color=INK, linewidth=1, label="linear")
            top.set_title(title, fontsize=10)
            top.legend(fontsize=8)
            below.semilogx(numbers, peaks, "s-", color=COLOURS[1])
            below.set_ylim(0, 1.15 * max(peaks))
            below.set_xlabel("parameters" if labels[0].endswith("M") else title.split(" (")[0])
            for axis in (top, below):
                _ticks(axis, numbers, labels)
            top.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes[0][0].set_ylabel("Time (s)")
        axes[1][0].set_ylabel("Peak memory (GB)")
        write_text(chart, to_svg(figure, "Time and memory against number, length and size"))


def _ticks(axis: Axes, numbers: Sequence[float], labels: Sequence[str]) -> None:
    """Marks where something was measured, and nowhere between."""
    finish(axis)
    axis.grid(color=GRID, linewidth=0.6)
    axis.set_xticks(list(numbers), list(labels))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_minor_formatter(NullFormatter())


if __name__ == "__main__":
    draw(stored()["tables"]["growth"]["rows"])
