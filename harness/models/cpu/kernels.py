"""How a layer with quantized weights multiplies on the CPU, chosen by timing it.

A layer -> :class:`Kernel`: the way its weights are unpacked, the number of rows from which on that
is faster than MLX's quantized product, and the seconds behind the choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from harness.backend import mx
from harness.models.cpu.quantized import UNPACKERS, Format, product, unpackers
from harness.models.cpu.timing import shortest
from harness.protocols import BATCH_ROWS


@dataclass(frozen=True, slots=True)
class Kernel:
    """The choice for one shape and packing of weight, with what it was chosen by."""

    rows: int
    columns: int
    bits: int
    group_size: int
    mode: str
    layers: int
    """How many layers of the model have it."""
    unpacker: str
    """``bytes`` or ``mlx`` (``unpack.py``)."""
    min_rows: int
    """From this many rows of input on the weight is unpacked first."""
    packed_row_s: float
    """Seconds of MLX's quantized product, one row."""
    unpack_s: float
    """Seconds of unpacking and multiplying 16 rows."""
    dense_s: float
    """Seconds of multiplying 16 rows with the weight already in float32."""

    @property
    def key(self) -> tuple[int, int, Format]:
        """What the choice depends on."""
        return (self.rows, self.columns, Format(self.bits, self.group_size, self.mode))


def layer_key(layer: Any) -> tuple[int, int, Format]:
    """What the choice for ``layer`` depends on."""
    rows, packed = layer["weight"].shape
    form = Format(layer.bits, layer.group_size, layer.mode)
    return rows, packed * 32 // layer.bits, form


def measure(layer: Any, count: int) -> Kernel:
    """Time the ways to multiply with ``layer``'s own weight."""
    rows, columns, form = layer_key(layer)
    weight, scales, biases = layer["weight"], layer["scales"], layer.get("biases")
    packed = [weight, scales] + ([] if biases is None else [biases])
    one = mx.random.normal((1, columns), key=mx.random.key(0))
    batch = mx.random.normal((BATCH_ROWS, columns), key=mx.random.key(1))

    def quantized_product() -> mx.array:
        result: mx.array = mx.quantized_matmul(
            one,
            weight,
            scales=scales,
            biases=biases,
            transpose=True,
            group_size=form.group_size,
            bits=form.bits,
            mode=form.mode,
        )
        return result

    packed_row_s = shortest(quantized_product)
    timed = {
        name: shortest(lambda name=name: product(form, name, biases is not None)(batch, *packed))  # type: ignore[misc]
        for name in unpackers(form)
    }
    unpacker = min(timed, key=lambda name: timed[name])
    dense = UNPACKERS[unpacker](weight, scales, biases, form)
    dense_s = shortest(lambda: batch @ dense.T)
    return Kernel(
        rows=rows,
        columns=columns,
        bits=form.bits,
        group_size=form.group_size,
        mode=form.mode,
        layers=count,
        unpacker=unpacker,
        # The quantized product's time is proportional to its rows, unpacking's hardly grows.
        min_rows=max(1, math.ceil(timed[unpacker] / packed_row_s)),
        packed_row_s=packed_row_s,
        unpack_s=timed[unpacker],
        dense_s=dense_s,
    )
