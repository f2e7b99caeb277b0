"""Paired comparison of stored rows, its verdicts and its words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from results_sample import (
    MemoryRun,
    compare_runs,
    compare_within,
    loss_rows,
    memory_run,
    prediction_rows,
    report_of,
    sample_rows,
)

from harness.compare.analysis import analyse
from harness.compare.cost import memory_ratios, speed_ratios
from harness.compare.gates import judge
from harness.compare.quality import compare_sides, match_sides
from harness.compare.sides import RunVariant, sides_of
from harness.compare.thresholds import load_gates
from harness.errors import UserError
from harness.report.conclusions import (
    THREE_SEEDS,
    overall_claim,
    pair_claim,
    pairs_family,
    sentence,
)
from harness.report.write import write_run
from harness.runs.store import PendingRun, RunRows, read_run
from harness.schema.power import Power
from harness.schema.results import Comparison
from harness.schema.rows import PredictionRow


def answers(marks: list[bool], tables: list[str]) -> list[PredictionRow]:
    return [
        PredictionRow(
            id=i, table_id=table, text="x", ex_official=mark, lf=mark, ex=mark, ex_strict=mark,
            ex_hardened=None, valid=True, failure=None, query=None, sql=None,
        )
        for i, (mark, table) in enumerate(zip(marks, tables, strict=True))
    ]  # fmt: skip


def pair_of(before: list[bool], after: list[bool], tables: list[str]) -> MemoryRun:
    rows = RunRows(predictions={"lora": answers(before, tables), "qlora": answers(after, tables)})
    run = memory_run()
    return dataclasses.replace(run, rows=rows)


OF_THESE = "for these sets of weights, on this data"


def test_a_run_compares_every_pair_of_its_variants_on_the_primary_family() -> None:
    found = compare_within(memory_run())
    assert [(pair.a, pair.b) for pair in found] == [
        ("base", "lora"), ("base", "qlora"), ("lora", "qlora"),
    ]  # fmt: skip
    assert [c.metric for c in found[0].primary] == ["completion_loss", "ex", "ex_hardened"]
    assert {d.metric for d in found[0].descriptive} == {
        "full_text_loss", "ex_official", "ex_strict", "lf", "valid",
    }  # fmt: skip


def test_delta_is_b_minus_a_and_lower_loss_is_better() -> None:
    loss = compare_within(memory_run())[2].primary[0]
    assert loss.delta is not None
    assert loss.delta > 0
    assert loss.verdict == "worse"


def test_fixed_and_broken_name_the_examples() -> None:
    before = [True, True, False, False] * 10
    after = [True, False, True, False] * 10
    run = pair_of(before, after, [f"t{i}" for i in range(40)])
    ex = next(c for c in compare_within(run)[0].primary if c.metric == "ex")
    assert ex.fixed == list(range(2, 40, 4))
    assert ex.broken == list(range(1, 40, 4))
    assert ex.delta == 0.0
    assert ex.verdict == "not distinguishable"


def test_the_published_kind_of_case_is_distinguished() -> None:
    # n = 220, 159 both right, 22 fixed, 7 broken: unpaired p 0.080, McNemar 0.008.
    before = [True] * 159 + [False] * 22 + [True] * 7 + [False] * 32
    after = [True] * 159 + [True] * 22 + [False] * 7 + [False] * 32
    run = pair_of(before, after, [f"t{i}" for i in range(220)])
    ex = compare_within(run)[0].primary[0]
    assert ex.p == pytest.approx(0.008, abs=0.003)
    assert ex.delta == pytest.approx(15 / 220)
    assert ex.verdict == "better"


def test_one_table_with_many_flips_is_not_evidence() -> None:
    # Ten fixed answers, all of one table: an example-wise McNemar would give p = 0.002.
    run = pair_of(
        [False] * 10 + [True] * 90, [True] * 100, ["t0"] * 10 + [f"t{i}" for i in range(1, 91)]
    )
    ex = compare_within(run)[0].primary[0]
    assert ex.p == 1.0
    assert ex.verdict == "not distinguishable"


def test_identical_answers_are_not_distinguishable_and_say_so() -> None:
    run = pair_of([True, False] * 20, [True, False] * 20, [f"t{i}" for i in range(40)])
    ex = compare_within(run)[0].primary[0]
    # Two tables that differ are added: (40 δ)² = 1.96² (2 + 40 δ²).
    assert ex.ci95 == pytest.approx((-0.07288, 0.07288), abs=1e-5)
    assert (ex.delta, ex.p, ex.verdict) == (0.0, 1.0, "not distinguishable")
    assert ex.minimum_detectable is None
    assert "did not differ on a single example" in sentence(compare_within(run)[0], ex)


def test_the_same_weights_with_the_same_answers_differ_by_nothing() -> None:
    ex = compare_runs(memory_run("a"), memory_run("b"))[1].primary[1]
    assert (ex.metric, ex.ci95) == ("ex", (0.0, 0.0))


def test_few_discordant_pairs_cannot_promise_a_small_difference() -> None:
    before = [False] * 2 + [True] * 98
    run = pair_of(before, [True] * 100, [f"t{i}" for i in range(100)])
    ex = compare_within(run)[0].primary[0]
    # The family is ex alone: six tables must flip one way before p passes 0.05, and 7.9 are
    # expected to where six do in four of five worlds.
    assert ex.minimum_detectable == pytest.approx(0.0791, abs=1e-4)


def test_runs_on_other_data_are_refused_by_field() -> None:
    a, b = memory_run("a"), memory_run("b")
    results = b.results.model_copy(
        update={"dataset": b.results.dataset.model_copy(update={"sha256": "ff" * 32})}
    )
    with pytest.raises(UserError, match=r"dataset\.sha256"):
        compare_runs(a, dataclasses.replace(b, results=results))


def test_runs_on_other_examples_are_refused_naming_the_limit() -> None:
    short = {n: prediction_rows(n)[:30] for n in ("base", "lora", "qlora")}
    other = dataclasses.replace(memory_run("b"), rows=RunRows(predictions=short))
    with pytest.raises(UserError, match="limit: 60 against 30"):
        compare_runs(memory_run("a"), other)


@pytest.mark.parametrize(("relative", "told_apart"), [(5e-7, False), (1e-4, True)])
def test_losses_that_differ_by_rounding_have_not_changed(relative: float, told_apart: bool) -> None:
    rows = sample_rows()
    moved = [
        row.model_copy(update={"completion_nll": row.completion_nll * (1 - relative)})
        for row in rows.losses["lora"]
    ]
    other = dataclasses.replace(memory_run("b"), rows=RunRows(losses={"lora": moved}))
    pair = compare_sides(RunVariant(memory_run("a"), "lora"), RunVariant(other, "lora"))
    (loss,) = [c for c in pair.primary if c.metric == "completion_loss"]
    assert loss.verdict == ("better" if told_apart else "not distinguishable")
    assert loss.p < 0.05 if told_apart else loss.p == 1.0


def test_losses_over_other_tokens_are_refused() -> None:
    rows = sample_rows()
    longer = [r.model_copy(update={"completion_tokens": 99}) for r in rows.losses["lora"]]
    other = dataclasses.replace(memory_run("b"), rows=RunRows(losses={"lora": longer}))
    with pytest.raises(UserError, match="different tokens"):
        compare_sides(RunVariant(memory_run("a"), "lora"), RunVariant(other, "lora"))


@pytest.mark.slow
def test_a_run_whose_variants_scored_other_tokens_is_written_and_its_report_says_why(
    tmp_path: Path,
) -> None:
    """The measurements are kept; only the pairs that cannot be compared are left out."""
    rows = sample_rows()
    longer = [r.model_copy(update={"completion_tokens": 99}) for r in rows.losses["lora"]]
    rows = dataclasses.replace(rows, losses={**rows.losses, "lora": longer})
    run = PendingRun(tmp_path / "a", memory_run("a").results, None, rows)
    write_run(run, analyse([run]))
    compared = {(c.a, c.b) for c in read_run(tmp_path / "a").results.comparisons}
    assert compared == {("base", "qlora")}
    report = (tmp_path / "a" / "report.md").read_text(encoding="utf-8")
    assert "base and lora scored different tokens for completion\\_loss" in report


def test_two_runs_are_matched_by_name_by_pick_or_by_being_alone() -> None:
    a, b = memory_run("a"), memory_run("b")
    assert [(x.variant, y.variant) for x, y in match_sides(a, b)] == [
        ("base", "base"), ("lora", "lora"), ("qlora", "qlora"),
    ]  # fmt: skip
    picked = dataclasses.replace(a, variant="lora"), dataclasses.replace(b, variant="qlora")
    assert [(x.variant, y.variant) for x, y in match_sides(*picked)] == [("lora", "qlora")]
    assert [(x.variant, y.variant) for x, y in match_sides(picked[0], b)] == [("lora", "lora")]
    with pytest.raises(UserError, match="both sides are run"):
        match_sides(a, a)


def test_labels_carry_the_run_where_two_runs_are_compared() -> None:
    found = compare_runs(memory_run("a"), memory_run("b"))
    assert (found[0].a, found[0].b) == ("a:base", "b:base")


def test_claims_are_about_these_weights() -> None:
    pair = compare_within(memory_run())[2]
    assert "needs three seeds or more" in pair_claim(pair)
    assert pair_claim(pair).startswith("`qlora` is worse than `lora` on")


def test_one_sentence_over_all_pairs_names_winners_and_what_is_open() -> None:
    found = compare_within(memory_run())
    assert overall_claim(found) == (
        "`lora` is better than `base` and `qlora` on completion loss, execution accuracy and "
        "hardened execution accuracy; and `qlora` is better than `base` on completion loss, "
        f"execution accuracy and hardened execution accuracy ({OF_THESE}; {THREE_SEEDS})."
    )
    open_ = dataclasses.replace(
        found[2],
        primary=[
            c.model_copy(update={"verdict": "not distinguishable"}) if "ex" in c.metric else c
            for c in found[2].primary
        ],
    )
    assert overall_claim([found[0], open_]) == (
        "`lora` is better than `base` on completion loss, execution accuracy and hardened "
        "execution accuracy; `lora` is better than `qlora` on completion loss; and no difference "
        "is shown between `lora` and `qlora` on execution accuracy and hardened execution "
        f"accuracy, which is not evidence of none ({OF_THESE}; {THREE_SEEDS})."
    )
    assert overall_claim(found[2:]) == pair_claim(found[2])
    assert overall_claim([]) == ""


def test_losses_share_their_examples_in_the_sample() -> None:
    assert [r.completion_tokens for r in loss_rows("lora")] == [
        r.completion_tokens for r in loss_rows("qlora")
    ]


def mixed(seed: int) -> MemoryRun:
    """A run of this seed with enough tables for drawn flips, and a middling difference."""
    draw = np.random.default_rng(8).random(120)
    before, after = [bool(x < 0.5) for x in draw], [bool(x < 0.42 or x > 0.97) for x in draw]
    rows = pair_of(before, after, [f"t{i}" for i in range(120)]).rows
    return dataclasses.replace(memory_run(f"r{seed}", seed=seed), rows=rows)


def exact(records: list[Comparison]) -> list[tuple[object, ...]]:
    return [(c.metric, abs(c.delta or 0), c.p, c.p_family) for c in records]


def test_the_same_comparison_has_the_same_p_for_every_caller() -> None:
    run = mixed(3)
    lora, qlora = RunVariant(run, "lora"), RunVariant(run, "qlora")
    here = compare_sides(lora, qlora).primary
    # The flips belong to the definition: no run's seed changes a p.
    zero = mixed(0)
    assert compare_sides(RunVariant(zero, "lora"), RunVariant(zero, "qlora")).primary == here
    assert compare_within(run)[0].primary == here
    assert analyse([run]).pairs[0].primary == here
    # In the other order, and where both sides carry another seed.
    assert exact(compare_sides(qlora, lora).primary) == exact(here)
    other = dataclasses.replace(mixed(5), rows=run.rows)
    assert exact(compare_sides(lora, RunVariant(other, "qlora")).primary) == exact(here)
    assert exact(compare_sides(RunVariant(other, "qlora"), lora).primary) == exact(here)
    picked = [dataclasses.replace(run, variant=name) for name in ("qlora", "lora")]
    gate = judge(picked[0], picked[1], {"ex": load_gates()["ex"]})[0]
    assert f"p {here[0].p:.3g}," in gate.reason


def test_every_row_names_its_run_where_several_are_compared() -> None:
    runs = [memory_run(f"r-seed{seed}", seed=seed) for seed in (0, 1)]
    found = analyse(runs).pairs
    labels = {(pair.a, pair.b) for pair in found}
    assert len(labels) == len(found) == 6
    assert ("r-seed1:lora", "r-seed1:qlora") in labels
    report = report_of(*runs)
    assert "| `r-seed0:qlora` − `r-seed0:lora` |" in report
    paired = report.partition("### Paired")[2].partition("### Across seeds")[0]
    assert "| `qlora` − `lora` |" not in paired
    assert "`r-seed1:qlora` / `r-seed1:lora`" in report
    assert "`r-seed1:qlora` / `r-seed0:lora`" not in report


def test_runs_of_one_name_are_distinguished_by_their_folders() -> None:
    a, b = memory_run("ci"), dataclasses.replace(memory_run("ci"), folder=Path("elsewhere/ci"))
    labels = [side.label(side) for side in sides_of([a, b, b])]
    assert len(set(labels)) == len(labels) == 6
    assert "elsewhere/ci:lora" in labels


def test_a_claim_over_pairs_is_a_sentence() -> None:
    found = compare_within(memory_run())
    undecided = [
        dataclasses.replace(
            pair,
            primary=[
                c.model_copy(update={"verdict": "not distinguishable"}) for c in pair.primary[:1]
            ],
        )
        for pair in found
    ]
    assert overall_claim(undecided) == (
        "No difference is shown between `base` and `lora`, between `base` and `qlora` or between "
        "`lora` and `qlora` on completion loss, which is not evidence of none "
        f"({OF_THESE}; {THREE_SEEDS})."
    )


def test_the_family_that_was_tested_is_the_one_named() -> None:
    run = memory_run()
    assert pairs_family(compare_within(run)) == (
        "unit: 20 tables · step-down over completion loss, ex and ex_hardened of each pair; "
        "3 pairs, not corrected for one another"
    )
    rows = RunRows(predictions=run.rows.predictions)
    lost = compare_within(dataclasses.replace(run, rows=rows))
    assert pairs_family(lost[:1]) == (
        "unit: 20 tables · step-down over ex and ex_hardened of each pair (no completion loss: "
        "base and lora have no stored losses)"
    )
    soft = {
        name: [row.model_copy(update={"ex_hardened": None}) for row in found]
        for name, found in run.rows.predictions.items()
    }
    plain = compare_within(dataclasses.replace(run, rows=RunRows(run.rows.losses, soft)))
    assert pairs_family(plain[:1]) == (
        "unit: 20 tables · step-down over completion loss and ex of each pair (no ex_hardened: no "
        "answer has that grade in both)"
    )
    alone = compare_within(dataclasses.replace(run, rows=RunRows(losses=run.rows.losses)))
    assert pairs_family(alone[2:]) == (
        "unit: 20 tables · completion loss alone, so without a correction (no ex or ex_hardened: "
        "lora and qlora have no stored answers)"
    )
    assert alone[2].primary[0].p == alone[2].primary[0].p_family
    both = pairs_family([*compare_within(run)[:1], *alone[2:]])
    assert "`lora` − `base`: step-down over completion loss, ex and ex_hardened; " in both


def test_a_speed_that_was_not_taken_is_called_that() -> None:
    run = memory_run()
    untimed = dataclasses.replace(memory_run("busy", contended=True), rows=RunRows(run.rows.losses))
    found = speed_ratios(RunVariant(untimed, "lora"), RunVariant(untimed, "qlora"))
    assert {(r.ratio, r.reason) for r in found} == {(None, "lora and qlora were not timed")}
    found = speed_ratios(RunVariant(run, "lora"), RunVariant(untimed, "lora"))
    assert {r.reason for r in found} == {"busy:lora was not timed"}
    busy = memory_run("busy", contended=True)
    found = speed_ratios(RunVariant(busy, "lora"), RunVariant(busy, "qlora"))
    assert {r.reason for r in found} == {"the machine was busy while timing (contended)"}


def power(**state: Any) -> Power:
    known = {"source": None, "mode": None, "power_limit_w": None, "gpu_clock_mhz": 1980.0}
    return Power(**(known | {"throttled": []} | state))


def in_state(name: str, state: Power | None, **device: Any) -> RunVariant:
    """lora of a run whose timings were taken on that device, in that power state."""
    run = memory_run(name, contended=bool(state and state.throttled))
    lora = run.results.variants["lora"]
    assert lora.throughput is not None
    timed = lora.throughput.model_copy(update={"power": state, "measured_at": name})
    variants = run.results.variants | {"lora": lora.model_copy(update={"throughput": timed})}
    machine = run.results.run.device.model_copy(update=device)
    record = run.results.run.model_copy(update={"device": machine})
    results = run.results.model_copy(update={"variants": variants, "run": record})
    return RunVariant(dataclasses.replace(run, results=results), "lora")


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (power(source="mains"), power(source="mains", mode="performance"), ""),
        (power(source="mains"), None, ""),  # a run that did not record it
        (power(source="mains"), power(source="battery"), "power states (on mains; on battery)"),
        (
            power(mode="automatic"),
            power(mode="low power mode"),
            "power states (automatic; low power mode)",
        ),
        (
            power(power_limit_w=700.0),
            power(power_limit_w=350.0),
            "power states (limited to 700 W; limited to 350 W)",
        ),
        (
            power(source="mains"),
            power(source="mains", throttled=["thermal pressure heavy"]),
            "the machine was slowed down (thermal pressure heavy) while timing (contended)",
        ),
    ],
)
def test_timings_of_unlike_power_states_are_not_compared(
    one: Power, other: Power | None, reason: str
) -> None:
    a, b = in_state("one", one), in_state("other", other)
    for found in speed_ratios(a, b):
        assert reason in found.reason
        assert bool(found.reason) == bool(reason)
    rules = {"generation_tokens_per_s": load_gates()["generation_tokens_per_s"]}
    (verdict,) = [
        gate
        for gate in judge(b.run, a.run, rules)
        if (gate.variant, gate.metric) == ("lora", "generation_tokens_per_s")
    ]
    assert (verdict.verdict == "skipped") == bool(reason)
    assert ("power state" in verdict.reason) == ("power state" in reason)


@pytest.mark.parametrize(
    ("device", "named"),
    [
        ({"gpu_cores": 30}, "40 GPU cores"),
        ({"memory_bytes": 128 * 2**30}, "137.4 GB"),
        ({"chip": "Apple M4 Max"}, "Apple M4 Max"),
    ],
)
def test_chips_of_one_name_are_not_one_machine(device: dict[str, Any], named: str) -> None:
    mac = {"backend": "metal", "chip": "Apple M3 Max", "blas": None, "gpu_cores": 40}
    mac |= {"memory_bytes": 36 * 2**30}
    a, b = in_state("one", None, **mac), in_state("other", None, **mac)
    assert {found.reason for found in speed_ratios(a, b)} == {""}
    b = in_state("other", None, **(mac | device))
    for found in speed_ratios(a, b):
        assert found.reason.startswith("timed on different machines")
        assert named in found.reason


def test_a_ratio_and_its_interval_are_of_one_estimator() -> None:
    run = memory_run()
    for found in speed_ratios(RunVariant(run, "lora"), RunVariant(run, "qlora")):
        before, after = (
            np.array([getattr(row, found.metric) for row in run.rows.trials[name]])
            for name in ("lora", "qlora")
        )
        assert found.paired
        assert found.ratio == pytest.approx(np.exp(np.log(after / before).mean()))
        assert found.ci95 is not None
        # Student's t on the logarithms: the ratio is the middle of its interval there.
        assert found.ratio == pytest.approx((found.ci95[0] * found.ci95[1]) ** 0.5)


def test_one_cached_timing_is_no_second_measurement() -> None:
    found = speed_ratios(RunVariant(memory_run("a"), "lora"), RunVariant(memory_run("b"), "lora"))
    assert {(r.ratio, r.reason) for r in found} == {(None, "the same measurement, cached")}


def test_memory_of_another_number_of_ranks_gives_no_ratio() -> None:
    two = memory_run("two", distributed={"size": 2})
    found = memory_ratios(RunVariant(memory_run("one"), "lora"), RunVariant(two, "lora"))
    assert {(r.ratio, r.reason) for r in found} == {(None, "another number of ranks (1, 2)")}
