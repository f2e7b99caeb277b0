"""`pytest suites/ --baseline=...` for real, on the untrained `tiny` model: which test fails and
what it says, JUnit properties, the job summary, exit statuses.

The baseline is the run itself with its losses halved, on a chip of another name.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.__main__ import app
from harness.data.prompts import style
from harness.data.sources.resolve import resolve_dataset
from harness.errors import UserError
from harness.protocols import HARDENED_COPIES
from harness.sql.grade.predictions import Prediction
from harness.sql.grade.score import score
from harness.sql.grade.summary import summarize
from tests import forks

MINI = resolve_dataset("mini").test
MEASURED = ("suites/test_loss.py", "suites/test_gates.py")


@dataclass(frozen=True)
class Work:
    """A cache, a results folder and a job summary of their own."""

    folder: Path

    def pytest(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Loss of the `base` variant of `tiny` on ten examples."""
        command = ["-m", "pytest", *MEASURED, "--model=tiny", "--variant=base", "--limit=10"]
        command += ["--max-new-tokens=16", f"--results-dir={self.folder}", f"--run-name={name}"]
        return forks.run(
            *command,
            *arguments,
            environment={
                "XDG_CACHE_HOME": str(self.folder / "cache"),
                "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            },
        )


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """The first run, and `old`: the same with halved losses on another machine."""
    made = Work(tmp_path_factory.mktemp("gates"))
    done = made.pytest("first")
    assert done.returncode == 0, done.stdout + done.stderr
    old = made.folder / "old"
    shutil.copytree(made.folder / "first", old)
    results = json.loads((old / "results.json").read_text("utf-8"))
    results["run"]["device"]["chip"] = "Another chip"
    for part in ("full_text", "completion"):
        section = results["variants"]["base"]["loss"][part]
        section["loss"] /= 2
        section["ppl"] = math.exp(section["loss"])
    (old / "results.json").write_text(json.dumps(results), "utf-8")
    rows = [
        json.loads(line)
        for line in (old / "losses.base.jsonl").read_text("utf-8").split("\n")
        if line
    ]
    for row in rows:
        row["full_nll"] /= 2
        row["completion_nll"] /= 2
    (old / "losses.base.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return made


@pytest.fixture(scope="module")
def undecided(work: Work) -> subprocess.CompletedProcess[str]:
    """The run gated against one that was better on half of the examples, worse on the others."""
    near = work.folder / "near"
    shutil.copytree(work.folder / "first", near)
    file = near / "losses.base.jsonl"
    rows = [json.loads(line) for line in file.read_text("utf-8").split("\n") if line]
    for place, row in enumerate(rows):
        row["completion_nll"] *= 1.2 if place % 2 else 0.8
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    results = json.loads((near / "results.json").read_text("utf-8"))
    section = results["variants"]["base"]["loss"]["completion"]
    section["loss"] = sum(row["completion_nll"] for row in rows) / section["tokens"]
    section["ppl"] = math.exp(section["loss"])
    (near / "results.json").write_text(json.dumps(results), "utf-8")
    (near / "checksums.json").unlink()
    rules = work.folder / "loss.toml"
    rules.write_text(
        '[completion_loss]\ndirection = "lower"\nabsolute = 0.01\nsignificance = 0.05\n'
        'reason = "narrow"\n'
        '[full_text_loss]\ndirection = "lower"\nabsolute = 0.01\nsignificance = 0.05\n'
        'reason = "narrow"\n'
    )
    return work.pytest(
        "undecided",
        f"--baseline={near}",
        f"--gates={rules}",
        f"--junitxml={work.folder / 'undecided.xml'}",
    )


@pytest.fixture(scope="module")
def failed(work: Work) -> subprocess.CompletedProcess[str]:
    """The run gated against a baseline that is twice as good."""
    baseline = work.folder / "old" / "results.json"
    return work.pytest(
        "new", f"--baseline={baseline}", f"--junitxml={work.folder / 'junit.xml'}", "-rsf"
    )


@pytest.fixture(scope="module")
def answered(work: Work) -> subprocess.CompletedProcess[str]:
    """The run, with answers, gated against one that answered with gold's own text."""
    execution = "suites/test_execution.py"
    done = work.pytest("answers", execution)
    assert done.returncode == 0, done.stdout + done.stderr
    right = work.folder / "right"
    shutil.copytree(work.folder / "answers", right)
    file = right / "predictions.base.jsonl"
    rows = [json.loads(line) for line in file.read_text("utf-8").split("\n") if line]
    examples = [MINI.examples[row["id"]] for row in rows]
    texts = [gold(example.id) for example in examples]
    answers = [Prediction(e.id, text=text) for e, text in zip(examples, texts, strict=True)]
    scores = score(MINI.tables, examples, answers, HARDENED_COPIES)
    graded = [
        row | {"text": text, **one.row()}
        for row, text, one in zip(rows, texts, scores, strict=True)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in graded), "utf-8")
    results = json.loads((right / "results.json").read_text("utf-8"))
    found = summarize(scores, examples, len(MINI.examples))
    results["variants"]["base"]["execution"] = found.model_dump(mode="json")
    (right / "results.json").write_text(json.dumps(results), "utf-8")
    (right / "checksums.json").unlink()
    rules = work.folder / "ex.toml"
    rules.write_text(
        '[ex]\ndirection = "higher"\nabsolute = 0.05\nsignificance = 0.05\nreason = "mine"\n'
    )
    (work.folder / "summary.md").unlink(missing_ok=True)
    return work.pytest("broken", execution, f"--baseline={right}", f"--gates={rules}")


def gold(number: int) -> str:
    """The gold query of a test example, as the dialect writes it."""
    example = MINI.examples[number]
    return style("dialect").completion(example.gold, MINI.tables[example.table_id]).strip()


def outcome(done: subprocess.CompletedProcess[str], metric: str) -> str:
    """The line of the short summary, or of a skip, that names the metric's gate."""
    lines = [line for line in done.stdout.splitlines() if f"[base-{metric}]" in line]
    return "\n".join(lines)


@pytest.mark.slow
def test_the_gate_of_the_worse_metric_fails_in_words(
    failed: subprocess.CompletedProcess[str],
) -> None:
    assert failed.returncode == 1, failed.stdout + failed.stderr
    output = outcome(failed, "completion_loss")
    assert "FAILED suites/test_gates.py::test_no_regression[base-completion_loss]" in output
    for words in ("base: completion_loss", "before, ", "now: worse by", "beyond the margin"):
        assert words in failed.stdout
    assert "Traceback" not in failed.stdout


@pytest.mark.slow
def test_a_metric_that_was_not_measured_fails_by_name(
    failed: subprocess.CompletedProcess[str],
) -> None:
    assert "FAILED" in outcome(failed, "ex")
    assert "base: ex fail: not measured in run new" in failed.stdout


def test_timings_of_another_machine_are_skipped_and_named(
    failed: subprocess.CompletedProcess[str],
) -> None:
    assert "FAILED" not in outcome(failed, "generation_tokens_per_s")
    skips = [line for line in failed.stdout.splitlines() if line.startswith("SKIPPED")]
    assert any("generation_tokens_per_s" in s and "Another chip" in s for s in skips), skips


def test_junit_holds_the_metrics_as_properties(
    work: Work, failed: subprocess.CompletedProcess[str]
) -> None:
    cases = {
        case.get("name"): case for case in ET.parse(work.folder / "junit.xml").iter("testcase")
    }
    gate = cases["test_no_regression[base-completion_loss]"]
    found = {p.get("name"): p.get("value") for p in gate.iter("property")}
    assert found["gate.completion_loss"] == "fail"
    assert float(found["value"] or 0) == pytest.approx(2 * float(found["baseline"] or 0))
    failure = gate.find("failure")
    assert failure is not None
    assert "beyond the margin and beyond noise" in (failure.get("message") or "")
    loss = {p.get("name") for p in cases["test_loss_on_the_completion[base]"].iter("property")}
    assert "completion_loss" in loss


def test_the_summary_goes_to_the_jobs_page(
    work: Work, failed: subprocess.CompletedProcess[str]
) -> None:
    summary = (work.folder / "summary.md").read_text("utf-8")
    assert "## tunebench: new" in summary
    assert "| `base`" in summary
    assert "**fail**" in summary


def test_a_gate_that_decides_nothing_stands_apart_from_those_that_passed(
    work: Work, undecided: subprocess.CompletedProcess[str]
) -> None:
    assert undecided.returncode == 0, undecided.stdout + undecided.stderr
    last = undecided.stdout.strip().splitlines()[-1]
    assert "1 not decided" in last
    assert "skipped" not in last
    assert "Not decided: 1 pass, 1 inconclusive, 6 skipped." in undecided.stdout
    cases = {
        case.get("name"): case for case in ET.parse(work.folder / "undecided.xml").iter("testcase")
    }
    skipped = cases["test_no_regression[base-completion_loss]"].find("skipped")
    assert skipped is not None
    assert "completion_loss inconclusive: " in (skipped.get("message") or "")
    assert cases["test_no_regression[base-full_text_loss]"].find("skipped") is None


def test_strict_fails_what_is_not_decided(
    work: Work, undecided: subprocess.CompletedProcess[str]
) -> None:
    done = work.pytest(
        "strict",
        f"--baseline={work.folder / 'near'}",
        f"--gates={work.folder / 'loss.toml'}",
        "--strict",
    )
    assert done.returncode == 1
    assert "FAILED" in outcome(done, "completion_loss")
    assert "FAILED" not in outcome(done, "full_text_loss")


def test_the_failure_lists_the_examples_that_broke(
    work: Work, answered: subprocess.CompletedProcess[str]
) -> None:
    assert answered.returncode == 1, answered.stdout
    rows = [
        json.loads(line)
        for line in (work.folder / "broken" / "predictions.base.jsonl").read_text().split("\n")
        if line
    ]
    broken = [row for row in rows if row["ex"] is False]
    assert f"{len(broken)} examples broken, 0 examples fixed" in answered.stdout
    first = broken[0]
    question = MINI.examples[first["id"]].question
    assert f"broken: #{first['id']}, table {first['table_id']}: {question}" in answered.stdout
    assert f"before  {gold(first['id'])}" in answered.stdout
    results = json.loads((work.folder / "broken" / "results.json").read_text("utf-8"))
    [gate] = [one for one in results["gates"] if one["metric"] == "ex"]
    assert gate["broken"] == [row["id"] for row in broken]
    assert (gate["fixed"], gate["n"]) == ([], len(broken))
    assert results["protocols"]["gates"] == "gates@2"
    assert results["gate_rules"]["ex"]["absolute"] == 0.05
    summary = (work.folder / "summary.md").read_text("utf-8")
    assert "**Broken**" in summary
    assert f"| #{first['id']} " in summary


def test_a_session_that_decides_nothing_does_not_pass(
    work: Work, undecided: subprocess.CompletedProcess[str]
) -> None:
    rules = work.folder / "only.toml"
    whole = (work.folder / "loss.toml").read_text("utf-8")
    rules.write_text(whole.partition("[full_text_loss]")[0])
    done = work.pytest("alone", f"--baseline={work.folder / 'near'}", f"--gates={rules}")
    assert done.returncode == 1, done.stdout
    assert "failed" not in done.stdout.splitlines()[-1]
    assert "Not decided: 1 inconclusive, 6 skipped." in done.stdout
    assert "no longer gated" in done.stdout


def test_a_session_whose_gates_are_all_skipped_does_not_pass(
    work: Work, failed: subprocess.CompletedProcess[str]
) -> None:
    timing = work.folder / "timing.toml"
    timing.write_text('[ttft_s]\ndirection = "lower"\nrelative = 0.5\nreason = "mine"\n')
    baseline = work.folder / "old"
    done = work.pytest("timed", f"--baseline={baseline}", f"--gates={timing}")
    assert done.returncode == 1, done.stdout
    assert "Nothing was compared, so nothing passed: 8 skipped." in done.stdout
    command = [
        "gate",
        str(work.folder / "new"),
        "--baseline",
        str(baseline),
        "--gates",
        str(timing),
    ]
    assert CliRunner().invoke(app, command).exit_code == 2


def test_a_baseline_that_does_not_fit_its_rows_is_refused_before_anything_is_loaded(
    work: Work,
) -> None:
    forged = work.folder / "forged"
    shutil.copytree(work.folder / "first", forged)
    results = json.loads((forged / "results.json").read_text("utf-8"))
    results["variants"]["base"]["loss"]["completion"]["loss"] = 99.0
    (forged / "results.json").write_text(json.dumps(results), "utf-8")
    (forged / "checksums.json").unlink()
    done = work.pytest("against", f"--baseline={forged}")
    assert done.returncode == 4, done.stdout
    assert "completion_loss of 'base' is 99 in results.json" in done.stderr


def test_a_baseline_whose_verdicts_are_not_its_texts_is_refused(
    work: Work, answered: subprocess.CompletedProcess[str]
) -> None:
    forged = work.folder / "texts"
    shutil.copytree(work.folder / "right", forged)
    file = forged / "predictions.base.jsonl"
    rows = [json.loads(line) for line in file.read_text("utf-8").split("\n") if line]
    rows[0]["text"] = "SELECT"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    done = work.pytest("against", "suites/test_execution.py", f"--baseline={forged}")
    assert done.returncode == 4, done.stdout
    assert f"id {rows[0]['id']}: ex_official is True in the row, False when" in done.stderr


def test_the_command_gives_the_same_verdict_without_a_model(
    work: Work, failed: subprocess.CompletedProcess[str]
) -> None:
    new, old = str(work.folder / "new"), str(work.folder / "old")
    command = ["gate", new, "--baseline", old]
    assert CliRunner().invoke(app, command).exit_code == 1
    mine = work.folder / "mine.toml"
    mine.write_text('[completion_loss]\ndirection = "lower"\nrelative = 9.0\nreason = "mine"\n')
    own = CliRunner().invoke(app, [*command, "--gates", str(mine)])
    assert own.exit_code == 0
    assert "No regression" in own.stdout
    lost = CliRunner().invoke(app, ["gate", new, "--baseline", str(work.folder / "nothing")])
    assert isinstance(lost.exception, UserError)  # which `main` turns into exit status 2
