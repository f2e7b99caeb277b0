"""Predictions of a system elsewhere as a run: compared, reported, gated, shown like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from results_sample import MemoryRun, memory_run, renamed
from test_results_page import data_of

from harness.cli.runs import compare_command, gate_command, report_command
from harness.cli.scoring import run_score, score_as_run
from harness.compare.analysis import analyse
from harness.compare.evidence import faults
from harness.compare.sides import differing_fields
from harness.data.prompts import style
from harness.data.sources.resolve import MINI_FOLDER, resolve_dataset
from harness.errors import UserError
from harness.protocols import grading_protocol
from harness.runs.store import read_run

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / "results" / "smollm2-mini-seeds" / "smollm2-mini-seed0"
MINI = resolve_dataset("mini").test


def predictions(path: Path, right: int) -> Path:
    """Gold as SQL for the first so many questions, a query on nothing for the others."""
    chosen = style("sql")
    with path.open("w", encoding="utf-8") as stream:
        for example in MINI.examples:
            gold = chosen.completion(example.gold, MINI.tables[example.table_id])
            text = gold if example.id < right else "SELECT nothing FROM nowhere"
            stream.write(json.dumps({"id": example.id, "text": text}) + "\n")
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two systems: `strong` answers 150 of 200, `weak` 40."""
    folder = tmp_path_factory.mktemp("outside")
    for name, right in (("strong", 150), ("weak", 40)):
        told = predictions(folder / f"{name}.jsonl", right), "text"
        score_as_run("mini", "test", told, 8, folder / name, folder / f"{name}.out")
    return folder


def test_the_run_has_the_figures_and_rows_of_score(runs: Path) -> None:
    run = read_run(runs / "strong")
    figures = run_score(MINI_FOLDER, "test", runs / "strong.jsonl", "text", 8)
    found = run.results.variants["strong"].execution
    assert found is not None
    for name in ("ex", "ex_official", "ex_strict", "ex_hardened", "lf", "valid"):
        assert getattr(found, name) == figures[name]
    assert run.results.run.source == "predictions"
    rows = run.predictions("strong")
    assert rows is not None
    scored = [json.loads(line) for line in (runs / "strong.out").read_text().splitlines()]
    assert [row.ex for row in rows] == [row["ex"] for row in scored]
    assert faults(run) == []


def test_two_systems_are_compared_on_their_answers_alone(runs: Path) -> None:
    value, text = compare_command(str(runs / "weak"), str(runs / "strong"))
    assert [(c["metric"], c["verdict"]) for c in value["comparisons"]] == [
        ("ex", "better"),
        ("ex_hardened", "better"),
    ]
    assert "a loss per token has no common measure across models" in text


def test_a_system_stands_beside_an_adapter(runs: Path) -> None:
    value, text = compare_command(f"{MEASURED}:lora", str(runs / "strong"))
    assert [c["metric"] for c in value["comparisons"]] == ["ex", "ex_hardened"]
    assert value["comparisons"][0]["verdict"] == "better"
    assert "Not recorded" not in text


@pytest.mark.slow
def test_report_and_page_show_both(runs: Path, tmp_path: Path) -> None:
    both = [str(runs / "weak"), str(runs / "strong"), str(MEASURED)]
    _, text = report_command(both, out=tmp_path, html=True)
    assert "index.html" in text
    report = (tmp_path / "report.md").read_text("utf-8")
    assert "a system elsewhere, its weights are not known" in report
    assert "strong:strong" in report
    data = data_of((tmp_path / "index.html").read_text("utf-8"))
    assert data["total"] == 200
    assert data["variants"][:2] == ["weak:weak", "strong:strong"]
    assert data["examples"][0]["gold"]["text"]


@pytest.mark.slow
def test_a_gate_decides_by_its_answers_and_skips_the_rest(runs: Path) -> None:
    value, _, status = gate_command(str(runs / "weak"), str(runs / "strong"))
    assert status == 1
    verdicts = {gate["metric"]: gate["verdict"] for gate in value["gates"]}
    assert {verdicts[name] for name in ("ex", "ex_hardened", "valid")} == {"fail"}
    assert {*verdicts.values()} == {"fail", "skipped"}
    skipped = [gate for gate in value["gates"] if gate["verdict"] == "skipped"]
    assert "completion_loss" in {gate["metric"] for gate in skipped}
    assert {gate["reason"] for gate in skipped} == {"of a system elsewhere only answers are known"}
    assert len(next(g for g in value["gates"] if g["metric"] == "ex")["broken"]) > 90
    better, _, status = gate_command(str(runs / "strong"), str(runs / "weak"))
    assert (better["status"], status) == ("pass", 0)


def of_model(run: MemoryRun, sha256: str) -> MemoryRun:
    model = run.results.model.model_copy(update={"sha256": sha256})
    results = run.results.model_copy(update={"model": model})
    return type(run)(run.folder, results, run.variant, run.rows)


def test_two_base_models_are_compared_by_graded_answers_but_not_gated() -> None:
    one, other = memory_run("one"), of_model(renamed(memory_run("other"), "other"), "f" * 64)
    assert differing_fields(one, other) == {"model.sha256": (one.results.model.sha256, "f" * 64)}
    assert differing_fields(one, other, across_models=True) == {}
    found = analyse([one, other])
    across = [pair for pair in found.pairs if pair.a.split(":")[0] != pair.b.split(":")[0]]
    assert across
    assert {c.metric for pair in across for c in pair.primary} == {"ex", "ex_hardened"}
    assert not found.refused


def test_what_grades_is_read_from_the_protocols_name() -> None:
    long = "execution@2+generation@2 (hardened K=8, at most 64 new tokens) (dialect@1)"
    assert grading_protocol(long) == "execution@2 (hardened K=8)"
    assert grading_protocol("execution@2 (hardened K=0)") == "execution@2 (hardened K=0)"


def test_another_split_and_a_taken_name_are_refused(runs: Path, tmp_path: Path) -> None:
    told = runs / "strong.jsonl", "text"
    with pytest.raises(UserError, match="split 'valid' of 'mini' is another"):
        score_as_run("mini", "valid", told, 8, tmp_path / "x")
    with pytest.raises(UserError, match="exists already"):
        score_as_run("mini", "test", told, 8, runs / "weak")
