"""docs/gates.md shows what its commands print today."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from gate_example import (
    END,
    GUIDE,
    KINDS_END,
    KINDS_START,
    ROOT,
    START,
    kinds_table,
    main,
    write_example,
)
from typer.testing import CliRunner

from harness.__main__ import app

REMEDY = "stale: run `python tests/results/gate_example.py --docs` and commit"


def commands() -> list[list[str]]:
    """The commands of the example, as typed."""
    part = GUIDE.read_text("utf-8").partition("## What a failing gate looks like")[2]
    lines = part.partition(START)[0].splitlines()
    return [shlex.split(line) for line in lines if line.startswith("python ")]


def test_the_example_is_what_its_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, gate = commands()
    assert (ROOT / make[1]).is_file()
    monkeypatch.chdir(tmp_path)
    main(make[2:])
    assert gate[:4] == ["python", "-m", "harness", "gate"]
    given = [str(ROOT / word) if word.startswith("results/") else word for word in gate[3:]]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 1, done.output
    block = GUIDE.read_text("utf-8").partition(START)[2].partition(END)[0].strip()
    assert block == done.stdout.strip(), REMEDY
    assert "`lora` `completion_loss` **fail**" in block


def test_the_baseline_of_the_example_is_the_adapter_that_was_damaged(tmp_path: Path) -> None:
    from gate_example import BASELINE, VARIANT
    from gate_proof import read_case

    from harness.runs.store import read_run

    published, stored = read_run(BASELINE), read_case(VARIANT, "seed0")
    adapters = [run.results.variants[VARIANT].adapter for run in (published, stored)]
    assert adapters[0] is not None
    assert adapters[1] is not None
    assert adapters[0].sha256 == adapters[1].sha256
    rows = [run.predictions(VARIANT) or [] for run in (published, stored)]
    assert [(r.id, r.ex, r.valid) for r in rows[0]] == [(r.id, r.ex, r.valid) for r in rows[1]]
    example = write_example(tmp_path)
    found = example.results.variants[VARIANT].execution
    assert found is not None
    right = [row.ex for row in example.predictions(VARIANT) or [] if row.ex is not None]
    assert found.ex == sum(right) / len(right)


def test_the_table_of_metrics_is_what_the_code_has() -> None:
    block = GUIDE.read_text("utf-8").partition(KINDS_START)[2].partition(KINDS_END)[0].strip()
    assert block == kinds_table(), REMEDY
