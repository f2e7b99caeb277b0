"""A vectorized exponential for SiLU and softmax on the CPU: the functions.

On x86 MLX's CPU backend calls the scalar ``expf``, 19 ns an element: a quarter of a forward pass of
SmolLM2. A polynomial of plain operations (Cephes ``expf``; relative error below 1e-6), compiled by
``mx.compile``, is vectorized by the C++ compiler. Gradients are the formulas'. Rows masked whole
and NaN come out as MLX's own do, -inf among scores weighs 0. Who uses it: ``attention.py``,
``fast_llama.py``, and the loss over the vocabulary, ``fast_loss.py``; whether it is a gain is
measured in ``vector_gain.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from harness.backend import mx


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
