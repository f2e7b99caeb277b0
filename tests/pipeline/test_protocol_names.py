"""The name of a protocol is written once: `results.json` and the report follow it."""

from __future__ import annotations

import json
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
    changed = getattr(protocols, name).replace("@1", "@29")
    monkeypatch.setattr(protocols, name, changed)
    record = seed_run.protocols(style("dialect"), resolve_dataset("mini"))
    rows = sample_rows(("lora",))
    results = sample_results("changed", rows).model_copy(update={"protocols": record})
    run = write_compared(tmp_path, results, rows)
    stored = json.loads((run.folder / "results.json").read_text("utf-8"))["protocols"]
    assert any(changed in text for text in stored.values())
    assert changed in (run.folder / "report.md").read_text("utf-8")
