"""Runs on data in mlx-lm's own formats, another prompt, rows cut short: notes in reports."""

from __future__ import annotations

from typing import Any

import pytest
from results_sample import (
    MemoryRun,
    compare_runs,
    compare_within,
    memory_run,
    report_of,
    sample_results,
    sample_rows,
)

from harness.compare.analysis import analyse
from harness.compare.gates import judge
from harness.compare.seeds import seed_differences
from harness.compare.thresholds import load_gates
from harness.errors import UserError
from harness.report.report import job_summary
from harness.report.tables.comparison_tables import seed_summary
from harness.report.warnings import not_measurable, warnings
from harness.runs.store import RunRows
from harness.schema.results import Results


def changed(run: MemoryRun, change: Any) -> MemoryRun:
    """A copy of ``run`` whose results.json ``change`` edited as JSON."""
    raw = run.results.model_dump(mode="json", by_alias=True)
    change(raw)
    return MemoryRun(run.folder, Results.model_validate(raw), None, run.rows)


def whole_texts(name: str = "texts") -> MemoryRun:
    """The sample run as it would be on whole texts: no execution, no completion loss."""
    rows = sample_rows()
    bare = {
        variant: [row.model_copy(update={"completion_nll": 0.0, "completion_tokens": 0}) for row in
                  found]
        for variant, found in rows.losses.items()
    }  # fmt: skip
    kept = RunRows(losses=bare, trials=rows.trials)

    def change(raw: dict[str, Any]) -> None:
        raw["dataset"] |= {"form": "text", "tables": 0}
        raw["comparisons"] = []
        for found in raw["variants"].values():
            found["loss"]["completion"] = None
            found["execution"] = found["checkpoints"] = None

    base = memory_run(name)
    return changed(MemoryRun(base.folder, sample_results(name), None, kept), change)


def test_what_whole_texts_cannot_have_is_noted_in_report_and_terminal() -> None:
    run = whole_texts()
    reason = not_measurable(run)
    assert "execution accuracy (the data has no tables" in reason
    assert "completion loss (whole texts do not mark where an answer begins)" in reason
    assert "take each row as independent" in reason
    report = report_of(run)
    assert f"> {reason}" in report
    assert "Full-text loss" in report
    assert reason in job_summary(analyse([run]))
    assert not_measurable(memory_run()) == ""


def test_full_text_loss_takes_the_place_of_the_family_that_is_missing() -> None:
    pair = next(p for p in compare_within(whole_texts()) if (p.a, p.b) == ("base", "lora"))
    assert [c.metric for c in pair.primary] == ["full_text_loss"]
    assert pair.primary[0].verdict == "better"
    assert pair.descriptive == []


def test_gates_skip_what_the_data_cannot_have_and_judge_the_rest() -> None:
    run = whole_texts()
    verdicts = {v.metric: v for v in judge(run, whole_texts("old"), load_gates())}
    for metric in ("completion_loss", "ex", "ex_hardened"):
        found = verdicts.get(metric)
        assert found is None or found.verdict == "skipped"
    assert any(v.verdict != "skipped" for v in verdicts.values())


def test_runs_of_another_template_are_refused_by_its_hash() -> None:
    def prompt(text: str) -> Any:
        return lambda raw: raw["protocols"].update(prompt=text)

    one = changed(memory_run("one"), prompt("dialect@1 sha256:aa"))
    two = changed(memory_run("two"), prompt("dialect@1 sha256:bb"))
    with pytest.raises(UserError, match=r"protocols.prompt: 'dialect@1 sha256:aa' against"):
        compare_runs(one, two)
    unrecorded = changed(memory_run("old"), lambda raw: raw["protocols"].pop("prompt"))
    assert compare_runs(one, unrecorded)


def test_cut_rows_and_conflicting_gold_stand_above_the_numbers() -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["dataset"]["repeats"] = {"equal": 3, "conflicting": 2}
        raw["variants"]["lora"]["finetune"]["truncated"] = 5
        raw["variants"]["lora"]["loss"]["truncated"] = 1

    reason = "\n".join(warnings(changed(memory_run(), change)))
    assert "> Conflicting gold: 2 questions were asked before" in reason
    assert "> Truncated: `lora` was trained on 5 rows cut short." in reason
    assert "> Truncated: the loss of `lora` is over 1 rows cut short." in reason
    assert "Truncated" not in "\n".join(warnings(memory_run()))


def test_the_spread_over_seeds_is_that_of_the_whole_text() -> None:
    runs = [
        changed(whole_texts(f"seed{seed}"), lambda raw, seed=seed: raw["run"].update(seed=seed))
        for seed in (0, 1, 2)
    ]
    assert "full-text loss" in seed_summary(analyse(runs))
    assert {d.metric for d in seed_differences(runs)} == {"full_text_loss"}
