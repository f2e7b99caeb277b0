"""Real tiny models for the tests of `measure`."""

from __future__ import annotations

from pathlib import Path

import pytest
from measure_models import Base, Loaded

import harness.backend  # noqa: F401  (before mlx_lm, see there)
from harness.models.embedded import tiny as tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model.write(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Loaded:
    from mlx_lm import load

    model, tokenizer = load(str(tiny_folder))
    return Loaded(model, tokenizer, Base(tiny_model.config()))
