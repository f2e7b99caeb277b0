"""Cross-entropy and its gradient in the logits on the CPU: vectorized, and taken once.

A quarter of a LoRA step of SmolLM2 was the loss's ``logsumexp`` and its gradient, 49,152 scalar
exponentials a token taken twice. Here they are taken once, with ``vector_exp.py``'s exponential,
and summed by BLAS: MLX adds up a vocabulary one float32 at a time and is 1e-4 nats off, this 1e-6.
``models/chunked_loss.py`` calls it, a chunk at a time. Not covered: other types than float32.
"""

from __future__ import annotations

from harness.backend import mx
from harness.models.cpu.vector_exp import elementwise, exponential, slices

BLOCK_ELEMENTS = 2**17
"""Logits whose powers are taken at a time: their temporaries are a few megabytes."""


def cross_entropy(logits: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
    """Nats ``(rows)`` and their gradient in ``logits`` ``(rows, vocabulary)``, computed for a few
    rows at a time, to stay in the processor's cache."""
    rows, vocabulary = logits.shape
    ones = mx.ones((vocabulary, 1))
    parts = slices(rows, max(1, BLOCK_ELEMENTS // vocabulary))
    blocks = [_block(logits[part], targets[part], ones) for part in parts]
    losses, gradients = zip(*blocks, strict=True)
    return mx.concatenate(list(losses)), mx.concatenate(list(gradients))


def _block(logits: mx.array, targets: mx.array, ones: mx.array) -> tuple[mx.array, mx.array]:
    largest = logits.max(axis=-1, keepdims=True)
    score = mx.take_along_axis(logits, targets[:, None], axis=-1)
    powers = elementwise(exponential, logits - largest).reshape(logits.shape)
    # A product with ones: BLAS keeps many running sums, MLX's reduction a single one.
    total = powers @ ones
    loss = (mx.log(total) + largest - score).squeeze(-1)
    # After the loss: MLX might else leave it for last, and keep its logits until then.
    weights = mx.depends([powers], [loss])[0] / total
    return loss, weights.at[mx.arange(targets.size), targets].add(-1.0)
