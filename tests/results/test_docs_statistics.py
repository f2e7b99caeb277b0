"""docs/statistics.md names what the code has, and its example is true."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from statsmodels.stats.proportion import proportions_ztest

from harness.schema.rows import CheckpointRow
from harness.stats.paired import mcnemar

DOC = (Path(__file__).resolve().parents[2] / "docs" / "statistics.md").read_text("utf-8")


def test_every_function_that_is_named_exists() -> None:
    named = set(re.findall(r"`(paired|power|intervals|units|rates)\.(\w+)`", DOC))
    assert len(named) >= 10
    for module, function in named:
        assert hasattr(importlib.import_module(f"harness.stats.{module}"), function), function


def test_every_test_file_that_is_named_exists() -> None:
    root = Path(__file__).resolve().parents[2]
    for file in re.findall(r"`(tests/\S+?\.py)`", DOC):
        assert (root / file).is_file(), file


def test_the_schema_of_checkpoint_rows_is_the_documented_one() -> None:
    line = next(line for line in DOC.splitlines() if line.startswith("`checkpoints.<variant>"))
    assert ", ".join(CheckpointRow.model_fields) in line


def test_the_example_of_pairing_is_true() -> None:
    # 159 right in both: 166 and 181 of 220.
    assert mcnemar(22, 7) == pytest.approx(0.008, abs=5e-4)
    assert proportions_ztest([166, 181], [220, 220])[1] == pytest.approx(0.080, abs=5e-4)
