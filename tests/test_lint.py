"""Ruff, strict mypy and the import contracts are part of the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import house
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        # A tenth of the time of `make test`; `make lint`, `make check` and CI run it too, on a Mac
        # as one.
        *(
            pytest.param(["mypy", f"--platform={system}"], marks=pytest.mark.slow)
            for system in ("linux", "darwin")
        ),
    ],
    ids=["ruff-check", "ruff-format", "mypy-strict-linux", "mypy-strict-darwin"],
)
def test_the_code_is_clean(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_layers_are_kept() -> None:
    kept, broken, printed = house.contracts()
    assert kept >= 6, printed
    assert broken == 0, printed
