"""A vectorized exponential for SiLU and softmax on the CPU: the functions, and what they gain.

On x86 MLX's CPU backend calls the scalar ``expf``, 19 ns an element: a quarter of a forward pass of
SmolLM2. A polynomial of plain operations (Cephes ``expf``; relative error below 1e-6), compiled by
``mx.compile``, is vectorized by the C++ compiler. :func:`measure` times both ways. Gradients are
the formulas'. Rows masked whole and NaN come out as MLX's own do, -inf among scores weighs 0.
Who uses it: ``fast_llama.py``, and the loss over the vocabulary, ``fast_loss.py``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

from harness.models.backend import mx

_ELEMENTS = (2**10, 2**17)  # few and many, both measured
_MASKED = -3.4028234663852886e38  # float32's least, as MLX fills masked scores


class Timing(NamedTuple):
    """Seconds of MLX's function and ours on as many elements."""

    elements: int
    stock_s: float
    ours_s: float


@dataclass(frozen=True, slots=True)
class VectorExp:
    """From how many elements on each function is ours (None: never), and the times behind it."""

    swiglu_min: int | None
    softmax_min: int | None
    """Inside of our attention; below, it is MLX's softmax."""
    attention_min: int | None
    """Elements of the scores."""
    timings: dict[str, tuple[Timing, Timing]] = field(default_factory=dict)
    """By function, of few and of many elements."""

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> VectorExp:
        """The record that ``dataclasses.asdict`` wrote."""
        timings = {
            name: cast(tuple[Timing, Timing], tuple(Timing(*timing) for timing in pair))
            for name, pair in record["timings"].items()
        }
        return cls(**{**record, "timings": timings})


def exponential(x: mx.array) -> mx.array:
    """``exp`` of float32: 0 below -87.7, largest at 88 (1.65e38), NaN of NaN."""
    x = mx.clip(x, -88.0, 88.0)
    # Added to 1.5 * 2**23 a float's low bits are the nearest integer, already where 2**n needs it.
    shifted = x * 1.4426950408889634 + 12582912.0
    n = shifted - 12582912.0
    power = ((shifted.view(mx.int32) + 127) << 23).view(mx.float32)
    r = x - n * 0.693359375 + n * 2.12194440e-4
    p = 1.9875691500e-4 * r + 1.3981999507e-3
    for coefficient in (8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = p * r + coefficient
    result: mx.array = (p * r * r + r + 1.0) * power
    return result


def _swiglu(gate: mx.array, up: mx.array) -> mx.array:
    return gate / (1.0 + exponential(-gate)) * up


def _swiglu_gradient(gate: mx.array, up: mx.array, cotangent: mx.array) -> tuple[mx.array, ...]:
    sigmoid = 1.0 / (1.0 + exponential(-gate))
    silu = gate * sigmoid
    return cotangent * up * (sigmoid + silu - silu * sigmoid), cotangent * silu


@lru_cache(maxsize=256)
def _compiled(function: Callable[..., Any], size: int) -> Callable[..., Any]:
    """``function`` compiled for flat arrays of ``size``: one trace a size, forgotten in turn.

    Reading a float's bits rules out ``shapeless``, and decoding has a new size every step.
    """
    return mx.compile(lambda *arrays: function(*arrays))


def elementwise(function: Callable[..., Any], *arrays: mx.array) -> Any:
    """``function`` of the arrays' elements, compiled; flat results."""
    return _compiled(function, arrays[0].size)(*(array.reshape(-1) for array in arrays))


@mx.custom_function
def swiglu(gate: mx.array, up: mx.array) -> mx.array:
    """``silu(gate) * up`` of float32."""
    return cast(mx.array, elementwise(_swiglu, gate, up).reshape(gate.shape))


@swiglu.vjp
def _(primals: Any, cotangent: mx.array, _output: mx.array) -> Any:
    gradients = elementwise(_swiglu_gradient, *primals, cotangent)
    return tuple(gradient.reshape(primals[0].shape) for gradient in gradients)


@mx.custom_function
def softmax(scores: mx.array) -> mx.array:
    """Softmax of float32 over the last axis."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    powers = elementwise(exponential, shifted).reshape(scores.shape)
    return cast(mx.array, powers / powers.sum(axis=-1, keepdims=True))


@softmax.vjp
def _(_primals: Any, cotangent: mx.array, output: mx.array) -> Any:
    weighted = cotangent * output
    return weighted - output * weighted.sum(axis=-1, keepdims=True)


def attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    scale: float,
    mask: mx.array | str | None,
    softmax_min: int | None = 0,
) -> mx.array:
    """``mx.fast.scaled_dot_product_attention`` with :func:`softmax`; query heads in groups.

    The heads that share keys are one product, as rows below one another. A query with every key
    masked attends to all alike, as MLX's does, but unlike MLX's has a gradient: use it for nothing.
    """
    batch, heads, length, width = queries.shape
    shared, span = keys.shape[1], keys.shape[2]
    group = heads // shared
    scores = (queries * scale).reshape(batch, shared, -1, width) @ keys.swapaxes(-1, -2)
    if mask is not None:
        bias = _bias(mask, length, span)
        grouped = (1, 1) if bias.shape[1] == 1 else (shared, group)
        bias = bias.reshape(bias.shape[0], *grouped, *bias.shape[2:])
        scores = scores.reshape(batch, shared, group, length, span) + bias
    if softmax_min is None or scores.size < softmax_min:
        weights = mx.softmax(scores, axis=-1, precise=True)
    else:
        weights = cast(mx.array, softmax(scores))
    weights = weights.reshape(batch, shared, -1, span)
    return (weights @ values).reshape(batch, heads, length, -1)


def _bias(mask: mx.array | str, length: int, span: int) -> mx.array:
    """What is added to the scores, 4-D: of masked ones nothing is left beside float32's least."""
    if isinstance(mask, str):
        last = mx.arange(span - length, span).reshape(-1, 1)
        mask = mx.greater_equal(last, mx.arange(span))
    bias: mx.array = mx.where(mask, 0.0, _MASKED) if mask.dtype == mx.bool_ else mask
    return bias.reshape((1,) * (4 - bias.ndim) + bias.shape)


@lru_cache(maxsize=1)
def measure() -> VectorExp:
    """Time MLX's functions and ours, once a process."""
    from mlx_lm.models.activations import swiglu as stock_swiglu

    def stock_softmax(scores: mx.array) -> mx.array:
        return mx.softmax(scores, axis=-1, precise=True)

    def times(stock: Any, ours: Any, *shapes: Sequence[tuple[int, ...]]) -> tuple[Timing, Timing]:
        found: list[Timing] = []
        for inputs in shapes:
            arrays = [mx.random.normal(s, key=mx.random.key(i)) for i, s in enumerate(inputs)]
            seconds = [_seconds(partial(function, *arrays)) for function in (stock, ours)]
            found.append(Timing(_ELEMENTS[len(found)], *seconds))
        return found[0], found[1]

    rows = [(elements // 128, 128) for elements in _ELEMENTS]
    softmaxes = times(stock_softmax, softmax, *([shape] for shape in rows))
    softmax_min = _crossing(*softmaxes)

    def stock_attention(queries: mx.array, keys: mx.array) -> mx.array:
        mask = None if queries.shape[2] == 1 else "causal"
        result: mx.array = mx.fast.scaled_dot_product_attention(
            queries, keys, keys, scale=0.125, mask=mask
        )
        return result

    def our_attention(queries: mx.array, keys: mx.array) -> mx.array:
        mask = None if queries.shape[2] == 1 else "causal"
        return attention(queries, keys, keys, 0.125, mask, softmax_min)

    timings = {
        "swiglu": times(stock_swiglu, swiglu, *([shape] * 2 for shape in rows)),
        "softmax": softmaxes,
        "attention": times(
            stock_attention,
            our_attention,
            # A token decoded, and a prompt: 8 heads over 2.
            [(1, 8, 1, 64), (1, 2, 128, 64)],
            [(1, 8, 128, 64), (1, 2, 128, 64)],
        ),
    }
    minima = {f"{name}_min": _crossing(*pair) for name, pair in timings.items()}
    return VectorExp(**minima, timings=timings)


def _crossing(few: Timing, many: Timing) -> int | None:
    """Where the straight lines through the measured points cross; None without a clear gain."""
    if many.ours_s > 0.8 * many.stock_s:
        return None
    saved_few, saved_many = few.stock_s - few.ours_s, many.stock_s - many.ours_s
    if saved_few >= 0:
        return 0
    per_element = (saved_many - saved_few) / (many.elements - few.elements)
    return few.elements + math.ceil(-saved_few / per_element)


def _seconds(compute: Callable[[], mx.array], repeats: int = 5) -> float:
    """The shortest of a few runs: the others were disturbed."""
    mx.eval(compute())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        mx.eval(compute())
        times.append(time.perf_counter() - start)
    return min(times)
