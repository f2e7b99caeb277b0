"""Across seeds: spread, per-seed differences, and conclusions on methods."""

from __future__ import annotations

import dataclasses

import pytest
from results_sample import MemoryRun, memory_run, report_of

from harness.compare.analysis import analyse
from harness.compare.seeds import seed_differences, seed_runs
from harness.report.comparison import render_seeds
from harness.report.conclusions import seed_claim, seeds_family
from harness.report.tables.comparison_tables import seed_summary


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


def test_per_seed_differences_by_hand() -> None:
    runs = [run_of(0, 0.60, 0.50), run_of(1, 0.62, 0.56), run_of(2, 0.64, 0.56)]
    ex = next(d for d in seed_differences(runs) if d.metric == "ex")
    assert ex.mean == pytest.approx(-0.08)
    assert ex.spread == pytest.approx(0.02)
    # t(0.975, 2) = 4.302653; half width 4.302653 * 0.02 / sqrt(3) = 0.04968
    assert ex.ci95 == pytest.approx((-0.08 - 0.049683, -0.08 + 0.049683), abs=1e-5)
    # t = -0.08 / (0.02 / sqrt(3)) = -6.9282; for two degrees of freedom the two-sided p is
    # 1 - |t| / sqrt(2 + t**2) = 1 - 6.9282 / 7.0711.
    assert ex.p == pytest.approx(0.02020, abs=1e-4)
    # The other two metrics are those of one store: without spread, p 0, ahead of ex in Holm.
    assert ex.p_holm == ex.p
    assert ex.exceeds
    assert "`qlora` is worse than `lora` beyond the spread between 3 seeds" in seed_summary(
        analyse(runs)
    )


def test_a_difference_within_the_spread_is_said_to_be() -> None:
    runs = [run_of(0, 0.60, 0.50), run_of(1, 0.50, 0.60), run_of(2, 0.55, 0.56)]
    assert "On execution accuracy, `qlora` and `lora` are not shown to differ by more than" in (
        seed_summary(analyse(runs))
    )


def test_two_seeds_say_nothing_of_methods() -> None:
    text = seed_summary(analyse([run_of(0, 0.6, 0.5), run_of(1, 0.6, 0.5)]))
    assert "2 seeds are too few to speak of methods" in text


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
    assert "stand under several seeds, so they say nothing of methods" in seed_summary(
        analyse(shared)
    )
    assert any(d.exceeds for d in seed_differences(runs))


def test_the_family_across_seeds_is_the_one_named() -> None:
    runs = [run_of(0, 0.60, 0.50), run_of(1, 0.62, 0.51), run_of(2, 0.64, 0.54)]
    assert seeds_family(seed_differences(runs)) == (
        "Holm over completion loss, ex and ex_hardened of each pair"
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
        "Holm over ex and ex_hardened of each pair (no completion loss: not measured under every "
        "seed)"
    )
    assert seeds_family(seed_differences(runs[:2])).startswith("no test: fewer than three")


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
    assert page.count("Student's t over seeds") == 1  # one line, as the runs share it
    assert "<sub>`r-seed0`, `r-seed1`, `r-seed2` · " in page
    assert "Sample CPU" in page
