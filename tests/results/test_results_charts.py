"""Charts: the same bytes every time, well-formed, nothing lost, both colour schemes."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest
from results_sample import MemoryRun, charts_of, memory_run

from harness.compare.analysis import analyse
from harness.report.charts.curves import figure
from harness.report.charts.style import (
    COLOURS,
    DARK_PAPER,
    PAPER,
    STYLE,
    percent_limits,
    styles,
    to_svg,
)
from harness.report.charts.tradeoff import PANELS, Panel, left_out
from harness.report.columns import columns_of
from harness.runs.store import RunRows


@pytest.fixture(scope="module")
def charts() -> dict[str, str]:
    return charts_of(memory_run())


def text_of(svg: str) -> str:
    return " ".join(
        "".join(element.itertext()) for element in ET.fromstring(svg).iter() if element.text
    )


@pytest.mark.slow
def test_the_same_store_gives_the_same_bytes(charts: dict[str, str]) -> None:
    assert charts_of(memory_run()) == charts
    assert list(charts) == [
        "loss.svg", "accuracy.svg", "tradeoff.svg", "failures.svg", "speed.svg",
        "checkpoints.svg",
    ]  # fmt: skip
    assert all("<dc:date>" not in svg for svg in charts.values())


def test_axes_name_their_units_and_variants_are_named(charts: dict[str, str]) -> None:
    assert "Loss (nats per token, full text)" in text_of(charts["loss.svg"])
    assert "Right answers (%), bars: 95% intervals" in text_of(charts["accuracy.svg"])
    assert "Generation speed (tokens/s)" in text_of(charts["tradeoff.svg"])
    assert "MLX peak memory, training (GB)" in text_of(charts["tradeoff.svg"])
    assert "Generation speed (tokens/s)" in text_of(charts["speed.svg"])
    assert "unknown_column" in text_of(charts["failures.svg"])
    assert "Size on disk, base and adapter (GB)" in text_of(charts["tradeoff.svg"])
    assert "Completion loss (nats per token)" in text_of(charts["checkpoints.svg"])
    assert "Execution accuracy (%)" in text_of(charts["checkpoints.svg"])
    for name in ("lora, validation", "qlora, train", "lora, test at"):
        assert name in text_of(charts["loss.svg"])


def test_charts_have_a_title_and_a_dark_scheme(charts: dict[str, str]) -> None:
    for svg in charts.values():
        assert "prefers-color-scheme: dark" in svg
        assert "<title>" in svg or "<dc:title>" in svg


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_colour_is_visible_on_both_papers() -> None:
    # 3:1 is WCAG's bar for graphics; the light orange and blue come last and carry markers.
    for colour in COLOURS:
        assert contrast(colour, DARK_PAPER) >= 3
        assert contrast(colour, PAPER) >= 2


def test_seeds_of_a_variant_share_its_colour_and_variants_of_a_run_nothing() -> None:
    one = styles([("r", "base"), ("r", "lora"), ("r", "qlora")])
    assert len({colour for colour, _ in one}) == len({marker for _, marker in one}) == 3
    seeds = styles([("s0", "lora"), ("s0", "qlora"), ("s1", "lora"), ("s1", "qlora")])
    assert seeds[0][0] == seeds[2][0] != seeds[1][0]
    assert seeds[0][1] == seeds[1][1] != seeds[2][1]
    two_runs = styles([("s0", "lora"), ("s1", "qlora")])
    assert two_runs[0][0] != two_runs[1][0]


def drawn(name: str, *runs: MemoryRun) -> str:
    """The words of one chart."""
    columns = columns_of(runs)
    with mpl.rc_context(STYLE):
        return text_of(to_svg(figure(name, columns, analyse(runs)), name))


@pytest.mark.slow
def test_speeds_of_a_busy_machine_are_marked_and_left_out_of_the_tradeoff() -> None:
    busy = memory_run(contended=True)
    speed, tradeoff = drawn("speed.svg", busy), drawn("tradeoff.svg", busy)
    assert "lora (contended)" in speed
    assert "contended: other work ran on the machine" in speed
    assert "not compared:" in tradeoff
    assert "other work ran on the machine" in tradeoff
    assert "contended" not in drawn("speed.svg", memory_run())
    assert "other work" not in drawn("tradeoff.svg", memory_run())


def test_seeds_are_distinguished_in_bars_and_no_trial_is_cut_off() -> None:
    runs = [memory_run(f"seed{seed}", seed=seed) for seed in (0, 1)]
    columns = columns_of(runs)
    with mpl.rc_context(STYLE):
        bars = figure("failures.svg", columns, analyse(runs))
        svg = to_svg(bars, "failures")
        speeds = figure("speed.svg", columns, analyse(runs))
    hatches = [container.patches[0].get_hatch() or "" for container in bars.axes[0].containers]
    colours = [container.patches[0].get_facecolor() for container in bars.axes[0].containers]
    assert len(set(zip(colours, hatches, strict=True))) == 6
    assert len(set(colours)) == 3
    assert '[fill="#0072b2"]' in svg  # the colour behind a hatch turns light on a dark page too
    for axes, metric in zip(
        speeds.axes, ("prompt_tokens_per_s", "generation_tokens_per_s"), strict=True
    ):
        fastest = max(
            getattr(row, metric) for c in columns for row in c.run.trials(c.variant) or []
        )
        assert axes.get_xlim()[1] > 1.05 * fastest


def test_percentages_are_drawn_from_zero_to_just_above_the_largest() -> None:
    assert percent_limits([20.0, 26.5]) == pytest.approx((-0.795, 27.56))
    assert percent_limits([100.0])[1] == pytest.approx(104.0)
    assert percent_limits([])[1] == pytest.approx(10.4)


def panel(title: str) -> Panel:
    return next(one for one in PANELS if one.title.startswith(title))


def test_a_panel_leaves_out_what_has_no_common_measure() -> None:
    speed, memory = panel("Generation speed"), panel("MLX peak memory, generating")
    quiet, busy = memory_run("quiet"), memory_run("busy", contended=True)
    out = left_out(speed, columns_of([quiet, busy]))
    assert set(out) == {"busy:base", "busy:lora", "busy:qlora"}
    assert left_out(memory, columns_of([quiet, busy])) == {}
    device = quiet.results.run.device.model_dump()
    other = memory_run("other", device=device | {"chip": "Other CPU"})
    reasons = left_out(speed, columns_of([quiet, other]))
    assert set(reasons.values()) == {"timed on different machines"}
    assert len(reasons) == 6
    assert left_out(memory, columns_of([quiet, other])) == {}
    metal = memory_run("metal", device=device | {"backend": "metal", "blas": None})
    assert len(left_out(memory, columns_of([quiet, metal]))) == 6
    assert "Other CPU" in drawn("speed.svg", quiet, other)


def test_variant_names_are_text_not_markup() -> None:
    run = memory_run()
    odd = {"a<b>&$x_1$": run.results.variants["lora"]}
    other = dataclasses.replace(run, results=run.results.model_copy(update={"variants": odd}))
    charts = charts_of(other)
    for svg in charts.values():
        ET.fromstring(svg)
    assert "a<b>&$x_1$, train" in text_of(charts["loss.svg"])


def test_a_run_without_data_has_no_charts() -> None:
    run: MemoryRun = memory_run()
    bare = {
        name: result.model_copy(update={"finetune": None, "execution": None, "checkpoints": None})
        for name, result in run.results.variants.items()
    }
    results = run.results.model_copy(update={"variants": bare})
    empty = dataclasses.replace(run, results=results, rows=RunRows())
    assert charts_of(empty) == {}
