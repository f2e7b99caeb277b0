"""The loss of training and validation: negative log-likelihood of real tokens, never of a pad.

Input: a padded token matrix ``(rows, longest)`` and one ``[start, length]`` span a row,
``(rows, 2)``. Output: nats per target, masks and sums. The evaluation after training is
``measure/loss.py``. A target is the token
at position ``j`` with ``max(1, start) <= j < length``: ``start`` 0 scores the whole text
(``full_text``), the prompt's length scores SQL and stop token (``completion``). mlx-lm's own loss
also scores the pad at position ``length`` (``mlx_lm/tuner/trainer.py: default_loss``, 0.32.2).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.backend import mx, nn
from harness.models.cpu.cross_entropy import token_losses, trained_losses
from harness.models.lm_head import SplitModel


def token_nll(model: Any, tokens: mx.array) -> mx.array:
    """Nats of ``tokens[:, 1:]`` given what precedes each: float32, one column fewer."""
    logits = model(tokens[:, :-1])
    nll: mx.array = nn.losses.cross_entropy(logits, tokens[:, 1:])
    return nll.astype(mx.float32)


def target_mask(spans: mx.array, targets: int) -> mx.array:
    """Which of the ``targets`` columns of :func:`token_nll` are scored, a row a span."""
    position = mx.arange(1, targets + 1)
    return mx.logical_and(position >= spans[:, 0:1], position < spans[:, 1:])


def span_targets(start: int, length: int) -> int:
    """How many targets a span has; 0 for a row of one token or an answer cut away."""
    return max(0, length - max(1, start))


def training_loss(
    model: Any,
    tokens: mx.array,
    spans: mx.array,
    denominator: mx.array,
    split: SplitModel | None = None,
) -> tuple[mx.array, mx.array]:
    """The function that ``mlx_lm.tuner.trainer.train`` differentiates.

    With ``split``, the model cut before its output layer, only scored targets get logits.
    ``denominator`` is chosen by the batch iterator so that mlx-lm's averaging over micro-batches
    and ranks leaves the mean over all target tokens of the update (``batches.py``).

    Returns:
        The sum of scored nats over ``denominator``, and the number of scored targets.
    """
    if split is not None:
        total, count = _scored_sum(split, tokens, spans, trained_losses)
        return total / denominator, count
    nll = token_nll(model, tokens)
    mask = target_mask(spans, nll.shape[1])
    # where(), not a product: an overflowed pad position must not turn 0 * inf into NaN.
    total = mx.where(mask, nll, 0.0).sum()
    return total / denominator, mask.sum()


def scored_nats(
    model: Any, tokens: mx.array, spans: mx.array, split: SplitModel | None = None
) -> float:
    """The sum of scored nats, without a gradient; ``split`` as in :func:`training_loss`."""
    if split is not None:
        return float(_scored_sum(split, tokens, spans, token_losses)[0])
    nll = token_nll(model, tokens)
    return float(mx.where(target_mask(spans, nll.shape[1]), nll, 0.0).sum())


def _scored_sum(
    split: SplitModel, tokens: mx.array, spans: mx.array, losses: Any
) -> tuple[mx.array, mx.array]:
    """Sum and number of the scored targets; no other position gets vocabulary logits."""
    states = split.backbone(tokens[:, :-1])
    states = states.reshape(-1, states.shape[-1])
    # Tokens and spans are data: their values are known while a gradient is traced.
    scored = np.flatnonzero(np.array(target_mask(spans, tokens.shape[1] - 1)))
    if scored.size == 0:
        return (states * 0.0).sum(), mx.array(0)
    at = mx.array(scored.astype(np.int32))
    nats = losses(split.head, states[at], tokens[:, 1:].reshape(-1)[at])
    return nats.sum(), mx.array(scored.size)
