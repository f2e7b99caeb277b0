"""Answers to data without tables: equal or not, on the terminal, in the report and on the page."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from results_sample import MemoryRun, memory_run, page_of, report_of
from test_results_page import data_of

from harness.compare.analysis import analyse
from harness.compare.evidence import faults
from harness.data.records import LogicalForm, TextExample
from harness.pipeline.grading import answer_rows, exact_match
from harness.report.terminal import terminal_summary
from harness.runs.store import RunRows
from harness.schema.rows import AnswerRow
from harness.schema.stage_results import Answer, Answers
from harness.stats.rates import clopper_pearson

NOTHING = LogicalForm(0, 0, ())


def chat(number: int, *contents: str) -> TextExample:
    """A conversation of these contents, user and assistant in turn."""
    messages = tuple(
        {"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(contents)
    )
    return TextExample(number, f"row-{number}", "", NOTHING, messages=messages)


def answers(*texts: str) -> Answers:
    rows = [Answer(id=at, text=text, tokens=3, finish="stop") for at, text in enumerate(texts)]
    return Answers.model_construct(rows=rows)


def run_of(right: dict[str, int], count: int = 20) -> MemoryRun:
    """A run on conversations: the first so many answers of each variant are the data's own."""
    sample = memory_run()
    rows = {
        name: [
            AnswerRow(
                id=at,
                table_id=f"row-{at}",
                prompt=f"add 1 and {at}\nand tell",
                reference=str(at + 1),
                text=f" {at + 1}\n" if at < correct else "no",
                finish="stop",
                exact=at < correct,
            )
            for at in range(count)
        ]
        for name, correct in right.items()
    }
    only = {"execution": None, "questions": None, "checkpoints": None}
    variants = {
        name: sample.results.variants[name].model_copy(
            update=only | {"exact_match": exact_match(rows[name], count)}
        )
        for name in right
    }
    splits = sample.results.dataset.splits.model_copy(update={"test": count})
    dataset = sample.results.dataset.model_copy(update={"form": "chat", "splits": splits})
    results = sample.results.model_copy(update={"variants": variants, "dataset": dataset})
    return dataclasses.replace(sample, results=results, rows=RunRows(answers=rows))


@pytest.fixture(scope="module")
def run() -> MemoryRun:
    return run_of({"base": 0, "lora": 15})


def test_an_answer_is_equal_when_both_ends_are_stripped_and_only_then() -> None:
    examples = [chat(0, "1 + 1?", "2"), chat(1, "hi", "yes", "sure?", " No. "), chat(2, "a", "b")]
    rows = answer_rows(answers(" 2\n", "No.", "B"), examples)
    assert [row.exact for row in rows] == [True, True, False]
    assert [row.prompt for row in rows] == ["1 + 1?", "user: hi\nassistant: yes\nuser: sure?", "a"]
    found = exact_match(rows, of=7)
    assert (found.n, found.of, found.rate) == (3, 7, 2 / 3)


def test_whole_texts_have_nothing_to_be_equal_to() -> None:
    rows = answer_rows(answers("x"), [TextExample(0, "row-0", "", NOTHING, text="a b c")])
    assert (rows[0].reference, rows[0].exact, rows[0].prompt) == (None, None, "a b c")
    assert (exact_match(rows, 1).rate, exact_match(rows, 1).ci95) == (None, None)


def test_a_tool_call_is_compared_as_json() -> None:
    called = {"role": "assistant", "tool_calls": [{"name": "é"}]}
    example = TextExample(
        0, "row-0", "", NOTHING, messages=({"role": "user", "content": "q"}, called)
    )
    assert example.reference == '{"tool_calls": [{"name": "é"}]}'


def test_the_interval_is_that_of_independent_rows(run: MemoryRun) -> None:
    found = run.results.variants["lora"].exact_match
    assert found is not None
    assert found.rate == 0.75
    low, high = clopper_pearson(15, 20)
    assert found.ci95 is not None
    # One right and one wrong unit are added to the estimate of deff, which is never below 1.
    assert found.ci95[0] <= low + 1e-12
    assert found.ci95[1] >= high - 1e-12


def test_terminal_report_and_comparison_show_it(run: MemoryRun) -> None:
    shown = terminal_summary(analyse([run]), 80, colour=False)
    assert "Exact match" in shown
    assert "Execution accuracy" not in shown
    assert "75.0% (" in shown
    assert "better by 75.0 points" in " ".join(shown.split())
    report = report_of(run)
    assert "### Equal to the data's own" in report
    assert "| Exact match |" in " ".join(report.split("\n\n")[2].split())
    assert "On exact match, about these 20 examples, `lora` is better than `base`" in report


def test_the_page_shows_prompt_reference_and_answers(run: MemoryRun) -> None:
    data = data_of(page_of(run))
    first: dict[str, Any] = data["examples"][0]
    assert data["total"] == 20
    assert first["q"] == "add 1 and 0"
    assert first["prompt"] == "add 1 and 0\nand tell"
    assert first["gold"] == {"text": "1"}
    assert first["v"] == [{"ok": False, "text": "no"}, {"ok": True, "text": " 1\n"}]


def test_a_rate_that_its_rows_do_not_give_is_seen(run: MemoryRun) -> None:
    assert not [fault for fault in faults(run) if "answers" in fault or "exact" in fault]
    lora = run.results.variants["lora"]
    assert lora.exact_match is not None
    better = lora.exact_match.model_copy(update={"rate": 0.95})
    variants = run.results.variants | {"lora": lora.model_copy(update={"exact_match": better})}
    changed = dataclasses.replace(
        run, results=run.results.model_copy(update={"variants": variants})
    )
    assert any("exact_match of 'lora' is 0.95" in fault for fault in faults(changed))
