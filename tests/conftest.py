"""What every folder of tests may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import two_layers as model


@pytest.fixture(scope="session")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a two-layer model of tiny's kind."""
    return model.write(tmp_path_factory.mktemp("models") / "two-layers")
