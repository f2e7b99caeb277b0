"""What gates come to, how many examples they need, moved margins, the examples that changed."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from results_sample import MemoryRun, memory_run, prediction_rows, renamed, sample_rows

from harness.cli.runs import gate_command
from harness.compare.analysis import analyse
from harness.compare.gate_power import examples_needed, passing_share
from harness.compare.gates import judge, outcome
from harness.compare.thresholds import load_gates
from harness.data.sources.resolve import resolve_dataset
from harness.report.changed_examples import SHOWN, as_markdown, as_text, changed_examples
from harness.report.report import job_summary, render_report
from harness.report.tables.gate_tables import headline
from harness.runs.store import RunRows, read_run
from harness.schema.results import GateResult, GateRule, GateVerdict

ROOT = Path(__file__).resolve().parents[2]
RULES = load_gates()
EX = GateRule(direction="higher", absolute=0.05, significance=0.05, reason="why")


def run_of(name: str, rows: list[Any], **rules: GateRule) -> MemoryRun:
    """A run of qlora with these answers, made under these rules."""
    sample = sample_rows()
    mine = {"losses": sample.losses, "predictions": sample.predictions, "trials": sample.trials}
    run = memory_run(name, RunRows(**{kind: {"qlora": of["qlora"]} for kind, of in mine.items()}))
    graded = [row.ex for row in rows if row.ex is not None]
    result = run.results.variants["qlora"]
    assert result.execution is not None
    share = {"ex": sum(graded) / len(graded)}
    result = result.model_copy(update={"execution": result.execution.model_copy(update=share)})
    results = run.results.model_copy(update={"variants": {"qlora": result}, "gate_rules": rules})
    return dataclasses.replace(
        run, results=results, rows=dataclasses.replace(run.rows, predictions={"qlora": rows})
    )


def verdicts_of(*given: GateVerdict, metric: str = "ex") -> list[GateResult]:
    return [
        GateResult(
            metric=metric,
            variant="lora",
            baseline=0.5,
            value=0.5,
            direction="higher",
            threshold=0.4,
            verdict=verdict,
            reason="why",
        )
        for verdict in given
    ]


@pytest.mark.parametrize(
    ("found", "status", "plain", "strict"),
    [
        (("pass", "skipped"), "pass", 0, 0),
        (("pass", "inconclusive"), "not decided", 0, 1),
        (("inconclusive", "skipped"), "not decided", 1, 1),
        (("fail", "inconclusive", "pass"), "regression", 1, 1),
        (("skipped",), "nothing compared", 2, 2),
        ((), "nothing compared", 2, 2),
    ],
)
def test_a_gate_that_is_inconclusive_did_not_pass(
    found: tuple[GateVerdict, ...], status: str, plain: int, strict: int
) -> None:
    loose, tight = (outcome(verdicts_of(*found), one) for one in (False, True))
    assert (loose.status, loose.exit_status) == (status, plain)
    assert (tight.status, tight.exit_status) == (status, strict)


def test_a_memory_that_passed_does_not_stand_for_a_quality_that_was_not_decided() -> None:
    memory = verdicts_of("pass", metric="generate_memory_bytes")
    assert outcome([*verdicts_of("inconclusive"), *memory]).exit_status == 1
    assert outcome([*verdicts_of("skipped"), *memory]).exit_status == 0
    speed = verdicts_of("inconclusive", metric="generation_tokens_per_s")
    assert outcome([*speed, *memory]).exit_status == 0
    assert outcome([*speed, *memory, *verdicts_of("pass")]).exit_status == 0


def test_with_five_tables_questions_are_gated_and_with_five_questions_nothing_is() -> None:
    def on_tables(count: int, skill: float, examples: int = 60) -> list[Any]:
        return [
            row.model_copy(update={"table_id": f"t-{place % count}"})
            for place, row in enumerate(prediction_rows("qlora", skill)[:examples])
        ]

    for tables, text in ((5, "sign-flip over 58 questions on 5 tables"), (6, "over 6 tables")):
        new, old = run_of("new", on_tables(tables, 0.02)), run_of("old", on_tables(tables, 0.9))
        [found] = judge(new, old, {"ex": EX})
        assert found.verdict == "fail", found.reason
        assert text in found.reason
    for skill in (0.02, 0.9):
        sides = [("new", skill), ("old", 0.9)]
        new, old = (
            dataclasses.replace(
                run_of(name, on_tables(1, level)),
                rows=RunRows(predictions={"qlora": on_tables(1, level, 5)}),
            )
            for name, level in sides
        )
        [found] = judge(new, old, {"ex": EX})
        assert found.verdict == "inconclusive", found.reason
        assert found.n_needed is None
        assert "5 questions on 1 table are too few, since with fewer than 6" in found.reason


def test_examples_needed_is_the_textbook_number_where_seeds_do_not_differ() -> None:
    # 2.8 standard errors within the margin: (1.95996 + 0.84162) * 0.03 / 0.05 = 1.68095, squared.
    assert examples_needed(193, 0.05, 0.03, 0.0) == math.ceil(193 * 2.82558)
    assert examples_needed(193, 0.0, 0.03, 0.0) is None


def test_no_number_of_examples_settles_what_the_seeds_differ_by() -> None:
    # Two trainings lie apart with standard deviation 0.02 * sqrt(2); 0.84162 of those are 0.0238.
    assert examples_needed(193, 0.0238, 0.03, 0.02) is None
    assert examples_needed(193, 0.0239, 0.03, 0.02) is not None


def test_the_number_is_the_first_with_which_four_in_five_pass() -> None:
    rng = np.random.default_rng(0)
    ends = zip((0.01, 0.005, 0.0), (0.2, 0.1, 0.1), strict=True)
    for margin, error, spread in np.column_stack([rng.uniform(*pair, 500) for pair in ends]):
        n = int(rng.integers(6, 5_000))
        needed = examples_needed(n, margin, error, spread)
        if needed is None:
            assert passing_share(margin, 1e-9, spread) <= 0.80 + 1e-6
            continue
        assert passing_share(margin, error * math.sqrt(n / needed), spread) >= 0.80 - 1e-9
        if needed > 1:
            fewer = passing_share(margin, error * math.sqrt(n / (needed - 1)), spread)
            assert fewer <= 0.80 + 1e-9


def test_the_share_that_passes_is_what_draws_give() -> None:
    draws = np.random.default_rng(0).normal(0.0, math.hypot(0.02, math.sqrt(2) * 0.01), 400_000)
    share = float(np.mean(draws + NormalDist().inv_cdf(0.975) * 0.02 < 0.06))
    assert passing_share(0.06, 0.02, 0.01) == pytest.approx(share, abs=0.003)


def test_an_inconclusive_gate_names_the_number_of_examples() -> None:
    new, old = (run_of(name, prediction_rows("qlora", 0.45)) for name in ("new", "old"))
    moved = [row.model_copy(update={"ex": not row.ex}) if row.id in (3, 14, 25, 36) else row
             for row in new.rows.predictions["qlora"]]  # fmt: skip
    [found] = judge(run_of("new", moved), old, {"ex": EX})
    assert found.verdict == "inconclusive"
    assert found.n == 58
    assert found.n_needed is not None
    assert f"80% of equal checkpoints pass with about {found.n_needed} examples" in found.reason
    far = EX.model_copy(update={"absolute": 0.001})
    [found] = judge(run_of("new", moved), old, {"ex": far})
    assert "more than 100 times as many examples" in found.reason
    none = EX.model_copy(update={"seed_spread": 0.06})
    [found] = judge(run_of("new", moved), old, {"ex": none})
    assert found.n_needed is None
    assert "With no number of examples do 80% of equal checkpoints pass" in found.reason


def test_margins_other_than_the_baselines_own_are_named() -> None:
    rows = prediction_rows("qlora")
    old = run_of("old", rows, ex=EX, valid=RULES["valid"])
    looser = EX.model_copy(update={"absolute": 0.2, "significance": 0.01})
    found = {g.metric: g for g in judge(run_of("new", rows), old, {"ex": looser})}
    assert found["ex"].verdict == "pass"
    assert found["ex"].reason.endswith(
        "The margin is looser than the baseline's own, 5.0 points and the level of the test is "
        "0.01, the baseline's own 0.05; the baseline's own is not the shipped one"
    )
    assert found["ex"].own_threshold == pytest.approx((found["ex"].baseline or 0) - 0.05)
    assert found["valid"].verdict == "skipped"
    assert "no longer gated" in found["valid"].reason
    tighter = EX.model_copy(update={"absolute": 0.01})
    [one, _] = judge(run_of("new", rows), old, {"ex": tighter})
    assert "tighter than the baseline's own" in one.reason


def test_a_baseline_without_rules_of_its_own_is_held_against_the_shipped_ones() -> None:
    rows = prediction_rows("qlora")
    loose = RULES["ex"].model_copy(update={"absolute": 0.9})
    [found] = judge(run_of("new", rows), run_of("old", rows), {"ex": loose})
    assert f"looser than the shipped one, {100 * RULES['ex'].absolute:.1f} points" in found.reason
    [same] = judge(run_of("new", rows), run_of("old", rows), {"ex": RULES["ex"]})
    assert "the shipped one" not in same.reason


def test_the_shipped_margins_say_that_a_baseline_was_blessed_by_looser_ones() -> None:
    rows = prediction_rows("qlora")
    loose = RULES["ex"].model_copy(update={"absolute": 0.2})
    [found] = judge(run_of("new", rows), run_of("old", rows, ex=loose), {"ex": RULES["ex"]})
    assert found.reason.endswith(
        "The margin is tighter than the baseline's own, 20.0 points; the baseline's own is not the "
        "shipped one"
    )
    [same] = judge(run_of("new", rows), run_of("old", rows, ex=RULES["ex"]), {"ex": RULES["ex"]})
    assert "shipped one" not in same.reason


def test_a_limit_of_zero_or_less_says_that_it_cannot_be_missed() -> None:
    rows = prediction_rows("qlora", -1.0)
    [found] = judge(run_of("new", rows), run_of("old", rows), {"ex": EX})
    assert found.value == 0.0
    assert "cannot fail: its limit is -5.0%" in found.reason
    assert "1 pass (1 of which cannot fail)" in headline([found])
    rows = prediction_rows("qlora")
    share = run_of("old", rows).results.variants["qlora"].execution
    assert share is not None
    for margin, said in ((share.ex, True), (share.ex - 0.01, False)):
        rule = EX.model_copy(update={"absolute": margin})
        [found] = judge(run_of("new", rows), run_of("old", rows), {"ex": rule})
        assert ("This gate cannot fail: its limit is 0.0%" in found.reason) is said
        assert ("cannot fail" in headline([found])) is said


@pytest.fixture(scope="module")
def broken() -> tuple[Any, Any, list[GateResult]]:
    """Seed 0 of lora against the same with twelve right answers turned wrong and one put right."""
    old = read_run(ROOT / "results" / "smollm2-mini-seeds" / "smollm2-mini-seed0")
    old = dataclasses.replace(old, variant="lora")
    rows = list(old.predictions("lora") or [])
    right = [place for place, row in enumerate(rows) if row.ex][::5][:12]
    wrong = next(place for place, row in enumerate(rows) if row.ex is False)
    for place in right:
        rows[place] = rows[place].model_copy(update={"ex": False, "text": " SELECT wrong"})
    rows[wrong] = rows[wrong].model_copy(update={"ex": True})
    losses = old.losses("lora") or []
    new = renamed(MemoryRun(Path("nowhere") / "new", old.results, "lora", RunRows(
        losses={"lora": losses}, predictions={"lora": rows})), "new")  # fmt: skip
    rule = GateRule(direction="higher", absolute=0.01, significance=0.05, reason="why")
    return new, old, [one for one in judge(new, old, {"ex": rule}) if one.metric == "ex"]


def test_a_failing_gate_lists_what_broke_with_question_gold_and_both_answers(
    broken: tuple[Any, Any, list[GateResult]],
) -> None:
    new, old, results = broken
    [gate] = results
    assert gate.verdict == "fail"
    assert gate.broken is not None
    assert (len(gate.broken), len(gate.fixed or [])) == (12, 1)
    split = resolve_dataset("mini").test
    changed = changed_examples(new, old, results, split)
    assert [one.id for one in changed if one.broken] == gate.broken
    first = next(one for one in changed if one.broken)
    assert first.question == split.examples[first.id].question
    assert (first.gold or "").startswith("SELECT ")
    assert first.now == "SELECT wrong"
    before = next(row for row in old.predictions("lora") if row.id == first.id)
    assert first.before == before.text.strip()

    text = as_text(changed, gate)
    assert text.startswith("12 examples broken, 1 examples fixed")
    assert text.count("broken: #") == SHOWN
    assert "and 2 more broken" in text
    assert "now     SELECT wrong" in text
    page = as_markdown(changed)
    assert "**Broken**, the first 10 of 12:" in page
    assert page.count("| #") == 11

    without = changed_examples(new, old, results, None)
    assert [one.question for one in without] == [None] * 13
    assert f"#{first.id}, table {first.table}\n" in as_text(without, gate)


def test_the_command_puts_all_of_them_into_its_json(tmp_path: Path) -> None:
    lora = f"{ROOT}/results/smollm2-mini-seeds/smollm2-mini-seed0"
    rules = tmp_path / "ex.toml"
    rules.write_text('[ex]\ndirection = "higher"\nabsolute = 0.01\nreason = "narrow"\n')
    value, text, status = gate_command(f"{lora}:qlora", f"{lora}:lora", rules)
    assert (value["status"], status) == ("regression", 1)
    [gate] = [one for one in value["gates"] if one["metric"] == "ex"]
    assert json.loads(json.dumps(value)) == value
    shown = value["examples"]
    assert sorted(one["id"] for one in shown) == sorted(gate["broken"] + gate["fixed"])
    assert all(one["question"] and one["gold"] and one["before"] for one in shown)
    assert f"**Broken**, the first {SHOWN} of {len(gate['broken'])}:" in text


def test_a_stored_verdict_names_the_definition_that_it_was_given_by() -> None:
    for recorded, shown in ((None, "gates@1"), ("gates@2", "gates@2")):
        run = run_of("new", prediction_rows("qlora"))
        protocols = run.results.protocols.model_copy(update={"gates": recorded})
        judged = [
            one.model_copy(update={"variant": "qlora"}) for one in verdicts_of("inconclusive")
        ]
        results = run.results.model_copy(update={"protocols": protocols, "gates": judged})
        judged_run = analyse([dataclasses.replace(run, results=results)])
        first = render_report(judged_run).split("\n\n")[1]
        assert first == "Against the baseline: **Not decided**: 1 inconclusive."
        page = job_summary(judged_run)
        assert "**Not decided**: 1 inconclusive." in page
        assert f" · {shown} · " in page
