"""Cross-entropy of an output layer that is not trained, on the CPU: chunked, vectorized, once.

Hidden states and targets -> nats a target, differentiable in the states. A quarter of a LoRA step
of SmolLM2 was the loss's ``logsumexp`` and its gradient, 49,152 scalar exponentials a token taken
twice. Here they are taken once, with ``vector_exp.py``'s exponential, and summed by BLAS: MLX adds
up a vocabulary one float32 at a time and is 1e-4 nats off, this 1e-6. Every row's gradient is
computed along with its loss and kept, as wide as the states, so that only a chunk of logits is ever
alive. Not covered: an output layer with trainable weights, other types than float32, Metal, CUDA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from harness.backend import mx, nn  # isort: skip  (the BLAS first)
from mlx.utils import tree_flatten

from harness.models.cpu.vector_exp import elementwise, exponential, slices
from harness.models.lm_head import SplitModel, split_model

CHUNK_BYTES = 32 * 2**20
"""Float32 logits of one chunk; twice that is alive for a moment."""

BLOCK_ELEMENTS = 2**17
"""Logits whose powers are taken at a time: their temporaries are a few megabytes."""

Head = Callable[[mx.array], mx.array]


def split_for_loss(model: nn.Module, chunked: bool) -> SplitModel | None:
    """``model`` cut for our loss, or None where the loss is to be MLX's own.

    Runs the model on a probe: call it outside of a gradient, with the adapters in place.

    Args:
        model: an mlx-lm model; its mode and what of it is trained stay as they are.
        chunked: whether the rule takes our loss here.
    """
    if not chunked:
        return None
    was_training = bool(model.training)
    model.eval()
    split = split_model(model)
    if split is not None:
        owner = getattr(split.head, "__self__", split.head)
        trained = not isinstance(owner, nn.Module) or tree_flatten(owner.trainable_parameters())
        if trained or split.head(split.backbone(mx.array([[0]]))).dtype != mx.float32:
            split = None
    model.train(was_training)
    return split


def token_losses(head: Head, states: mx.array, targets: mx.array) -> mx.array:
    """Nats ``(n)`` of ``targets`` ``(n)`` given ``states`` ``(n, width)``, without a gradient."""
    losses: list[mx.array] = []
    for part in _chunks(head, states):
        logits = head(_after(states[part], losses))
        losses.append(_cross_entropy(logits, targets[part])[0])
    return mx.concatenate(losses)


def trained_losses(head: Head, states: mx.array, targets: mx.array) -> mx.array:
    """As :func:`token_losses`, with a gradient in ``states``."""

    @mx.custom_function
    def both(states: mx.array) -> tuple[mx.array, mx.array]:
        losses: list[mx.array] = []
        slopes: list[mx.array] = []
        for part in _chunks(head, states):
            piece = _after(states[part], slopes)
            loss, gradient = _cross_entropy(head(piece), targets[part])
            losses.append(loss)
            slopes += mx.vjp(head, [piece], [gradient])[1]
        return mx.concatenate(losses), mx.concatenate(slopes)

    @both.vjp
    def _(_: Any, cotangents: Any, outputs: Any) -> mx.array:
        return cast(mx.array, cotangents[0][:, None] * outputs[1])

    return cast(tuple[mx.array, mx.array], both(states))[0]


def _after(piece: mx.array, done: list[mx.array]) -> mx.array:
    """``piece`` after the chunk before it: else the logits of all chunks would be alive at once."""
    return cast(mx.array, mx.depends([piece], [done[-1]])[0]) if done else piece


def _chunks(head: Head, states: mx.array) -> list[slice]:
    """Rows whose logits fit the budget, in chunks of like size; no logits are evaluated here."""
    vocabulary = int(head(states[:1]).shape[-1])
    rows = states.shape[0]
    count = max(1, -(-rows * vocabulary * 4 // CHUNK_BYTES))
    return slices(rows, -(-rows // count))


def _cross_entropy(logits: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
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
