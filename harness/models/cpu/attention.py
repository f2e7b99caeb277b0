"""Attention of float32 on the CPU with the vectorized softmax (``vector_exp.py``).

The same numbers as ``mx.fast.scaled_dot_product_attention`` but for rounding, and its gradients.
Long causal rows are cut into blocks of queries, so that the scores beyond the diagonal, nearly
half, are never computed: MLX's CPU path computes and masks them.
"""

from __future__ import annotations

from typing import cast

from harness.backend import mx
from harness.models.cpu.vector_exp import softmax

_BLOCK, _BLOCKS = 64, 6  # of causal queries: least positions in one, most of them in a row
_MASKED = -3.4028234663852886e38  # float32's least, as MLX fills masked scores


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
    Long causal rows go in blocks of queries, each against the keys up to its own end: what lies
    beyond, nearly half of the scores, is not computed.
    """
    length, span = queries.shape[2], keys.shape[2]
    block = max(_BLOCK, -(-length // _BLOCKS))
    if isinstance(mask, str) and length > block:
        before = span - length
        parts = []
        for start in range(0, length, block):
            end = min(start + block, length)
            seen = before + end
            ours = queries[:, :, start:end], keys[:, :, :seen], values[:, :, :seen]
            parts.append(_attention(*ours, scale, mask, softmax_min))
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
    """What is added to the scores, 4-D: of masked ones nothing is left beside float32's least."""
    if isinstance(mask, str):
        last = mx.arange(span - length, span).reshape(-1, 1)
        mask = mx.greater_equal(last, mx.arange(span))
    bias: mx.array = mx.where(mask, 0.0, _MASKED) if mask.dtype == mx.bool_ else mask
    return bias.reshape((1,) * (4 - bias.ndim) + bias.shape)
