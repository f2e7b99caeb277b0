"""docs/suites.md: its tables are the records that the fixtures give, its example runs."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.data import records
from harness.markdown import table
from harness.schema import execution, results, rows, stage_results, variant_result

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "suites.md"
START, END = "<!-- records: python -m tests.test_docs_suites -->", "<!-- /records -->"

FIXTURES = {
    "finetuned": (variant_result.Finetune, variant_result.CurvePoint),
    "evaluation": (variant_result.Loss, variant_result.LossValue),
    "generations": (stage_results.Answer,),
    "predictions": (rows.PredictionRow,),
    "execution": (execution.Execution,),
    "memory": (variant_result.Memory, variant_result.PhaseMemory),
    "parameters": (variant_result.Parameters,),
    "size": (variant_result.Size,),
    "fused": (variant_result.Fuse, variant_result.FuseForm, variant_result.Flips),
    "questions": (variant_result.QuestionResult,),
    "checkpoints": (variant_result.CheckpointResult,),
    "throughput": (variant_result.Throughput,),
    "gate": (results.GateResult,),
}
LISTS = {"generations", "predictions", "questions", "checkpoints", "gate"}


def fields_of(fixture: str) -> str:
    """The tables of a fixture's records: every attribute with its description."""
    kinds = FIXTURES[fixture]
    several = "a list of " if fixture in LISTS else ""
    parts = [f"### `{fixture}`: {several}{kinds[0].__name__}"]
    for kind in kinds:
        lines = [
            [f"`{name}`", (field.description or "").replace("|", "\\|")]
            for name, field in kind.model_fields.items()
        ]
        parts.append(table([kind.__name__, "what it is"], lines, text_columns=2))
    return "\n\n".join(parts)


def records_block() -> str:
    return "\n\n".join([START, *map(fields_of, FIXTURES), END])


def test_every_attribute_of_every_fixture_is_in_the_page() -> None:
    assert records_block() in PAGE.read_text("utf-8")


def test_every_attribute_of_a_variant_and_its_examples_is_in_the_page() -> None:
    from harness.pipeline.variant_run import SECTIONS, VariantRun

    page = PAGE.read_text("utf-8")
    kinds = (records.Example, records.LogicalForm, records.Condition, records.TextExample)
    named = {name for kind in kinds for name in getattr(kind, "_fields", ())}
    named |= {
        f.name for kind in kinds if dataclasses.is_dataclass(kind) for f in dataclasses.fields(kind)
    }
    public = {name for name in vars(VariantRun) if not name.startswith("_")}
    own = (
        public
        - {*SECTIONS, "result", "stages", "all_speeds", "keep_fused", "requested", "track"}
        - {"to_come"}
    )
    assert {name for name in named | own if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("page", [PAGE, ROOT / "README.md"], ids=lambda page: page.name)
def test_the_examples_run_on_gold_of_any_kind(page: Path) -> None:
    (code,) = re.findall(r"```python\n(# .*test_mine.py\n.*?)```", page.read_text("utf-8"), re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    golds = (records.SqlGold("SELECT COUNT(*) FROM t", None), records.LogicalForm(0, 3, ()))
    asked = [records.Example(i, "t", "How many?", gold) for i, gold in enumerate(golds)]
    variant = SimpleNamespace(name="mine", examples=asked)
    right = [SimpleNamespace(id=i, ex=True) for i in range(2)]
    names["test_it_can_count"](variant, right)
    with pytest.raises(AssertionError, match="mine"):
        names["test_it_can_count"](variant, [])


@pytest.mark.slow
def test_the_example_of_the_page_runs(tmp_path: Path, two_layers: Path) -> None:
    """In a project of its own, which has nothing of the checkout's."""
    (code,) = re.findall(r"```python\n# test_mine.py\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    (tmp_path / "test_mine.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-p", "harness.plugin", "test_mine.py", "-q"]
    command += [f"--model={two_layers}", "--variant=base", "--limit=6"]
    own = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        command,
        **{"cwd": tmp_path, "capture_output": True, "text": True},
        env=own | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)},
    )
    assert "1 failed" in done.stdout  # a base that has learned nothing counts nothing right
    assert "base" in done.stdout
    assert (tmp_path / "results" / "runs").is_dir()


if __name__ == "__main__":
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(START)
    PAGE.write_text(before + records_block() + rest.partition(END)[2], "utf-8")
