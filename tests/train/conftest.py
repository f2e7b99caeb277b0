"""Token rows without a tokenizer, the tiny model, and training in a few seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from training_rows import make_rows

import harness.backend  # noqa: F401  (the BLAS before mlx)
from harness.data.tokens import TokenizedExample
from harness.disk.cache import Cache
from harness.models.load import LoadedModel, load
from harness.models.quantize import quantized
from harness.models.resolve import resolve
from harness.train.variant import Variant


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def loader(cache: Cache, two_layers: Path) -> Callable[[Variant], LoadedModel]:
    """A two-layer model of tiny's kind, quantized as a variant sets it, fresh at every call."""
    base = resolve(str(two_layers), cache)
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
