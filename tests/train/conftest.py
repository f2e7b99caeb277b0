"""Token rows without a tokenizer, the tiny model, and training in a few seconds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from training_rows import make_rows

import harness.backend  # noqa: F401  (the BLAS before mlx)
from harness.data.tokens import TokenizedExample
from harness.disk.cache import Cache
from harness.models.load import LoadedModel, load
from harness.models.quantize import QuantizeSpec, quantized
from harness.models.resolve import resolve
from harness.models.weights import PACKED
from harness.train.variant import Variant


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def loader(
    cache: Cache, two_layers: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Variant], LoadedModel]:
    """A two-layer model of tiny's kind, quantized as a variant sets it, fresh at every call. It
    comes from a 4-bit file, as far as it is known by its folder."""
    folder = tmp_path_factory.mktemp("low-bit") / "model"
    shutil.copytree(two_layers, folder)
    packed = quantized(resolve(str(folder), cache), QuantizeSpec(bits=4, group_size=32), cache)
    shutil.copytree(packed.path, folder / PACKED)
    base = replace(resolve(str(folder), cache), id=str(two_layers))
    return lambda variant: load(quantized(base, variant.quantize, cache))


@pytest.fixture(scope="session")
def rows() -> list[TokenizedExample]:
    return make_rows(21, seed=0)


@pytest.fixture(scope="session")
def valid() -> list[TokenizedExample]:
    return make_rows(9, seed=1)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "adapter"
