"""How a base's weights were stored before: packed, in a low-bit file, or on a low-bit grid.

:class:`~harness.models.resolve.BaseModel` -> :class:`~harness.schema.results.Weights`. Whoever
compares LoRA with QLoRA must know it: a model that was dequantized from 4 bits looks like any
other, but quantizing it rounds its weights a second time. What a file says of itself is taken from
it; else the values tell. A group of weights that share a scale of b bits holds at most 2**b
different values, whatever its levels are (affine, GGUF's, NF4), also after rounding to a 16-bit
format. Covers 2 to 4 bits in groups of 32, 64 or 128 along a row, which no float format shows by
chance; more bits, or groups along columns, are not recognised. Never imports mlx.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.errors import UserError
from harness.models.config import read_object
from harness.models.resolve import BaseModel
from harness.models.weights import STORED_AS, Tensor, model_files, read_header
from harness.schema.results import Weights

GROUPS = (128, 64, 32)
BITS = (2, 3, 4)
SAMPLED_MATRICES = 16
SAMPLED_ROWS = 64
"""Rows of a sampled matrix; of each the same number of weights, at a place of its own, is read."""
MOST_DISTINCT = 0.75
"""The largest share of different values among the nonzero ones of a matrix on a grid. A group of 32
normal numbers on 16 levels has 13 of 32; a pruned matrix has few nonzero ones, all different."""

_WORDS = {"F64": "<u8", "F32": "<u4", "F16": "<u2", "BF16": "<u2"}
"""Values are compared as the bits they are written in."""
_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "U32": "uint32"}


class Grid(NamedTuple):
    """What the values of a matrix lie on."""

    bits: int
    group_size: int


def stored_as(base: BaseModel) -> Weights:
    """What is known of how the weights of ``base`` were stored."""
    with suppress(UserError, ValidationError):
        return Weights.model_validate(read_object(base.path / STORED_AS))
    dtype = _main_dtype(base.path)
    if (packing := base.quantization) is not None:
        bits, size = (_number(packing, key) for key in ("bits", "group_size"))
        known = f" of {bits} bits in groups of {size}" if bits and size else ""
        return Weights(
            dtype=dtype,
            source="quantized checkpoint",
            source_bits=bits,
            group_size=size,
            note=f"a quantized checkpoint{known}",
        )
    grid = grid_of(base.path)
    if grid is None:
        note = f"{dtype}, on no grid of 2 to 4 bits"
        return Weights(dtype=dtype, source="none", source_bits=None, group_size=None, note=note)
    return Weights(
        dtype=dtype,
        source="low-bit grid",
        source_bits=grid.bits,
        group_size=grid.group_size,
        note=f"values on a {grid.bits}-bit grid in groups of {grid.group_size}, held as {dtype}",
    )


def grid_of(folder: Path) -> Grid | None:
    """The grid on which most sampled matrices of the model in ``folder`` lie; None without one.

    Raises:
        UserError: a file of weights cannot be read.
    """
    matrices = list(_matrices(folder))
    count = min(SAMPLED_MATRICES, len(matrices))
    chosen = [matrices[i * len(matrices) // count] for i in range(count)]
    found = [matrix_grid(_sample(file, tensor)) for file, tensor in chosen]
    on_grid = [grid for grid in found if grid is not None]
    if 2 * len(on_grid) <= len(found):
        return None
    return max(sorted(set(on_grid)), key=on_grid.count)


def matrix_grid(rows: NDArray[np.unsignedinteger]) -> Grid | None:
    """The grid on which sampled values ``(rows, weights)`` lie, given as the bits of floats."""
    # A zero is one value, whichever sign it has.
    sign = np.array(1 << (8 * rows.itemsize - 1), rows.dtype)
    values = np.where(rows == sign, np.array(0, rows.dtype), rows)
    for bits in BITS:
        for size in (size for size in GROUPS if values.shape[1] % size == 0):
            groups = np.sort(values.reshape(-1, size), axis=1)
            first = np.diff(groups, axis=1, prepend=groups[:, :1] ^ 1) != 0
            different = first.sum(axis=1)
            nonzero = (groups != 0) & (different > 1)[:, None]  # a constant group says nothing
            few = (first & nonzero).sum() <= MOST_DISTINCT * nonzero.sum()
            if nonzero.any() and few and different.max() <= 2**bits:
                return Grid(bits, size)
    return None


def _matrices(folder: Path) -> Iterator[tuple[Path, Tensor]]:
    """The float matrices of a model's blocks, where it has blocks, with the file of each."""
    found = {
        name: (file, tensor)
        for file in model_files(folder)
        for name, tensor in read_header(file).items()
        if tensor.dtype in _WORDS and len(tensor.shape) > 1 and tensor.shape[-1] % min(GROUPS) == 0
    }
    blocks = [name for name in found if any(part.isdigit() for part in name.split("."))]
    for name in sorted(blocks or found):
        yield found[name]


def _sample(file: Path, tensor: Tensor) -> NDArray[np.unsignedinteger]:
    """Evenly spaced rows of a matrix, of each as many weights as the largest group that fits."""
    width = tensor.shape[-1]
    word = np.dtype(_WORDS[tensor.dtype])
    shape = (tensor.bytes // word.itemsize // width, width)
    values = np.memmap(file, word, "r", tensor.start, shape)
    size = next(size for size in GROUPS if width % size == 0)
    count = min(SAMPLED_ROWS, len(values))
    places = [(i * len(values) // count, i % (width // size) * size) for i in range(count)]
    return np.stack([values[row, start : start + size] for row, start in places])


def _main_dtype(folder: Path) -> str:
    """The number format of most weights, by bytes."""
    sizes: dict[str, int] = {}
    for file in model_files(folder):
        for tensor in read_header(file).values():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.bytes
    most = max(sizes, key=lambda dtype: sizes[dtype])
    return _NAMES.get(most, most.lower())


def _number(packing: Mapping[str, object], key: str) -> int | None:
    value = packing.get(key)
    return value if isinstance(value, int) else None
