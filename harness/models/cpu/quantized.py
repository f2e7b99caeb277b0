"""Fast products with quantized weights on the CPU: unpack to float32, then one BLAS call.

MLX's ``quantized_matmul`` is scalar and single-threaded on the CPU (about 2 GFLOP/s), and its
``dequantize`` handles one weight at a time (0.1 billion a second). Here 2-, 4- and 8-bit affine
weights are unpacked with vectorized byte operations (two to three times as fast, the same bits),
and the product's gradient unpacks again instead of keeping the float32 weight for the backward
pass, as QLoRA does on CUDA (Dettmers et al. 2023). The layers keep their class names' ancestors,
parameters and adapter names: an adapter trained with them loads in stock mlx-lm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

from harness.backend import mx, nn


class Format(NamedTuple):
    """How a weight is packed."""

    bits: int
    group_size: int
    mode: str


Unpacker = Callable[[mx.array, mx.array, mx.array | None, Format], mx.array]


def unpack_bytes(
    weight: mx.array, scales: mx.array, biases: mx.array | None, form: Format
) -> mx.array:
    """Dequantize 2-, 4- or 8-bit affine weights bytewise; equal to ``mx.dequantize``'s result."""
    assert biases is not None
    values = weight.view(mx.uint8)
    if form.bits < 8:
        mask = 2**form.bits - 1
        shifts = range(0, 8, form.bits)
        values = mx.stack([(values >> shift) & mask for shift in shifts], axis=-1)
    rows = weight.shape[0]
    grouped = values.reshape(rows, -1, form.group_size).astype(scales.dtype)
    return (grouped * scales[..., None] + biases[..., None]).reshape(rows, -1)


def unpack_mlx(
    weight: mx.array, scales: mx.array, biases: mx.array | None, form: Format
) -> mx.array:
    """``mx.dequantize``, for the formats that are not whole bits of a byte."""
    dense: mx.array = mx.dequantize(
        weight,
        scales,
        biases,
        group_size=form.group_size,
        bits=form.bits,
        mode=form.mode,
        dtype=None if biases is not None else mx.float32,
    )
    return dense


BLOCK_WEIGHTS = 2**18
"""Weights unpacked at a time, 1 MB in float32, of matrices of more than four such blocks."""

UNPACKERS: dict[str, Unpacker] = {"bytes": unpack_bytes, "mlx": unpack_mlx}


def unpackers(form: Format) -> tuple[str, ...]:
    """Names of the ways to unpack this format."""
    return ("bytes", "mlx") if form.mode == "affine" and 8 % form.bits == 0 else ("mlx",)


def blocks(rows: int, columns: int) -> list[slice]:
    """Rows to unpack at a time, so that the temporaries stay in a processor's cache.

    A vocabulary's output layer (49,152 x 576, 16 rows of input) unpacked whole takes 305 MB and
    91 ms, in blocks 165 MB and 78 ms.
    """
    if rows * columns <= 4 * BLOCK_WEIGHTS:
        return [slice(0, rows)]
    step = max(1, BLOCK_WEIGHTS // columns)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


@lru_cache(maxsize=64)
def product(form: Format, unpacker: str, has_biases: bool) -> Callable[..., mx.array]:
    """``f(x, weight, scales[, biases])``: x times the transposed weight, differentiable in x."""
    unpack = UNPACKERS[unpacker]

    def dense(packed: Sequence[mx.array], part: slice) -> mx.array:
        weight, scales, *biases = (array[part] for array in packed)
        return unpack(weight, scales, biases[0] if has_biases else None, form)

    def parts(packed: Sequence[mx.array]) -> list[slice]:
        rows, words = packed[0].shape
        return blocks(rows, words * 32 // form.bits)

    @mx.custom_function
    def multiply(x: mx.array, *packed: mx.array) -> mx.array:
        products = [x @ dense(packed, part).T for part in parts(packed)]
        return products[0] if len(products) == 1 else mx.concatenate(products, axis=-1)

    @multiply.vjp
    def gradient(primals: Any, cotangent: mx.array, _: mx.array) -> Any:
        _, *packed = primals
        # Without the dependency a compiled step would share the forward pass's unpacked weights,
        # that is keep all of them in float32 until the backward pass.
        tied = (mx.depends([packed[0]], [cotangent])[0], *packed[1:])
        dx = sum(cotangent[..., part] @ dense(tied, part) for part in parts(packed))
        return (dx, *(mx.zeros_like(array) for array in packed))

    return cast(Callable[..., mx.array], multiply)


class _Unpacking(nn.Module):  # type: ignore[misc]  # untyped in mlx
    """What both layers share: a threshold of rows, an unpacker, and perhaps a float32 copy.

    The attributes are plain Python ones, outside the module's parameters and state.
    """

    def configure(self, unpacker: str, min_rows: int) -> None:
        """Unpack from ``min_rows`` rows on; below, MLX's quantized product is used."""
        object.__setattr__(self, "_unpacker", unpacker)
        object.__setattr__(self, "_min_rows", min_rows)
        object.__setattr__(self, "_dense", None)

    def hold(self) -> None:
        """Keep the weight in float32 beside the packed one until training begins."""
        dense = UNPACKERS[self._unpacker](
            self["weight"], self["scales"], self.get("biases"), self._format()
        )
        mx.eval(dense)
        object.__setattr__(self, "_dense", dense)

    @property
    def dense(self) -> mx.array | None:
        """The float32 copy, where one is kept."""
        return cast("mx.array | None", self._dense)

    def _set_training_mode(self, mode: bool) -> None:
        super()._set_training_mode(mode)
        if mode:
            object.__setattr__(self, "_dense", None)

    def _format(self) -> Format:
        return Format(self.bits, self.group_size, self.mode)

    def _times(self, x: mx.array) -> mx.array | None:
        """x times the transposed weight, or None where MLX's own product is faster."""
        if self._dense is not None:
            dense: mx.array = self._dense
            return x @ dense.T
        if x.size // x.shape[-1] < self._min_rows:
            return None
        packed = [self["weight"], self["scales"]]
        biases = self.get("biases")
        if biases is not None:
            packed.append(biases)
        return product(self._format(), self._unpacker, biases is not None)(x, *packed)


class UnpackingLinear(_Unpacking, nn.QuantizedLinear):  # type: ignore[misc]
    """``nn.QuantizedLinear`` that unpacks for more than a few rows."""

    def __call__(self, x: mx.array) -> mx.array:
        y = self._times(x)
        if y is None:
            return cast(mx.array, super().__call__(x))
        return y + self["bias"] if "bias" in self else y


class UnpackingEmbedding(_Unpacking, nn.QuantizedEmbedding):  # type: ignore[misc]
    """``nn.QuantizedEmbedding`` whose use as output layer unpacks for more than a few rows."""

    def as_linear(self, x: mx.array) -> mx.array:
        y = self._times(x)
        return cast(mx.array, super().as_linear(x)) if y is None else y
