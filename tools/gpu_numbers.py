"""The GPU's arithmetic beside the CPU's: operations of a transformer, each with a derived bound.

An operation on the default device in some dtype, and the same on the CPU in float32 from exactly
the same numbers -> the largest difference as a share of what rounding allows. Bounds are worst
cases (N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., 2.2 and 3.1):
``u`` is a dtype's unit roundoff, a sum of n float32 products in any order is off by at most
``gamma(n)`` of the sum of their absolute values, and each rounding to the dtype by ``u``. Both
sides sum in float32, hence ``2 * gamma(n)``. float32 is to be multiplied without TF32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.backend import mx, nn

UNIT = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
DTYPES = tuple(UNIT)
WIDTH = 512
HEAD = 64


def gamma(roundings: int) -> float:
    """The relative error of so many float32 roundings in a row, at most."""
    share = roundings * UNIT["float32"]
    return share / (1 - share)


@dataclass(frozen=True)
class Compared:
    """One operation in one dtype."""

    name: str
    dtype: str
    error: float
    """The largest absolute difference."""
    share: float
    """The largest difference as a share of its bound; at most 1 where all is well."""


def compare() -> Iterator[Compared]:
    """Every operation in every dtype."""
    for dtype in DTYPES:
        for name, operation in OPERATIONS.items():
            mx.random.seed(7)
            found, exact, bound = operation(dtype)
            with mx.stream(mx.cpu):
                difference = mx.abs(found.astype(mx.float32) - exact)
                share = number(mx.max(difference / mx.maximum(bound, 1e-30)))
                largest = number(mx.max(difference))
            yield Compared(name, dtype, largest, share if math.isfinite(largest) else math.inf)


def number(array: mx.array) -> float:
    """The only element of an array."""
    value: Any = array.item()
    return float(value)


Triple = tuple[mx.array, mx.array, mx.array]
"""What the device gave, what is exact and the bound, of one shape."""


def _normal(*shape: int, dtype: str = "float32", scale: float = 1.0) -> mx.array:
    """Random numbers, made on the CPU, that the dtype holds exactly."""
    with mx.stream(mx.cpu):
        made = (scale * mx.random.normal(shape)).astype(getattr(mx, dtype))
        mx.eval(made)
    return made


def _wide(*arrays: mx.array) -> tuple[mx.array, ...]:
    return tuple(array.astype(mx.float32) for array in arrays)


def _on_cpu(compute: Callable[[], tuple[mx.array, mx.array]]) -> tuple[mx.array, mx.array]:
    """The exact value and its bound, evaluated on the CPU."""
    with mx.stream(mx.cpu):
        exact, bound = compute()
        mx.eval(exact, bound)
    return exact, bound


def matmul(dtype: str) -> Triple:
    """A product of matrices: every term is exact in float32, the sum is rounded to the dtype."""
    a, b = _normal(64, WIDTH, dtype=dtype), _normal(WIDTH, 96, dtype=dtype)
    found = a @ b
    mx.eval(found)

    def exact() -> tuple[mx.array, mx.array]:
        x, y = _wide(a, b)
        value = x @ y
        return value, 2 * gamma(WIDTH) * (mx.abs(x) @ mx.abs(y)) + UNIT[dtype] * mx.abs(value)

    return found, *_on_cpu(exact)


def quantized(rows: int, bits: int) -> Callable[[str], Triple]:
    """A product with packed weights; the unpacked weight may be rounded twice to the dtype."""

    def operation(dtype: str) -> Triple:
        x, weight = _normal(rows, WIDTH, dtype=dtype), _normal(96, WIDTH, dtype=dtype)
        with mx.stream(mx.cpu):
            packed, scales, biases = mx.quantize(weight, group_size=64, bits=bits)
            mx.eval(packed, scales, biases)
        found = mx.quantized_matmul(x, packed, scales, biases, True, group_size=64, bits=bits)
        mx.eval(found)

        def exact() -> tuple[mx.array, mx.array]:
            wide, s, b = _wide(x, scales, biases)
            value = wide @ mx.dequantize(packed, s, b, group_size=64, bits=bits).T
            sizes = mx.dequantize(packed, mx.abs(s), mx.abs(b), group_size=64, bits=bits).T
            unit = UNIT[dtype]
            bound = (2 * gamma(WIDTH) + 3 * unit) * (mx.abs(wide) @ sizes) + unit * mx.abs(value)
            return value, bound

        return found, *_on_cpu(exact)

    return operation


def softmax(dtype: str) -> Triple:
    """An exponential's argument is off by a rounding of the largest score, a sum divides it."""
    x = _normal(32, WIDTH, dtype=dtype, scale=4.0)
    found = mx.softmax(x, axis=-1, precise=True)
    mx.eval(found)

    def exact() -> tuple[mx.array, mx.array]:
        (wide,) = _wide(x)
        value = mx.softmax(wide, axis=-1)
        largest = 2 * number(mx.max(mx.abs(wide)))
        share = 2 * (gamma(WIDTH) + gamma(16) * (1 + largest)) + UNIT[dtype]
        # Below the dtype's smallest normal number a rounding is absolute.
        return value, share * value + (2.0**-25 if dtype == "float16" else 2.0**-126)

    return found, *_on_cpu(exact)


def norm(centred: bool) -> Callable[[str], Triple]:
    """RMS or layer norm: statistics in float32, then three roundings to the dtype."""

    def operation(dtype: str) -> Triple:
        x, weight = _normal(32, WIDTH, dtype=dtype), _normal(WIDTH, dtype=dtype)
        bias = _normal(WIDTH, dtype=dtype)
        if centred:
            found = mx.fast.layer_norm(x, weight, bias, 1e-5)
        else:
            found = mx.fast.rms_norm(x, weight, 1e-5)
        mx.eval(found)

        def exact() -> tuple[mx.array, mx.array]:
            a, w, b = _wide(x, weight, bias)
            mean = a.mean(-1, keepdims=True) if centred else mx.zeros((32, 1))
            scale = mx.rsqrt(mx.square(a - mean).mean(-1, keepdims=True) + 1e-5)
            value = (a - mean) * scale * w + (b if centred else 0)
            size = (mx.abs(a) + mx.abs(a).mean(-1, keepdims=True)) * scale * mx.abs(w) + mx.abs(b)
            return value, (2 * gamma(WIDTH + 16) + 3 * UNIT[dtype]) * size

        return found, *_on_cpu(exact)

    return operation


def rope(dtype: str) -> Triple:
    """A rotation: an angle of up to 67 radians has float32's rounding of its size."""
    x = _normal(1, 4, 64, HEAD, dtype=dtype)
    settings: dict[str, Any] = {"traditional": False, "base": 10_000.0, "scale": 1.0, "offset": 3}
    found = mx.fast.rope(x, HEAD, **settings)
    mx.eval(found)

    def exact() -> tuple[mx.array, mx.array]:
        (wide,) = _wide(x)
        value = mx.fast.rope(wide, HEAD, **settings)
        sizes = mx.abs(wide) + mx.abs(mx.roll(wide, HEAD // 2, -1))
        return value, (gamma(16 * 67) + 3 * UNIT[dtype]) * sizes

    return found, *_on_cpu(exact)


def attention(dtype: str) -> Triple:
    """Scores are off by their sums' rounding, and so are their exponentials, by as much a share."""
    q = _normal(1, 8, 33, HEAD, dtype=dtype)
    k, v = _normal(1, 2, 33, HEAD, dtype=dtype), _normal(1, 2, 33, HEAD, dtype=dtype)
    scale = HEAD**-0.5
    found = mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask="causal")
    mx.eval(found)

    def exact() -> tuple[mx.array, mx.array]:
        queries, keys, values = _wide(q, k, v)
        keys, values = (mx.repeat(side, 4, axis=1) for side in (keys, values))
        scores = scale * (queries @ keys.swapaxes(-1, -2))
        scores = mx.where(mx.tri(33) > 0, scores, -mx.inf)
        shares = mx.softmax(scores, axis=-1)
        sizes = scale * number(mx.max(mx.abs(queries) @ mx.abs(keys).swapaxes(-1, -2)))
        unit = UNIT[dtype]
        # The scaled query, the score and the share may each be rounded to the dtype.
        share = 2 * sizes * (2 * gamma(HEAD) + 2 * unit) + 2 * gamma(64) + 2 * unit
        value = shares @ values
        return value, share * (shares @ mx.abs(values)) + unit * mx.abs(value)

    return found, *_on_cpu(exact)


def cross_entropy(dtype: str) -> Triple:
    """The logarithm of 5,000 exponentials' sum less a score, rounded to the dtype once or twice."""
    logits = _normal(40, 5_000, dtype=dtype, scale=8.0)
    targets = mx.arange(40)
    found = nn.losses.cross_entropy(logits, targets)
    mx.eval(found)

    def exact() -> tuple[mx.array, mx.array]:
        (wide,) = _wide(logits)
        score = mx.take_along_axis(wide, targets[:, None], axis=-1)[:, 0]
        total = mx.logsumexp(wide, axis=-1)
        value = total - score
        sizes = mx.abs(total) + mx.abs(score)
        return value, 2 * gamma(5_000) + (2 * UNIT[dtype] + gamma(64)) * sizes

    return found, *_on_cpu(exact)


def lora_gradient(dtype: str) -> Triple:
    """The gradient of a LoRA layer on packed weights, all of it as one vector.

    The bound is on the difference's norm: eight roundings to the dtype follow one another (two
    products forward, their sum, the difference from the target, its square, two products back, the
    scale), each of a share ``u``, and six sums of at most 512 terms.
    """
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.lora import LoRALinear

    x, target = _normal(32, WIDTH, dtype=dtype), _normal(32, 256, dtype=dtype)
    b = _normal(8, 256, dtype=dtype, scale=0.1)
    a = _normal(WIDTH, 8, dtype=dtype, scale=WIDTH**-0.5)
    weight = _normal(256, WIDTH, dtype=dtype, scale=WIDTH**-0.5)

    def gradient(kind: str) -> mx.array:
        inner = nn.Linear(WIDTH, 256, bias=False)
        inner.weight = weight
        with mx.stream(mx.cpu):  # the same bits on both sides
            inner = nn.QuantizedLinear.from_linear(inner, 64, 4)
            mx.eval(inner.parameters())
        layer = LoRALinear.from_base(inner, r=8, scale=2.0)
        layer.lora_a, layer.lora_b = a, b
        layer.set_dtype(getattr(mx, kind))
        layer.freeze()
        layer.unfreeze(keys=["lora_a", "lora_b"], recurse=False)
        rows, wanted = x.astype(getattr(mx, kind)), target.astype(getattr(mx, kind))

        def loss(model: Any) -> mx.array:
            return mx.square(model(rows) - wanted).sum()

        grads = nn.value_and_grad(layer, loss)(layer)[1]
        flat = [grad.astype(mx.float32).flatten() for _, grad in sorted(tree_flatten(grads))]
        joined = mx.concatenate(flat)
        mx.eval(joined)
        return joined

    found = gradient(dtype)
    with mx.stream(mx.cpu):
        exact = gradient("float32")
        size = mx.linalg.norm(exact)
        bound = (8 * UNIT[dtype] + 6 * gamma(WIDTH)) * size
        off = mx.linalg.norm(found - exact)
        mx.eval(off, bound)
    return off[None], mx.zeros((1,)), bound[None]


OPERATIONS: dict[str, Callable[[str], Triple]] = {
    "matmul": matmul,
    "quantized_matmul, 4 bits, 1 row": quantized(1, 4),
    "quantized_matmul, 4 bits, 64 rows": quantized(64, 4),
    "quantized_matmul, 8 bits, 1 row": quantized(1, 8),
    "quantized_matmul, 8 bits, 64 rows": quantized(64, 8),
    "softmax": softmax,
    "rms_norm": norm(centred=False),
    "layer_norm": norm(centred=True),
    "rope": rope,
    "scaled_dot_product_attention": attention,
    "cross_entropy": cross_entropy,
    "LoRA gradient": lora_gradient,
}
