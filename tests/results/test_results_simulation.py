"""Simulated worlds: errors are rare without a difference, the stated smallest one is found, and
intervals cover. Small here; docs/statistics.md has the tables of a full run (``make simulate``).
Everything is seeded, so these tests cannot flicker.
"""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from simulate_comparisons import (
    ICCS,
    METRICS,
    PAGE,
    WORLDS,
    Setting,
    difference_coverage,
    false_verdicts,
    family_tests,
    make_worlds,
    power,
    rate_coverage,
    seed_errors,
    stated,
)

from harness.stats.paired import ALPHA, flip_test
from tests import simulated

SMALL = 1_000


def error(share: float, worlds: int) -> float:
    """Two binomial standard errors."""
    return 2 * math.sqrt(share * (1 - share) / worlds)


@pytest.mark.parametrize("tables", [8, 16])
def test_the_simulated_test_is_that_of_the_definition(tables: int) -> None:
    worlds = make_worlds(Setting(tables, 0.3, 0.2), 20, seed=9)
    p, critical = family_tests(worlds.differences)
    for world in range(20):
        real = flip_test(worlds.differences[world])
        assert p[world] == pytest.approx(real.p_family)
        if np.any(worlds.differences[world] != 0, axis=1).all():
            assert critical[world] == pytest.approx(real.critical)


def test_drawn_flips_agree_with_the_definition_within_their_own_error() -> None:
    worlds = make_worlds(Setting(60, 0.2, 0.2), 30, seed=9)
    p, _ = family_tests(worlds.differences)
    for world in range(30):
        real = np.array(flip_test(worlds.differences[world]).p_family)
        assert np.abs(p[world] - real).max() <= 4 * math.sqrt(0.25 / 1_999)


@pytest.mark.parametrize("setting", [Setting(60, 0.2, 0.2), Setting(20, 0.05, 0.5)])
def test_a_family_errs_at_most_one_time_in_twenty(setting: Setting) -> None:
    family, metrics = false_verdicts(setting, SMALL)
    assert family <= ALPHA + error(ALPHA, SMALL)
    assert max(metrics) <= family


@pytest.mark.parametrize("metric", [0, 1])
def test_the_stated_smallest_difference_is_found(metric: int) -> None:
    size = stated(Setting(60, 0.2, 0.2), metric, worlds=60)
    true = Setting(60, 0.2, 0.2, **{"ex" if metric else "loss": size})
    found = power(true, metric, SMALL)
    assert 0.8 - 1.5 * error(0.8, SMALL) <= found <= 0.95  # three standard errors
    half = Setting(60, 0.2, 0.2, **{"ex" if metric else "loss": size / 2})
    assert power(half, metric, SMALL) < 0.5 * found


def test_intervals_cover() -> None:
    for setting in (Setting(60, 0.2, 0.2, ex=0.12), Setting(20, 0.05, 0.5, ex=0.03)):
        for share in difference_coverage(setting, 400):
            assert share >= 0.93 - error(0.93, 400)
    for rate, icc in ((0.02, 0.5), (0.5, 0.0)):
        assert rate_coverage(60, rate, icc, 400) >= 0.95 - error(0.95, 400)


def test_seeds_err_rarely_and_see_what_is_stated() -> None:
    wrong, _, found = seed_errors(3, 1.0, 4_000)
    assert wrong <= ALPHA + error(ALPHA, 4_000)
    assert found == pytest.approx(0.8, abs=error(0.8, 4_000))


def documented() -> list[list[dict[str, str]]]:
    """The tables of docs/statistics.md: rows by column."""
    text = simulated.written(PAGE)
    tables = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        head, _, *rows = (
            [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()
        )
        tables.append([dict(zip(head, row, strict=True)) for row in rows])
    return tables


def percent(cell: str) -> float:
    return float(cell.rstrip("%")) / 100


def test_the_documented_tables_hold_what_is_claimed() -> None:
    errors, powers, differences, rates, seeds = documented()
    assert (len(errors), len(rates), len(seeds)) == (18, 4 * len(ICCS), 6)
    worst = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / WORLDS)  # three errors: 18 rows
    assert max(percent(row["Any of the family"]) for row in errors) <= worst
    for row in powers:
        # Ten answers that differ are a poor estimate of their own spread: statistics.md says so.
        few = (row["Tables"], row["Answers that differ"]) == ("60", "5%")
        least = 0.75 if few else 0.8 - 3 * error(0.8, WORLDS // 5) / 2
        assert percent(row["Found"]) >= least, row
    for row in differences:
        cells = [value for key, value in row.items() if ":" in key]
        assert min(map(percent, cells)) >= 0.93
    for row in rates:
        cells = [value for key, value in row.items() if key.endswith("%")]
        assert min(map(percent, cells)) >= 0.93
    for row in seeds:
        assert percent(row["Found"]) == pytest.approx(0.8, abs=0.02)
        assert percent(row["False verdicts of a family"]) <= 0.06


@pytest.mark.slow
def test_the_documented_errors_are_what_a_full_run_gives() -> None:
    settings = itertools.product((20, 60, 200), (0.05, 0.2), ICCS)
    for row, (tables, discordant, icc) in zip(documented()[0], settings, strict=True):
        family, metrics = false_verdicts(Setting(tables, discordant, icc), WORLDS)
        assert percent(row["Any of the family"]) == pytest.approx(family, abs=0.001)
        for name, share in zip(METRICS, metrics, strict=True):
            assert percent(row[name]) == pytest.approx(share, abs=0.001)
