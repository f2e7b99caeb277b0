"""Growth of time and memory with examples, length and model size: a table and a chart."""

from __future__ import annotations

import math
from typing import Any

from bench_model import child, skip_if_there
from table import ROOT, keep_table

CHART = ROOT / "results" / "growth.svg"

SWEEPS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("scored", "predictions scored", (100, 1_000, 10_000)),
    ("prompts", "prompts answered (tiny)", (100, 300, 1_000)),
    ("length", "tokens a row, test loss (smollm2)", (64, 128, 256, 512)),
    ("size", "width of a random llama, test loss", (256, 512, 768)),
)


def test_growth() -> None:
    skip_if_there("growth")
    rows, curves = [], []
    for what, title, points in SWEEPS:
        found = [child(what, str(point)) for point in points]
        seconds = [told["warm"] if what == "scored" else told["seconds"] for told in found]
        grown = [told.get("parameters", n) for told, n in zip(found, points, strict=True)]
        for told, n, second, size in zip(found, points, seconds, grown, strict=True):
            label = f"{n} ({size / 1e6:.0f}M parameters)" if what == "size" else str(n)
            rows.append(
                (
                    title,
                    label,
                    f"{second:.2f} s",
                    f"{1e3 * second / n:.3g} ms",
                    f"{told['bytes'] / 1e9:.2f} GB",
                )
            )
        slope = exponent(grown, seconds)
        rows.append((title, "exponent of the time", f"{slope:.2f}", "", ""))
        curves.append((title, grown, seconds, [told["bytes"] for told in found], slope))
    draw(curves)
    keep_table(
        "growth",
        "Growth",
        ("what", "number", "time", "time / number", "peak memory"),
        rows,
        "![Time and memory against number, length and size, logarithmic axes](growth.svg)\n\n"
        "An exponent of 1 is linear (model size: against parameters). Memory is the process's "
        "resident set while scoring, MLX's peak elsewhere. Scoring: gold results at hand.",
    )


def exponent(numbers: list[int], seconds: list[float]) -> float:
    """Of the power law between the two largest points."""
    (a, b), (s, t) = numbers[-2:], seconds[-2:]
    return math.log(t / s) / math.log(b / a)


def draw(curves: list[Any]) -> None:
    """Two panels a sweep: seconds and gigabytes, logarithmic, with a linear guide."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.4), layout="constrained")
    axes = figure.subplots(2, len(curves))
    for column, (title, numbers, seconds, peaks, slope) in enumerate(curves):
        top, below = axes[0][column], axes[1][column]
        top.loglog(numbers, seconds, "o-", color="#1f6feb", label=f"measured, n^{slope:.2f}")
        guide = [seconds[-1] * n / numbers[-1] for n in numbers]
        top.loglog(numbers, guide, "--", color="#8b949e", label="linear")
        top.set_title(title, fontsize=9)
        top.legend(fontsize=7, frameon=False)
        below.semilogx(numbers, [peak / 1e9 for peak in peaks], "o-", color="#bf8700")
        below.set_ylim(bottom=0)
        for axis in (top, below):
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(labelsize=7)
    axes[0][0].set_ylabel("seconds", fontsize=8)
    axes[1][0].set_ylabel("peak GB", fontsize=8)
    figure.savefig(CHART, metadata={"Date": None})
