"""Cross-entropy of an output layer that is not trained, a chunk of logits at a time.

Hidden states and targets -> nats a target, differentiable in the states, on any backend. Logits of
a whole batch and their gradient are the largest arrays of a training step (4 bytes a logit with
MLX's fused loss on a GPU, ml-explore/mlx#4520): a third to a half of the peak with a vocabulary of
150,000. Here each chunk's loss and gradient are computed together, and only the gradient in the
states is kept, as wide as the states. Nothing is computed twice. A chunk is a fixed number of
bytes, so the choice follows from rows and vocabulary and never from a stopwatch. Not covered: an
output layer with trainable weights, whose own gradient would need the logits again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from harness.backend import backend_name, mx, nn  # isort: skip  (the BLAS first)
from mlx.utils import tree_flatten

from harness.models.cpu import cross_entropy as on_cpu
from harness.models.cpu.vector_exp import slices
from harness.models.lm_head import SplitModel, split_model

CHUNK_BYTES = 32 * 2**20
"""Logits of one chunk on a CPU, in float32; twice that is alive for a moment."""

GPU_WHOLE_BYTES = 128 * 2**20
"""Logits that stay whole on a GPU, in their own type."""

GPU_CHUNK_BYTES = 32 * 2**20
"""Beyond, logits of one chunk. MLX runs up to ten operations ahead of a GPU, so that a few chunks
are alive at a time, not one."""

GPU_MIN_ROWS = 128
"""Rows of a chunk at least: with fewer the output layer's product waits for the weights."""

Head = Callable[[mx.array], mx.array]
_FLOATS = (mx.float32, mx.float16, mx.bfloat16)


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
        allowed = _FLOATS[:1] if backend_name() == "cpu" else _FLOATS
        if trained or split.head(split.backbone(mx.array([[0]]))).dtype not in allowed:
            split = None
    model.train(was_training)
    return split


def token_losses(head: Head, states: mx.array, targets: mx.array) -> mx.array:
    """Nats ``(n)`` of ``targets`` ``(n)`` given ``states`` ``(n, width)``, float32, without a
    gradient."""
    losses: list[mx.array] = []
    for part in _chunks(head, states):
        logits = head(_after(states[part], losses))
        losses.append(_nats(logits, targets[part]))
    return mx.concatenate(losses)


def trained_losses(head: Head, states: mx.array, targets: mx.array) -> mx.array:
    """As :func:`token_losses`, with a gradient in ``states``."""

    @mx.custom_function
    def both(states: mx.array) -> tuple[mx.array, mx.array]:
        losses: list[mx.array] = []
        slopes: list[mx.array] = []
        for part in _chunks(head, states):
            loss, slope = _nats_and_slope(head, _after(states[part], slopes), targets[part])
            losses.append(loss)
            slopes.append(slope)
        return mx.concatenate(losses), mx.concatenate(slopes)

    @both.vjp
    def _(_: Any, cotangents: Any, outputs: Any) -> mx.array:
        return cast(mx.array, (cotangents[0][:, None] * outputs[1]).astype(states.dtype))

    return cast(tuple[mx.array, mx.array], both(states))[0]


def _nats(logits: mx.array, targets: mx.array) -> mx.array:
    if backend_name() == "cpu":
        return on_cpu.cross_entropy(logits, targets)[0]
    return mx.fast.cross_entropy(logits, targets)


def _nats_and_slope(head: Head, piece: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
    """Nats ``(n)`` and their gradient in ``piece`` ``(n, width)``."""
    if backend_name() == "cpu":
        loss, gradient = on_cpu.cross_entropy(head(piece), targets)
        return loss, mx.vjp(head, [piece], [gradient])[1][0]

    def nats(piece: mx.array) -> mx.array:
        return mx.fast.cross_entropy(head(piece), targets)

    losses, slopes = mx.vjp(nats, [piece], [mx.ones(targets.shape)])
    return losses[0], slopes[0]


def _after(piece: mx.array, done: list[mx.array]) -> mx.array:
    """``piece`` after the chunk before it: else the logits of all chunks would be alive at once."""
    return cast(mx.array, mx.depends([piece], [done[-1]])[0]) if done else piece


def _chunks(head: Head, states: mx.array) -> list[slice]:
    """Rows whose logits fit the budget, in chunks of like size; no logits are evaluated here."""
    one = head(states[:1])
    rows, vocabulary = states.shape[0], int(one.shape[-1])
    if backend_name() == "cpu":
        count = max(1, -(-rows * vocabulary * 4 // CHUNK_BYTES))
    else:
        row_bytes = vocabulary * one.dtype.size
        fitting = max(GPU_MIN_ROWS, GPU_CHUNK_BYTES // row_bytes)
        count = 1 if rows * row_bytes <= GPU_WHOLE_BYTES else -(-rows // fitting)
    return slices(rows, -(-rows // count))
