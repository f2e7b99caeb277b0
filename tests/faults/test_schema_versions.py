"""Stored runs of every schema version are read; newer and unknown ones are refused by number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.cli.runs import compare_command
from harness.compare.analysis import analyse
from harness.errors import UserError
from harness.report.write import write_report
from harness.runs.store import read_run
from harness.schema.results import SCHEMA_VERSION

# Written by the code of 24 November 2026, before results said how fine-tuning was timed.
OLD = Path(__file__).with_name("results_v0")


def test_a_run_of_schema_0_is_read_with_what_it_says_of_itself() -> None:
    raw = json.loads((OLD / "results.json").read_text("utf-8"))
    assert raw["schema_version"] == 0
    assert "n" not in raw["variants"]["lora"]["loss"]
    run = read_run(OLD)
    assert run.results.schema_version == SCHEMA_VERSION
    lora = run.results.variants["lora"]
    assert lora.loss is not None
    assert lora.finetune is not None
    assert lora.fuse is not None
    assert (lora.loss.n, lora.loss.of) == (60, 60)
    assert lora.loss.full_text.loss == raw["variants"]["lora"]["loss"]["full_text"]["loss"]
    assert lora.finetune.measured_at == "2026-11-24T20:14:10Z on Sample CPU, 2 cores"
    assert lora.finetune.cached is False
    assert lora.fuse.skipped is None


def test_a_run_of_schema_0_is_compared_and_reported(tmp_path: Path) -> None:
    value, _ = compare_command(f"{OLD}:lora", f"{OLD}:qlora")
    assert [c["metric"] for c in value["comparisons"]] == ["completion_loss", "ex", "ex_hardened"]
    write_report(analyse([read_run(OLD)]), tmp_path)
    assert "qlora" in (tmp_path / "report.md").read_text("utf-8")


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, -1, None, "1"])
def test_other_versions_are_refused_by_number(version: object, tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "run")
    file = tmp_path / "run" / "results.json"
    raw = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(raw | {"schema_version": version}), "utf-8")
    with pytest.raises(UserError, match=f"schema_version {version!r}; this tunebench reads 0 to 1"):
        read_run(tmp_path / "run")


def test_an_old_file_that_lacks_what_its_version_has_is_damaged(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "run")
    file = tmp_path / "run" / "results.json"
    raw = json.loads(file.read_text("utf-8"))
    del raw["run"]["device"]
    file.write_text(json.dumps(raw), "utf-8")
    with pytest.raises(UserError, match=r"is damaged: it lacks what .*'device'"):
        read_run(tmp_path / "run")
