"""A cache of this session and the tiny model, whole or with one thing broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import harness.backend  # noqa: F401  (the BLAS before mlx)
from harness.disk.cache import Cache
from harness.models.resolve import BaseModel, resolve


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny(cache: Cache) -> BaseModel:
    return resolve("tiny", cache)


@pytest.fixture(scope="session")
def shallow(cache: Cache, two_layers: Path) -> BaseModel:
    """A two-layer model of tiny's kind."""
    return resolve(str(two_layers), cache)


@pytest.fixture
def copy(tiny: BaseModel, tmp_path: Path) -> Path:
    """The tiny model's folder, to be damaged."""
    folder = tmp_path / "model"
    shutil.copytree(tiny.path, folder, ignore=shutil.ignore_patterns(".manifest.json"))
    return folder
