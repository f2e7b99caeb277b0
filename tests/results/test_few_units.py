"""Data on few tables: what is said before training, what a verdict is about, and when there is
none."""

from __future__ import annotations

import dataclasses

import numpy as np
from results_sample import (
    MemoryRun,
    compare_within,
    loss_rows,
    memory_run,
    prediction_rows,
    renamed,
)

from harness.compare.analysis import analyse
from harness.compare.checkpoints import best_checkpoints
from harness.compare.gates import judge
from harness.pipeline.session import units_note
from harness.report.comparison import render_comparison
from harness.report.conclusions import pair_claim, sentence
from harness.report.tables.checkpoint_tables import checkpoint_sentence
from harness.runs.store import RunRows
from harness.schema.results import GateRule
from harness.stats.intervals import token_weighted_loss

EX = GateRule(direction="higher", absolute=0.05, significance=0.05, reason="why")


def on_tables(tables: int, examples: int) -> MemoryRun:
    """The sample's base and lora, its first examples on so many tables."""
    names = ("base", "lora")
    losses, answers = (
        {
            name: [
                row.model_copy(update={"table_id": f"t{place % tables}"})
                for place, row in enumerate(rows(name)[:examples])
            ]
            for name in names
        }
        for rows in (loss_rows, prediction_rows)
    )
    run = memory_run()
    variants = {name: run.results.variants[name] for name in names}
    results = run.results.model_copy(update={"variants": variants})
    return dataclasses.replace(run, results=results, rows=RunRows(losses, answers))


def test_one_table_with_many_questions_gives_a_verdict_about_these_questions() -> None:
    run = on_tables(1, 60)
    [pair] = compare_within(run)
    assert [c.verdict for c in pair.primary] == ["better"] * 3
    assert pair.primary[0].test == (
        "step-down max-T of 3 by sign flips of 60 questions on 1 table, two-sided"
    )
    assert "On completion loss, about questions on this table, `lora` is better than" in sentence(
        pair, pair.primary[0]
    )
    assert "(for these sets of weights, about questions on this table;" in pair_claim(pair)
    assert "unit: 60 questions on 1 table" in render_comparison(analyse([run]))


def test_with_fewer_than_six_units_there_is_no_verdict_and_the_reason_is_true() -> None:
    run = on_tables(1, 5)
    [pair] = compare_within(run)
    loss = pair.primary[0]
    assert loss.delta is not None
    assert abs(loss.delta) > 1.0  # far apart, in every one of them
    assert (loss.verdict, loss.ci95, loss.minimum_detectable) == ("not distinguishable", None, None)
    reason = "5 questions on 1 table are too few, since with fewer than 6 no two-sided test can"
    assert reason in sentence(pair, loss)
    assert pair_claim(pair).startswith(f"Nothing may be claimed: {reason}")
    text = render_comparison(analyse([run]))
    assert "did not differ on a single example" not in text
    assert all(difference.ci95 is None for difference in pair.descriptive)


def test_six_questions_that_all_agree_are_enough() -> None:
    [pair] = compare_within(on_tables(1, 6))
    # Each of 2^6 patterns once: the observed one and its mirror reach it.
    assert pair.primary[0].p == 2 / 64
    assert pair.primary[0].verdict == "better"


def graded_on(run: MemoryRun, tables: set[str], right: dict[str, list[int]]) -> MemoryRun:
    """The run with answers whose gold is usable on ``tables`` only, right where it is listed."""
    answers = {
        name: [
            row.model_copy(update=dict.fromkeys(("ex", "ex_strict", "ex_hardened"), verdict))
            for row in rows
            for verdict in [row.id in right[name] if row.table_id in tables else None]
        ]
        for name, rows in run.rows.predictions.items()
    }
    return dataclasses.replace(run, rows=RunRows(run.rows.losses, answers))


def test_the_unit_is_that_of_the_examples_that_have_the_metric() -> None:
    # 28 questions on 8 tables, gold usable on 4 of them: 16 questions, of which 7 differ one way.
    usable = {"t0", "t1", "t2", "t3"}
    right = {"base": [], "lora": [0, 1, 2, 3, 8, 9, 10]}
    run = graded_on(on_tables(8, 28), usable, right)
    [pair] = compare_within(run)
    loss, ex, _ = pair.primary
    assert loss.test.endswith("by sign flips of 8 tables, two-sided")
    assert ex.test.endswith("by sign flips of 16 questions on 4 tables, two-sided")
    assert ex.p == 2 / 2**7
    assert ex.verdict == "better"
    assert "On execution accuracy, about questions on these 4 tables," in sentence(pair, ex)
    assert "On completion loss, `lora`" in sentence(pair, loss)
    assert (
        "(for these sets of weights, on execution accuracy and hardened execution accuracy about "
        "questions on these 4 tables;" in pair_claim(pair)
    )
    text = render_comparison(analyse([run]))
    assert "unit: 8 tables (completion loss) and 16 questions on 4 tables (ex and" in text
    [gate] = [g for g in judge(renamed(run, "new"), run, {"ex": EX}) if g.variant == "lora"]
    assert "sign-flip over 16 questions on 4 tables" in gate.reason


def test_a_metric_that_five_questions_have_has_no_verdict_beside_one_that_all_have() -> None:
    right = {"base": [], "lora": [0, 8, 16, 24, 32]}
    run = graded_on(on_tables(8, 40), {"t0"}, right)
    [pair] = compare_within(run)
    loss, ex, _ = pair.primary
    assert (loss.verdict, ex.verdict) == ("better", "not distinguishable")
    reason = "5 questions on 1 table are too few, since with fewer than 6 no two-sided test can"
    assert reason in sentence(pair, ex)
    assert "nothing may be claimed on execution accuracy and hardened" in pair_claim(pair)
    assert reason in pair_claim(pair)
    assert (ex.ci95, ex.minimum_detectable, ex.n_needed) == (None, None, None)


def test_tables_and_questions_are_flipped_by_themselves() -> None:
    # Six tables that all differ by one nat, and six questions on one table that all differ: each
    # reaches its √6 in 2 of 2^6 patterns, either of them in 1 - (62/64)² of all 2^12.
    run = graded_on(on_tables(6, 36), {"t0"}, {"base": [], "lora": [*range(0, 36, 6)]})
    base = run.rows.losses["base"]
    better = [
        row.model_copy(
            update={"completion_nll": row.completion_nll - 1.0, "full_nll": row.full_nll - 1.0}
        )
        for row in base
    ]
    losses = {"base": base, "lora": better}
    [pair] = compare_within(dataclasses.replace(run, rows=RunRows(losses, run.rows.predictions)))
    loss, ex, _ = pair.primary
    assert ex.p == 2 / 64
    assert loss.p == 2 / 64
    assert ex.p_family == loss.p_family == 1 - (62 / 64) ** 2


def test_a_size_that_these_examples_would_show_is_not_called_out_of_reach() -> None:
    [pair] = compare_within(on_tables(8, 28))
    unclear = pair.primary[0].model_copy(
        update={"verdict": "not distinguishable", "n_needed": 28, "minimum_detectable": 0.1}
    )
    assert "would take" not in sentence(pair, unclear)


def test_so_few_units_are_said_before_training() -> None:
    assert "5 questions on 1 table are too few" in units_note(["t"] * 5, True)
    assert units_note(["t"] * 60, True) == (
        "the test sample is 60 questions on 1 table: verdicts and gates will be about questions on "
        "this table, not about tables"
    )
    assert "questions on these tables" in units_note([f"t{i % 5}" for i in range(60)], True)
    assert units_note([f"t{i % 6}" for i in range(60)], True) == ""
    assert units_note([f"row:{i}" for i in range(60)], False) == ""
    assert "4 examples are too few" in units_note([f"row:{i}" for i in range(4)], False)


def test_checkpoints_on_so_few_units_are_not_decided() -> None:
    run = memory_run()
    rows = [
        row.model_copy(update={"table_id": "t"})
        for row in run.rows.checkpoints["lora"]
        if row.id < 5
    ]
    found = best_checkpoints(rows)
    assert found
    assert not any(one.worse for one in found)
    texts = [checkpoint_sentence("lora", one, 2) for one in found if one.best != one.last]
    assert texts
    assert all("is not decided: 5 questions on 1 table are too few" in text for text in texts)


def test_a_loss_on_one_table_has_an_interval_over_its_questions() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, 50, 100)
    nll = tokens * rng.normal(1.0, 0.2, 100)
    assert token_weighted_loss(nll, tokens, ["t"] * 100) == token_weighted_loss(
        nll, tokens, [f"t{i}" for i in range(100)]
    )
