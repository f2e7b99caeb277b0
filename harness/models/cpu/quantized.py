"""Products with quantized weights on the CPU: dequantize to float32, then one BLAS call.

MLX's ``quantized_matmul`` is scalar and single-threaded on the CPU (about 2 GFLOP/s), and its
``dequantize`` handles one weight at a time (0.1 billion a second). Here 2-, 4- and 8-bit affine
weights are dequantized with vectorized byte operations (two to three times as fast, the same bits),
and the product's gradient dequantizes again instead of keeping the float32 weight for the backward
pass, as QLoRA does on CUDA (Dettmers et al. 2023). From how many rows of input on this is done
instead of MLX's product is set by `rule.py`. The layers keep the ancestors of their classes, their
parameters and adapter names: an adapter trained with them loads in stock mlx-lm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

from harness.backend import mx, nn
from harness.models.cpu.rule import Rule
from harness.models.cpu.vector_exp import slices


class Format(NamedTuple):
    """How a weight is packed."""

    bits: int
    group_size: int
    mode: str


Dequantizer = Callable[..., mx.array]
"""Format, packed weight ``(rows, words)``, scales and perhaps biases ``(rows, groups)`` -> float32
``(rows, columns)``."""


@dataclass(frozen=True, slots=True)
class Product:
    """How a model's weights of one shape and packing are multiplied with."""

    rows: int
    columns: int
    bits: int
    group_size: int
    mode: str
    layers: int
    """How many layers of the model have it."""
    unpacker: str
    """``bytes`` or ``mlx``: the way to dequantize."""
    min_rows: int | None
    """From this many rows of input on the weight is dequantized first; None is never."""

    @property
    def dense_bytes(self) -> int:
        """Bytes of float32 copies of all its layers."""
        return 4 * self.rows * self.columns * self.layers


@dataclass(slots=True)
class LayerProduct:
    """How one layer multiplies."""

    product: Product
    dense: mx.array | None = None
    """A float32 copy of its weight."""


def format_of(layer: Any) -> Format:
    """How the weight of ``layer`` is packed."""
    return Format(layer.bits, layer.group_size, layer.mode)


def layer_key(layer: Any) -> tuple[int, int, Format]:
    """What the product with ``layer`` depends on: rows and columns of its weight, and packing."""
    rows, words = layer["weight"].shape
    return rows, words * 32 // layer.bits, format_of(layer)


def packed_arrays(layer: Any) -> list[mx.array]:
    """The packed weight of ``layer``, its scales and, where its format has them, its biases."""
    return [layer[name] for name in ("weight", "scales", "biases") if name in layer]


def dequantize_bytes(
    form: Format, weight: mx.array, scales: mx.array, biases: mx.array
) -> mx.array:
    """Dequantize 2-, 4- or 8-bit affine weights bytewise; equal to ``mx.dequantize``'s result."""
    values = weight.view(mx.uint8)
    for bits, mask in ((4, 0x0F0F), (2, 0x0303)):
        if form.bits <= bits:  # each byte's two halves become two bytes, the lower one first
            wide = values.astype(mx.uint16)
            values = ((wide | (wide << (8 - bits))) & mask).view(mx.uint8)
    rows = weight.shape[0]
    grouped = values.reshape(rows, -1, form.group_size).astype(scales.dtype)
    return (grouped * scales[..., None] + biases[..., None]).reshape(rows, -1)


def dequantize_mlx(
    form: Format, weight: mx.array, scales: mx.array, biases: mx.array | None = None
) -> mx.array:
    """``mx.dequantize``, for the formats that are not whole bits of a byte."""
    dtype = None if biases is not None else mx.float32
    dense: mx.array = mx.dequantize(weight, scales, biases, **form._asdict(), dtype=dtype)
    return dense


BLOCK_WEIGHTS = 2**18
"""Weights dequantized at a time, 1 MB in float32, of matrices of more than four such blocks."""

DEQUANTIZERS: dict[str, Dequantizer] = {"bytes": dequantize_bytes, "mlx": dequantize_mlx}


def dequantizer(form: Format) -> str:
    """The name of the way to dequantize this format."""
    return "bytes" if form.mode == "affine" and 8 % form.bits == 0 else "mlx"


def blocks(rows: int, columns: int) -> list[slice]:
    """Rows to dequantize at a time, so that the temporaries stay in a processor's cache.

    A vocabulary's output layer (49,152 x 576, 16 rows of input) dequantized whole takes 305 MB and
    91 ms, in blocks 165 MB and 78 ms.
    """
    small = rows * columns <= 4 * BLOCK_WEIGHTS
    return slices(rows, rows if small else max(1, BLOCK_WEIGHTS // columns))


@lru_cache(maxsize=64)
def multiplier(form: Format, dequantizer: str) -> Callable[..., mx.array]:
    """``f(x, weight, scales[, biases])``: x ``(…, columns)`` times the transposed weight, that is
    ``(…, rows)``, differentiable in x."""
    dequantize = DEQUANTIZERS[dequantizer]

    def dense(packed: Sequence[mx.array], part: slice) -> mx.array:
        return dequantize(form, *(array[part] for array in packed))

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
        dx: Any = 0
        # Without the dependency a compiled step would share the forward pass's float32 weights,
        # that is keep all of them until the backward pass; and the products of all blocks, each
        # as wide as x, would be there before the first two are added.
        done = cotangent
        for part in parts(packed):
            tied = mx.depends([packed[0]], [done])[0]
            done = dx = dx + cotangent[..., part] @ dense((tied, *packed[1:]), part)
        return (dx, *(mx.zeros_like(array) for array in packed))

    return cast(Callable[..., mx.array], multiply)


def product_of(layer: Any, count: int, rule: Rule) -> Product:
    """The product with the weight of ``layer``, which stands for ``count`` alike."""
    rows, columns, form = layer_key(layer)
    unpacker = dequantizer(form)
    min_rows = rule.bytes_min_rows if unpacker == "bytes" else rule.mlx_min_rows
    return Product(rows, columns, *form, count, unpacker, min_rows)


class _Dequantizing(nn.Module):  # type: ignore[misc]  # untyped in mlx
    """What both layers share. ``_product`` is a plain attribute, no parameter of the module."""

    _product: LayerProduct

    def hold(self) -> None:
        """Keep the weight in float32 beside the packed one until training begins."""
        unpack = DEQUANTIZERS[self._product.product.unpacker]
        dense = unpack(format_of(self), *packed_arrays(self))
        mx.eval(dense)
        self._product.dense = dense

    @property
    def dense(self) -> mx.array | None:
        """The float32 copy ``(rows, columns)``, where one is kept."""
        return self._product.dense

    def _set_training_mode(self, mode: bool) -> None:
        super()._set_training_mode(mode)
        if mode:
            self._product.dense = None

    def _times(self, x: mx.array) -> mx.array | None:
        """x times the transposed weight, or None where it is MLX's own product."""
        if self._product.dense is not None:
            return x @ self._product.dense.T
        product = self._product.product
        if product.min_rows is None or x.size // x.shape[-1] < product.min_rows:
            return None
        return multiplier(format_of(self), product.unpacker)(x, *packed_arrays(self))


class DequantizingLinear(_Dequantizing, nn.QuantizedLinear):  # type: ignore[misc]
    """``nn.QuantizedLinear`` that dequantizes for more than a few rows."""

    def __call__(self, x: mx.array) -> mx.array:
        y = self._times(x)
        if y is None:
            return cast(mx.array, super().__call__(x))
        return y + self["bias"] if "bias" in self else y


class DequantizingEmbedding(_Dequantizing, nn.QuantizedEmbedding):  # type: ignore[misc]
    """``nn.QuantizedEmbedding`` that as output layer dequantizes for more than a few rows."""

    def as_linear(self, x: mx.array) -> mx.array:
        y = self._times(x)
        return cast(mx.array, super().as_linear(x)) if y is None else y


def dequantize(layer: Any, product: Product) -> None:
    """Have a quantized linear layer or embedding of MLX multiply by ``product``, in place."""
    embedding = isinstance(layer, nn.QuantizedEmbedding)
    layer.__class__ = DequantizingEmbedding if embedding else DequantizingLinear
    layer._product = LayerProduct(product)
