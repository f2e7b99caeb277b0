"""Across seeds: spread, per-seed differences, and conclusions on methods."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from results_sample import MemoryRun, memory_run, report_of
from scipy import stats

from harness.compare.analysis import analyse
from harness.compare.seeds import NO_SPREAD, SeedDifference, seed_differences, seed_runs
from harness.report.comparison import render_seeds
from harness.report.conclusions import seed_claim, seeds_family
from harness.report.tables.comparison_tables import seed_summary
from harness.stats.welch import Welch, welch


def run_of(seed: int, lora: float, qlora: float) -> MemoryRun:
    """A run of a seed with these execution accuracies."""
    run = memory_run(f"r-seed{seed}", seed=seed)
    variants = {}
    for name, ex in (("lora", lora), ("qlora", qlora)):
        result = run.results.variants[name]
        assert result.execution is not None
        execution = result.execution.model_copy(update={"ex": ex})
        variants[name] = result.model_copy(update={"execution": execution})
    return dataclasses.replace(run, results=run.results.model_copy(update={"variants": variants}))


def ex_of(runs: list[MemoryRun]) -> SeedDifference:
    """The difference of qlora and lora in ex."""
    found = [d for d in seed_differences(runs) if (d.a, d.b, d.metric) == ("lora", "qlora", "ex")]
    return found[0]


def test_welchs_t_of_the_seeds_by_hand() -> None:
    ex = ex_of([run_of(0, 0.60, 0.50), run_of(1, 0.62, 0.58), run_of(2, 0.64, 0.54)])
    # Means 0.62 and 0.54, variances 0.0004 and 0.0016: error sqrt(0.002 / 3), t = -3.0984; degrees
    # of freedom 0.002^2 / ((0.0004^2 + 0.0016^2) / 2) = 2.94118.
    assert ex.mean == pytest.approx(-0.08)
    assert ex.p == pytest.approx(2 * stats.t.sf(0.08 / math.sqrt(0.002 / 3), 0.000004 / 1.36e-6))
    reference = stats.ttest_ind([0.50, 0.58, 0.54], [0.60, 0.62, 0.64], equal_var=False)
    assert ex.p == pytest.approx(reference.pvalue)
    # The other two metrics are those of one store: no spread on either side, so a family of one.
    assert ex.p_holm == ex.p
    assert ex.ci95 == pytest.approx(tuple(reference.confidence_interval(0.95)))


def test_the_interval_over_seeds_is_that_of_holms_first_step() -> None:
    test = welch([0.60, 0.62, 0.64], [0.50, 0.58, 0.54])
    assert test is not None
    for alpha in (0.05, 0.05 / 3):
        low, high = test.interval(alpha)
        assert (test.p < alpha) == (not low <= 0.0 <= high)
    wide, narrow = test.interval(0.05 / 3), test.interval(0.05)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_what_so_many_seeds_can_see() -> None:
    # A spread of 2.15 points in both. Were the variances known to be equal, the noncentral t would
    # give 9.0 points with three seeds; Welch's test has to estimate both, and sees 11.3.
    three = Welch(0.088, (0.0215**2, 0.0215**2), (3, 3))
    detectable = three.minimum_detectable(0.05 / 3)
    error = 0.0215 * math.sqrt(2 / 3)
    assert stats.nct.sf(stats.t.isf(0.05 / 6, 4), 4, 0.09 / error) == pytest.approx(0.8, abs=0.01)
    five = three.minimum_detectable(0.05 / 3, 5 / 3)
    assert (round(detectable, 3), round(five, 3)) == (0.113, 0.056)
    # By simulation, 20,000 worlds: standard error 0.3 points.
    draws = np.random.default_rng(1).normal(0.0, 0.0215, (2, 20_000, 3))
    p = stats.ttest_ind(draws[0] + detectable, draws[1], axis=1, equal_var=False).pvalue
    assert (p < 0.05 / 3).mean() == pytest.approx(0.8, abs=0.01)
    # One constant: Student's t of one sample, two degrees of freedom.
    constant = Welch(0.05, (0.0, 0.04**2), (3, 3))
    found = constant.minimum_detectable(0.05 / 3) / (0.04 / math.sqrt(3))
    assert stats.nct.sf(stats.t.isf(0.05 / 6, 2), 2, found) == pytest.approx(0.8, abs=0.02)
    needed = three.seeds_needed(0.05 / 3)
    assert needed == 4
    assert three.minimum_detectable(0.05 / 3, 4 / 3) <= 0.088 < detectable
    assert Welch(0.0001, (1.0, 1.0), (3, 3)).seeds_needed(0.05) is None


def test_a_variant_that_no_seed_changes_is_a_constant() -> None:
    # One sample: t = (0.54 - 0.60) / (0.04 / sqrt(3)), two degrees of freedom.
    test = welch([0.60, 0.60, 0.60], [0.50, 0.58, 0.54])
    assert test is not None
    assert test.p == pytest.approx(stats.ttest_1samp([0.50, 0.58, 0.54], 0.60).pvalue)
    ex = ex_of([run_of(seed, 0.6, value) for seed, value in enumerate([0.50, 0.58, 0.54])])
    assert ex.p == pytest.approx(test.p)


def test_no_spread_on_both_sides_gives_no_verdict() -> None:
    same = ex_of([run_of(seed, 0.60, 0.50) for seed in range(3)])
    assert (same.p, same.exceeds) == (None, False)
    assert same.reason == NO_SPREAD
    assert "no seed changes the value of either" in seed_summary(
        analyse([run_of(seed, 0.60, 0.50) for seed in range(3)])
    )


def test_a_difference_within_the_spread_says_what_would_settle_it() -> None:
    runs = [run_of(0, 0.60, 0.50), run_of(1, 0.50, 0.60), run_of(2, 0.55, 0.56)]
    text = seed_summary(analyse(runs))
    assert "On execution accuracy, `qlora` is not shown to differ from `lora` by more than" in text
    assert "with 3 seeds a true difference of" in text
    assert "one of the size seen would take more than a hundred times as many" in text


def test_two_seeds_say_nothing_of_methods() -> None:
    text = seed_summary(analyse([run_of(0, 0.6, 0.5), run_of(1, 0.6, 0.5)]))
    assert "2 seeds are too few, 3 are needed; nothing may be said of the methods" in text


def test_only_seeds_of_one_setting_are_summarized() -> None:
    assert seed_runs([run_of(0, 0.6, 0.5)]) == []
    assert seed_runs([run_of(0, 0.6, 0.5), run_of(0, 0.6, 0.5)]) == []
    ordered = seed_runs([run_of(2, 0.6, 0.5), run_of(1, 0.6, 0.5)])
    assert [run.results.run.seed for run in ordered] == [1, 2]


def test_runs_that_were_trained_otherwise_are_no_seeds_of_one_setting() -> None:
    runs = [run_of(0, 0.60, 0.50), run_of(1, 0.62, 0.56), run_of(2, 0.64, 0.56)]

    def third(**changed: object) -> MemoryRun:
        lora = runs[2].results.variants["lora"]
        other = lora.model_copy(update={"config": {**lora.config, **changed}})
        variants = {**runs[2].results.variants, "lora": other}
        results = runs[2].results.model_copy(update={"variants": variants})
        return dataclasses.replace(runs[2], results=results)

    assert seed_runs(runs) == runs
    assert seed_runs([*runs[:2], third(iters=80)]) == []
    assert len(seed_runs([*runs[:2], third(save_every=10, val_batches=-1)])) == 3


def test_seeds_that_share_their_weights_say_nothing_of_methods() -> None:
    runs = [run_of(0, 0.60, 0.50), run_of(1, 0.62, 0.51), run_of(2, 0.64, 0.54)]
    given = runs[0].results.variants
    shared = []
    for run in runs:
        variants = {
            name: result.model_copy(update={"adapter": given[name].adapter})
            for name, result in run.results.variants.items()
        }
        results = run.results.model_copy(update={"variants": variants})
        shared.append(dataclasses.replace(run, results=results))
    found = seed_differences(shared)
    assert {(d.p, d.ci95, d.exceeds) for d in found} == {(None, None, False)}
    assert seed_claim(found, 3) == (
        "Nothing may be claimed of the methods: the same weights stand under several seeds."
    )
    assert "stand under several seeds; nothing may be said of the methods" in seed_summary(
        analyse(shared)
    )
    assert any(d.exceeds for d in seed_differences(runs))


def test_the_family_across_seeds_is_the_one_named() -> None:
    runs = [run_of(0, 0.60, 0.50), run_of(1, 0.62, 0.51), run_of(2, 0.64, 0.54)]
    assert seeds_family(seed_differences(runs)) == (
        "ex alone, so without a correction (no completion loss or ex_hardened: no seed changes the "
        "value of either, so there is no spread to test against)"
    )
    bare = []
    for run in runs:
        variants = {
            name: result.model_copy(update={"loss": None})
            for name, result in run.results.variants.items()
        }
        results = run.results.model_copy(update={"variants": variants})
        bare.append(dataclasses.replace(run, results=results))
    assert seeds_family(seed_differences(bare)) == (
        "ex alone, so without a correction (no completion loss: not measured under every seed; no "
        "ex_hardened: no seed changes the value of either, so there is no spread to test against)"
    )
    assert seeds_family(seed_differences(runs[:2])).startswith("no test: 2 seeds are too few")


def test_one_sentence_concludes_on_methods() -> None:
    runs = [run_of(0, 0.60, 0.50), run_of(1, 0.62, 0.56), run_of(2, 0.64, 0.56)]
    both = [d for d in seed_differences(runs) if "base" not in (d.a, d.b)]
    assert seed_claim([d for d in both if d.metric == "ex"], 3) == (
        "Over 3 seeds, with this model and data: `lora` is better than `qlora` on execution "
        "accuracy by more than seeds differ."
    )
    within = [run_of(0, 0.60, 0.50), run_of(1, 0.50, 0.60), run_of(2, 0.55, 0.56)]
    ex = [d for d in seed_differences(within) if d.metric == "ex" and "base" not in (d.a, d.b)]
    assert (
        "beyond the spread of seeds is shown on execution accuracy, which is not evidence"
        in seed_claim(ex, 3)
    )
    assert "2 seeds are too few" in seed_claim(seed_differences(runs[:2]), 2)
    assert seed_claim([], 3) == ""


def test_a_report_over_seeds_claims_of_methods_and_compares_within_seeds() -> None:
    runs = [run_of(0, 0.60, 0.50), run_of(1, 0.62, 0.56), run_of(2, 0.64, 0.56)]
    report = report_of(*runs)
    assert "**What may be claimed.** Over 3 seeds, with this model and data:" in report
    assert "`r-seed0:qlora` − `r-seed1" not in report


def test_the_page_of_seeds_says_where_its_numbers_come_from() -> None:
    runs = [run_of(0, 0.60, 0.50), run_of(1, 0.62, 0.56), run_of(2, 0.64, 0.56)]
    page = render_seeds("three", analyse(runs))
    assert page.startswith("# three, seeds 0, 1, 2\n\n| Variant")
    assert page.count("Welch's t on one value a seed") == 1  # one line, as the runs share it
    assert "<sub>`r-seed0`, `r-seed1`, `r-seed2` · " in page
    assert "Sample CPU" in page
