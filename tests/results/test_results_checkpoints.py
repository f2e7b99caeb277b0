"""Saved checkpoints: stored rows, best by each metric, and the last beside the best."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from results_sample import memory_run, report_of, saved_rows, write_sample

from harness.compare.checkpoints import BestCheckpoint, best_checkpoints, checkpoint_scores
from harness.pipeline.grading import checkpoint_results
from harness.report.conclusions import checkpoints_family
from harness.report.tables.checkpoint_tables import checkpoint_sentence
from harness.schema.rows import CheckpointRow
from harness.stats.units import units_of


def rows_of(marks: dict[int, list[bool]], losses: dict[int, list[float]]) -> list[CheckpointRow]:
    """One example a table, one token an example."""
    return [
        CheckpointRow(
            iteration=iteration, id=i, table_id=f"t{i}", full_nll=nll, full_tokens=1,
            completion_nll=nll, completion_tokens=1, text="x", ex=mark, ex_hardened=None,
            failure=None,
        )
        for iteration in marks
        for i, (mark, nll) in enumerate(zip(marks[iteration], losses[iteration], strict=True))
    ]  # fmt: skip


def by_metric(rows: list[CheckpointRow]) -> dict[str, BestCheckpoint]:
    return {one.metric: one for one in best_checkpoints(rows)}


def test_the_last_beside_the_best_by_hand() -> None:
    # 10 has all eight right, 20 loses the last seven of them; both losses are the same.
    marks = {10: [True] * 8, 20: [True] + [False] * 7}
    found = by_metric(rows_of(marks, {10: [1.0] * 8, 20: [1.0] * 8}))
    ex = found["ex"]
    assert (ex.best, ex.last, ex.value_best, ex.value_last) == (10, 20, 1.0, 0.125)
    assert ex.p == 1 / 2**7  # seven tables, all one way, one-sided
    assert ex.p_holm == 2 / 2**7
    assert ex.worse
    loss = found["completion_loss"]
    assert loss.best == loss.last == 20  # a tie is no reason to go back
    assert not loss.worse


def test_being_picked_among_many_is_paid_for() -> None:
    rng = np.random.default_rng(3)
    last = rng.normal(1.0, 0.1, 40)
    losses = {100: list(last)}
    for step in range(1, 10):
        losses[step * 10] = list(last + rng.normal(0.0, 0.1, 40))
    marks = {iteration: [True] * 40 for iteration in losses}
    picked = by_metric(rows_of(marks, losses))["completion_loss"]
    assert picked.best != 100
    alone = {k: losses[k] for k in (picked.best, 100)}
    unpicked = by_metric(rows_of({k: marks[k] for k in alone}, alone))["completion_loss"]
    assert picked.p > 2 * unpicked.p
    assert picked.ci95 is not None
    assert unpicked.ci95 is not None
    assert picked.ci95[0] < unpicked.ci95[0]


@pytest.mark.slow
def test_without_a_difference_the_last_is_rarely_called_worse() -> None:
    wrong = 0
    trials = 60
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        losses = {step: list(rng.normal(1.0, 0.1, 20)) for step in (10, 20, 30, 40, 50)}
        marks = {step: list(rng.random(20) < 0.5) for step in losses}
        wrong += any(one.worse for one in best_checkpoints(rows_of(marks, losses)))
    assert wrong <= 0.05 * trials + 2 * (0.05 * 0.95 * trials) ** 0.5


def test_one_checkpoint_has_nothing_beside_it() -> None:
    rows = [row for row in saved_rows("lora") if row.iteration == 40]
    assert best_checkpoints(rows) == []
    assert [q.iteration for q in checkpoint_scores(rows)] == [40]


def test_answers_without_tables_leave_the_loss_only() -> None:
    rows = [row.model_copy(update={"ex": None, "text": None}) for row in saved_rows("lora")]
    assert [one.metric for one in best_checkpoints(rows)] == ["completion_loss"]
    assert all(q.ex is None for q in checkpoint_scores(rows))
    assert all(one.ex is None for one in checkpoint_results(rows))


def test_rows_of_checkpoints_are_stored_read_and_reported(tmp_path: Path) -> None:
    run = write_sample(tmp_path)
    file = run.folder / "checkpoints.lora.jsonl"
    assert file.is_file()
    assert run.checkpoints("lora") == saved_rows("lora")
    assert run.checkpoints("base") is None
    section = run.results.variants["lora"].checkpoints
    assert section == checkpoint_results(saved_rows("lora"))
    written = (run.folder / "report.md").read_text("utf-8")
    assert "by execution accuracy the best of 3 checkpoints is 30" in written
    # Three checkpoints of 60 examples, a line each.
    assert len(file.read_text("utf-8").splitlines()) == 180


def test_a_run_without_rows_of_checkpoints_still_has_its_table() -> None:
    run = memory_run()
    bare = dataclasses.replace(run, rows=dataclasses.replace(run.rows, checkpoints={}))
    report = report_of(bare)
    table = report.partition("### Checkpoints")[2].partition("<sub>")[0]
    assert "| lora" in table
    assert "best of" not in table


UNITS = units_of([f"t{i % 20}" for i in range(60)])


@pytest.mark.parametrize(
    ("p", "verdict"), [(0.01, "is worse beyond noise"), (0.2, "is not distinguishable from it")]
)
def test_the_sentence_gives_the_verdict(p: float, verdict: str) -> None:
    one = BestCheckpoint("ex", 20, 40, 3, 0.4, 0.3, -0.1, (-0.2, -0.01), p, p, UNITS)
    text = checkpoint_sentence("lora", one, 2)
    assert verdict in text
    assert "-10.0 points" in text
    assert "corrected for the choice among 2 others and 2 metrics; over 20 tables)" in text
    alone = dataclasses.replace(one, of=2)
    assert f"p {p:.3f}; over 20 tables)." in checkpoint_sentence("lora", alone, 1)
    assert checkpoints_family([one]) == "ex alone, so without a correction"
