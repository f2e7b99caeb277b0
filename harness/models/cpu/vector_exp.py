"""A vectorized exponential on the CPU, and SwiGLU, softmax and attention that use it.

On x86 MLX's CPU backend calls the scalar ``expf``, 19 ns an element: a quarter of a forward pass of
SmolLM2. A polynomial of plain operations (Cephes ``expf``; relative error below 1e-6), compiled by
``mx.compile``, is vectorized by the C++ compiler. Gradients are the formulas'. Rows masked whole
and NaN come out as MLX's own do, -inf among scores weighs 0. From what size on SwiGLU and attention
use it is set by `rule.py`; the loss over the vocabulary uses it too (`cross_entropy.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from harness.backend import mx

_BLOCK, _BLOCKS = 64, 6  # of causal queries: least positions in one, most of them in a row
_MASKED = -3.4028234663852886e38  # float32's least, as MLX fills masked scores


def slices(length: int, step: int) -> list[slice]:
    """``length`` positions in parts of ``step``, the last perhaps shorter."""
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


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
    """``function`` compiled for flat arrays of ``size``: one trace a size, the least used dropped.

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
    """``mx.fast.scaled_dot_product_attention`` with :func:`softmax`, equal but for rounding.

    Query heads that share keys are one product, as rows below one another. A query with every key
    masked attends to all alike, as MLX's does, but unlike MLX's has a gradient: use it for nothing.
    Long causal rows go in blocks of queries, each with the keys up to its own end: the scores
    beyond, nearly half of them, are not computed (MLX's CPU path computes and masks them).

    Args:
        queries: float32 ``(batch, heads, length, width)``.
        keys: ``(batch, shared, span, width)``; ``shared`` divides ``heads``.
        values: ``(batch, shared, span, width)``.
        scale: multiplies the scores.
        mask: ``"causal"``, booleans or a bias that broadcasts to ``(batch, heads, length, span)``.
        softmax_min: elements of the scores from which on the softmax is ours; None is never.

    Returns:
        ``(batch, heads, length, width)``.
    """
    length, span = queries.shape[2], keys.shape[2]
    block = max(_BLOCK, -(-length // _BLOCKS))
    if isinstance(mask, str) and length > block:
        parts = []
        for part in slices(length, block):
            seen = slice(span - length + part.stop)
            states = queries[:, :, part], keys[:, :, seen], values[:, :, seen]
            parts.append(_attention(*states, scale, mask, softmax_min))
        return mx.concatenate(parts, axis=2)
    return _attention(queries, keys, values, scale, mask, softmax_min)


def _attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    scale: float,
    mask: mx.array | str | None,
    softmax_min: int | None,
) -> mx.array:
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
    """What is added to the scores, with 4 axes: float32's least absorbs a masked score."""
    if isinstance(mask, str):
        last = mx.arange(span - length, span).reshape(-1, 1)
        mask = mx.greater_equal(last, mx.arange(span))
    bias: mx.array = mx.where(mask, 0.0, _MASKED) if mask.dtype == mx.bool_ else mask
    return bias.reshape((1,) * (4 - bias.ndim) + bias.shape)
