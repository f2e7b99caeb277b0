"""How every chart looks: colours, markers, and SVG that reads in light and dark.

Colours are Okabe & Ito's, which colour-blind readers can distinguish, and every variant has a
marker of its own. Input: a matplotlib figure -> output: SVG text, the same bytes for the same
figure (fixed hash salt, no date).
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from harness.markdown import visible
from harness.report.columns import Column
from harness.stats.rates import Interval

BUSY = "other work ran on the machine"
"""What a contended timing is called in charts."""

INK, GRID, PAPER = "#1f2328", "#d1d9e0", "#ffffff"
DARK_INK, DARK_GRID, DARK_PAPER = "#e6edf3", "#3d444d", "#0d1117"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DARK_BLUE = "#4ea3dd"
"""Stands in for the first colour on a dark page, where that one is faint."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "///", "...", "xxx", "---", "+++", "ooo", "|||")
"""For bars, which have no marker: by the place of the marker, where two share a colour."""

MOST_CHARACTERS = 70
"""Of a label, which else would leave no room to draw."""

STYLE: dict[str, Any] = {
    "svg.hashsalt": "tunebench",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def to_svg(made: Figure, title: str) -> str:
    """A figure as SVG text with a title for screen readers and a style sheet for dark pages."""
    stream = io.StringIO()
    FigureCanvasSVG(made)
    made.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    drawn = visible(stream.getvalue())
    text = "\n".join(line.rstrip() for line in drawn.rstrip("\n").split("\n")) + "\n"
    start = text.index("<defs>")
    return f"{text[:start]}{_dark_style()}{text[start:]}"


def _dark_style() -> str:
    rules = "".join(
        # Hatches carry their colours as attributes.
        f'[style*="{kind}: {light}"],[{kind}="{light}"]{{{kind}:{dark}!important}}'
        for light, dark in (
            (INK, DARK_INK),
            (GRID, DARK_GRID),
            (PAPER, DARK_PAPER),
            (COLOURS[0], DARK_BLUE),
        )
        for kind in ("fill", "stroke")
    )
    return f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>\n "


def in_a_chart(label: str) -> str:
    """A label of any origin with ⟨U+001B⟩ for each character that is obeyed or has no sign, for the
    charts' font has no pictures of control characters; what would leave no room is cut out."""
    shown = "".join(
        f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029" else c
        for c in label
    )
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[:45]}…{shown[-24:]}"


def styled(columns: Sequence[Column]) -> list[tuple[str, str, Column]]:
    """Every column behind its colour and marker, which are the same in all charts."""
    found = styles([(column.run.id, column.variant) for column in columns])
    return [(*style, column) for style, column in zip(found, columns, strict=True)]


def styles(names: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Colour and marker of every column, given as (run, variant).

    Within a run each variant has both to itself. Where runs share variants (seeds), the colour is
    the variant's and the marker the run's.
    """
    variants = list(dict.fromkeys(variant for _, variant in names))
    runs = list(dict.fromkeys(run for run, _ in names))
    shared = len(variants) < len(names)
    found = []
    for place, (run, variant) in enumerate(names):
        colour = variants.index(variant) if shared else place
        marker = runs.index(run) if shared else place
        found.append((COLOURS[colour % len(COLOURS)], MARKERS[marker % len(MARKERS)]))
    return found


def legend_below(made: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """A legend under the axes, in as many columns as fit, in a strip of its own."""
    width, height = made.get_size_inches()
    longest = max((len(label) for label in labels), default=1)
    columns = max(1, min(len(labels), int(width / (0.07 * longest + 0.6))))
    lines = -(-len(labels) // columns)
    # Filled column by column: even columns keep what belongs together together.
    columns = -(-len(labels) // lines) if labels else 1
    made.set_size_inches(width, height + 0.22 * lines)
    made.legend(handles, labels, loc="outside lower center", ncols=columns)


def marks(colour: str, marker: str, size: float, **more: Any) -> dict[str, Any]:
    """What makes matplotlib draw points alone, without a line through them."""
    return {"linestyle": "none", "color": colour, "marker": marker, "markersize": size, **more}


def finish(axes: Axes) -> None:
    """Grid behind the data."""
    axes.grid(visible=True, linewidth=0.6)
    axes.set_axisbelow(True)


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Rows from above downwards, each with its label; the grid for values alone."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    finish(axes)
    axes.grid(visible=False, axis="y")


def in_percent(interval: Interval | None) -> Interval | None:
    """An interval of rates in percent."""
    return None if interval is None else (100 * interval[0], 100 * interval[1])


def percent_limits(values: Iterable[float], margin: float = 0.04) -> tuple[float, float]:
    """Ends of an axis of percentages: from zero to a little above the largest value drawn.

    Args:
        values: every percentage drawn, interval ends included.
        margin: space left free above the largest value, as a share of it.
    """
    top = min(100.0, max([10.0, *values]))
    return -0.03 * top, top * (1 + margin)
