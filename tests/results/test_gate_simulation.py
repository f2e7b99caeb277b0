"""The shipped margins on simulated equal checkpoints, and the simulation's own arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from simulate_gates import (
    ALLOWED,
    EXAMPLES,
    PAGE,
    SeedPair,
    Worlds,
    critical_values,
    judged,
    quality_rules,
    seed_pairs,
    seeds_by_variant,
    shares_table,
    simulate,
    spread_between_seeds,
    stored_runs,
)

from harness.compare.gate_power import PASSING_SHARE, examples_needed
from harness.compare.metrics import METRICS, Metric
from harness.runs.store import StoredRun, read_run
from harness.schema.results import GateRule
from harness.stats.intervals import TableSums
from harness.stats.paired import flip_test, score_interval
from tests import simulated

WORLDS = 2_000
RULES = dict(quality_rules())


@pytest.fixture(scope="module")
def seeds() -> dict[str, list[StoredRun]]:
    return seeds_by_variant([read_run(run) for run in stored_runs()])


def at_most(share: float) -> float:
    """What binomial error makes of a true share in so many worlds (two standard errors)."""
    return share + 2 * math.sqrt(share * (1 - share) / WORLDS)


@pytest.mark.parametrize("metric", RULES, ids=lambda metric: metric.key)
def test_equal_checkpoints_fail_at_most_two_percent(
    metric: Metric, seeds: dict[str, list[StoredRun]]
) -> None:
    pairs = seed_pairs(metric, seeds)
    worlds = simulate(metric, pairs, EXAMPLES[0], worlds=WORLDS)
    assert worlds.shares(RULES[metric]).failed <= at_most(ALLOWED), "make simulate, then gates.toml"


@pytest.mark.parametrize("metric", RULES, ids=lambda metric: metric.key)
def test_the_spread_in_gates_toml_is_the_stored_one(
    metric: Metric, seeds: dict[str, list[StoredRun]]
) -> None:
    measured = spread_between_seeds(seed_pairs(metric, seeds))
    # gates.toml rounds to a tenth of a point, or of a thousandth of a nat.
    step = 0.001 if metric.kind == "rate" else 0.0001
    assert RULES[metric].seed_spread == pytest.approx(measured, abs=step)


def test_four_in_five_pass_at_the_number_that_a_gate_names(
    seeds: dict[str, list[StoredRun]],
) -> None:
    metric = METRICS["ex"]
    pairs, rule = seed_pairs(metric, seeds), RULES[metric]
    error = math.sqrt(np.mean([pair.error**2 for pair in pairs]))
    needed = examples_needed(pairs[0].asked, rule.absolute, error, spread_between_seeds(pairs))
    assert needed is not None
    # Less noise in few tables: the interval of the gate is a little wider than the normal one.
    passed = simulate(metric, pairs, needed, worlds=WORLDS).shares(rule).passed
    assert passed == pytest.approx(PASSING_SHARE, abs=0.06)


def test_a_true_loss_is_what_was_asked_for(seeds: dict[str, list[StoredRun]]) -> None:
    for key, loss in (("ex", 0.05), ("completion_loss", 0.05)):
        pairs = seed_pairs(METRICS[key], seeds)
        found = simulate(METRICS[key], pairs, 2_000, loss, worlds=WORLDS)
        assert float(np.mean(found.worse)) == pytest.approx(loss, abs=0.003)


def pair_of(variant: str, differences: list[float], weights: list[float]) -> SeedPair:
    return SeedPair(
        variant, np.array(differences), np.array(weights), None, 0.5, len(weights), len(weights)
    )


def test_the_spread_between_seeds_by_hand() -> None:
    # Four tables of weight 1, differences 1, 1, 3, 3: mean 2, error √(4/3 · 4) / 4 = 0.57735.
    one = pair_of("a", [1, 1, 3, 3], [1, 1, 1, 1])
    assert one.mean == 2.0
    assert one.error == pytest.approx(math.sqrt(1 / 3))
    # (2² - 1/3) / 2 = 1.83333.
    assert spread_between_seeds([one]) == pytest.approx(math.sqrt(11 / 6))
    # Another variant whose seeds do not differ: -1/3 / 2; the mean of both, (11/3 - 1/3) / 4.
    other = pair_of("b", [1, 1, -1, -1], [1, 1, 1, 1])
    assert other.error == pytest.approx(math.sqrt(1 / 3))
    assert spread_between_seeds([one, other]) == pytest.approx(math.sqrt(10 / 12))
    assert spread_between_seeds([other]) == 0.0


def test_the_verdicts_of_a_world_are_the_gates() -> None:
    worse = np.array([0.08, 0.08, 0.02, -0.01])
    worst = np.array([0.12, 0.12, 0.06, 0.03])
    significant = np.array([True, False, False, False])
    worlds = Worlds(worse, worst, significant, np.full(4, 0.5))
    rule = GateRule(direction="higher", absolute=0.05, significance=0.05, reason="why")
    # fail; inconclusive (not beyond noise); inconclusive (the margin inside); pass.
    assert str(worlds.shares(rule)) == "25.0 / 50.0 / 25.0"
    assert worlds.margin_for(0.0) == pytest.approx(0.08)
    assert worlds.margin_for(0.25) == 0.0


@pytest.mark.parametrize("key", ["ex", "completion_loss"])
def test_interval_and_test_of_a_world_are_those_of_the_gates(
    key: str, seeds: dict[str, list[StoredRun]]
) -> None:
    metric, rng = METRICS[key], np.random.default_rng(0)
    pair = seed_pairs(metric, seeds)[0]
    drawn = rng.integers(0, len(pair.weights), (40, 60))
    differences, weights = pair.differences[drawn], pair.weights[drawn]
    tests = [flip_test(one[:, None]) for one in differences]
    exact = np.array([test.critical for test in tests])
    # The 95% quantile of 10,000 flips has a standard error of 0.02; where few answers differ it may
    # fall on the next of the few values that their sum can have.
    apart = np.abs(critical_values(differences, rng) - exact)
    assert np.mean(apart < 0.08) >= 0.9
    worse, worst, significant = judged(metric, differences, weights, exact)
    for place, (one, of) in enumerate(zip(differences, weights, strict=True)):
        whole = metric.kind == "rate"
        low, high = score_interval(TableSums(one, of), exact[place], whole=whole)
        assert worse[place] == pytest.approx(metric.sign * one.sum() / of.sum())
        assert worst[place] == pytest.approx(max(metric.sign * low, metric.sign * high))
        assert significant[place] == (tests[place].p[0] < 0.05)


def test_the_guide_shows_the_shipped_margins() -> None:
    block = simulated.written(PAGE)
    for metric, rule in RULES.items():
        line = next(line for line in block.splitlines() if line.startswith(f"| `{metric.key}`"))
        assert metric.show_amount(rule.absolute) in line, "stale: run `make simulate`"
    assert shares_table.__doc__ is not None
    assert all(f"{count:,}" in block for count in EXAMPLES)
