"""A base is called low-bit where its values lie on a grid of 2 to 4 bits, and only there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.backend import mx
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.models.quantize import SOURCE, QuantizeSpec, quantized
from harness.models.resolve import BaseModel, read_config
from harness.models.stored_as import Grid, grid_of, matrix_grid, stored_as

NORMAL = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)


def on_grid(bits: int, size: int, least: bool) -> NDArray[np.float32]:
    """The numbers rounded to ``2**bits`` levels in groups, as MLX's affine (``least``) or
    GGUF's symmetric formats do."""
    groups = NORMAL.reshape(-1, size)
    low = groups.min(axis=1, keepdims=True) if least else -abs(groups).max(axis=1, keepdims=True)
    high = groups.max(axis=1, keepdims=True) if least else -low
    step = (high - low) / (2**bits - 1)
    return (low + step * np.round((groups - low) / step)).reshape(NORMAL.shape)


def as_bits(values: NDArray[np.float32], dtype: str) -> NDArray[np.unsignedinteger]:
    """The bits of the values in a number format."""
    held = mx.array(values).astype(getattr(mx, dtype))
    return np.array(held.view(mx.uint32 if dtype == "float32" else mx.uint16))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("least", [True, False])
@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_a_grid_is_found_with_its_bits_and_groups(
    bits: int, size: int, least: bool, dtype: str
) -> None:
    assert matrix_grid(as_bits(on_grid(bits, size, least), dtype)) == Grid(bits, size)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "values",
    [
        NORMAL,
        NORMAL * (abs(NORMAL) > 1.2),  # pruned: three of four are zero, and nothing repeats
        on_grid(8, 64, True),
        on_grid(6, 32, True),
        np.ones_like(NORMAL),
    ],
    ids=["random", "pruned", "8 bits", "6 bits", "constant"],
)
def test_other_values_lie_on_none(values: NDArray[np.float32], dtype: str) -> None:
    assert matrix_grid(as_bits(values, dtype)) is None


def test_tiny_is_called_by_its_number_format_alone(tiny: BaseModel) -> None:
    found = stored_as(tiny)
    assert (found.dtype, found.source, found.source_bits) == ("float32", "none", None)


def test_a_checkpoint_in_bfloat16_lies_on_no_grid(tiny: BaseModel, tmp_path: Path) -> None:
    weights: dict[str, mx.array] = mx.load(str(tiny.path / "model.safetensors"))
    half = {name: array.astype(mx.bfloat16) for name, array in weights.items()}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), half)
    found = stored_as(replace(tiny, path=tmp_path))
    assert (found.dtype, found.source) == ("bfloat16", "none")


def test_one_matrix_on_a_grid_does_not_make_a_low_bit_model(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(4)]
    for count, expected in ((1, None), (2, None), (3, Grid(4, 64))):
        mixed = {
            name: on_grid(4, 64, True) if i < count else NORMAL for i, name in enumerate(names)
        }
        save_file(mixed, tmp_path / "model.safetensors")
        assert grid_of(tmp_path) == expected


def test_a_quantized_checkpoint_is_its_own_source(tiny: BaseModel, cache: Cache) -> None:
    made = quantized(tiny, QuantizeSpec(bits=4, group_size=32), cache)
    found = stored_as(made)
    assert (found.source, found.source_bits, found.group_size) == ("quantized checkpoint", 4, 32)
    assert found.note == "a quantized checkpoint of 4 bits in groups of 32"
    assert quantized(made, SOURCE, cache) is made


def test_a_base_without_low_bits_has_no_source_to_keep(tiny: BaseModel, cache: Cache) -> None:
    with pytest.raises(UserError, match=r"model 'tiny' has no low-bit source"):
        quantized(tiny, SOURCE, cache)
    with pytest.raises(UserError, match=r"model 'tiny' has no low-bit source"):
        read_config("tiny", packed=True)
    assert read_config("smollm2", packed=True)["quantization"]["bits"] == 4
