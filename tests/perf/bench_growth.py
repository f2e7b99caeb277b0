"""Growth of time and memory with examples, length and model size: a table and a chart."""

from __future__ import annotations

import math

from bench_model import child, skip_if_there
from growth_chart import draw
from table import keep_table

SWEEPS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("scored", "predictions scored", (100, 1_000, 10_000)),
    ("prompts", "prompts answered (tiny)", (100, 300, 1_000)),
    ("length", "tokens a row, test loss (smollm2)", (64, 128, 256, 512)),
    ("size", "width of a random llama, test loss", (256, 512, 768)),
)


def test_growth() -> None:
    skip_if_there("growth")
    rows = []
    for what, title, points in SWEEPS:
        found = [child(what, str(point)) for point in points]
        seconds = [timed["warm"] if what == "scored" else timed["seconds"] for timed in found]
        grown = [timed.get("parameters", n) for timed, n in zip(found, points, strict=True)]
        for timed, n, second, size in zip(found, points, seconds, grown, strict=True):
            label = f"{n} ({size / 1e6:.0f}M parameters)" if what == "size" else str(n)
            rows.append(
                (
                    title,
                    label,
                    f"{second:.2f} s",
                    f"{1e3 * second / n:.3g} ms",
                    f"{timed['bytes'] / 1e9:.2f} GB",
                )
            )
        slope = exponent(grown, seconds)
        rows.append((title, "exponent of the time", f"{slope:.2f}", "", ""))
    draw(rows)
    keep_table(
        "growth",
        "Growth",
        ("what", "number", "time", "time / number", "peak memory"),
        rows,
        "![Time and memory against number, length and size, logarithmic axes](growth.svg)\n\n"
        "An exponent of 1 is linear (model size: against parameters). Memory is the process's "
        "resident set while scoring, MLX's peak elsewhere. Scoring: gold results at hand. "
        "Of longer rows a token costs more: attention's scores grow with the square, though those "
        "beyond the diagonal are not computed.",
    )


def exponent(numbers: list[int], seconds: list[float]) -> float:
    """Of the power law between the two largest points."""
    (a, b), (s, t) = numbers[-2:], seconds[-2:]
    return math.log(t / s) / math.log(b / a)
