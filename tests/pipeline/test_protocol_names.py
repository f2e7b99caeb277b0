"""The name of a protocol is written once: `results.json` and the report follow it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness import protocols
from harness.data.prompts import style
from harness.data.sources.resolve import resolve_dataset
from harness.pipeline import seed_run
from tests.results.results_sample import sample_results, sample_rows, write_compared


@pytest.mark.parametrize("name", ["LOSS", "MEMORY", "GENERATION", "EXECUTION", "THROUGHPUT"])
def test_another_version_is_seen_in_the_record_and_the_report(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = re.sub(r"@\d+", "@29", getattr(protocols, name))
    monkeypatch.setattr(protocols, name, changed)
    record = seed_run.protocols(style("dialect"), resolve_dataset("mini"))
    rows = sample_rows(("lora",))
    results = sample_results("changed", rows).model_copy(update={"protocols": record})
    run = write_compared(tmp_path, results, rows)
    stored = json.loads((run.folder / "results.json").read_text("utf-8"))["protocols"]
    assert any(changed in text for text in stored.values())
    assert changed in (run.folder / "report.md").read_text("utf-8")


def test_a_limit_of_new_tokens_is_named_where_it_is_not_the_usual_one() -> None:
    mini = resolve_dataset("mini")
    for name, usual in (("dialect", 128), ("sql", 256), ("chat", 256)):
        plain = seed_run.protocols(style(name), mini).execution
        assert seed_run.protocols(style(name), mini, usual).execution == plain
        other = seed_run.protocols(style(name), mini, 700).execution
        assert other == plain.replace("K=8", "K=8, at most 700 new tokens")


def test_in_the_dialect_alone_generation_2_is_generation_1() -> None:
    mini = resolve_dataset("mini")
    for name, same in (("dialect", True), ("sql", False), ("chat", False)):
        now = seed_run.protocols(style(name), mini).execution
        then = now.replace("generation@2", "generation@1")
        assert then != now
        compared = protocols.comparable_answers
        assert (compared(then) == compared(now)) is same
