"""The loss of training and validation: negative log-likelihood of real tokens, never of a pad.

Input: a padded token matrix ``(rows, longest)`` and one ``[start, length]`` span per row,
``(rows, 2)``. Output: nats per target, masks and sums; validation's one mean, token-weighted, the
same at any batch size. The evaluation proper, with a loss for each example, is ``measure/loss.py``.

A target is the token at position ``j`` with ``max(1, start) <= j < length``:
``start`` 0 scores the whole text (``full_text``), the prompt's length scores SQL and stop token
(``completion``). mlx-lm's own loss also scores the pad at position ``length``
(``mlx_lm/tuner/trainer.py: default_loss``, 0.32.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.backend import mx, nn
from harness.data.records import Example, LogicalForm, Split
from harness.data.sampling import stratified
from harness.data.tokens import TokenizedExample
from harness.measure.batch_plan import length_batches, pad
from harness.models.chunked_loss import token_losses, trained_losses
from harness.models.lm_head import SplitModel
from harness.progress import ProgressCallback, silent
from harness.sharding import Shard


def token_nll(model: Any, tokens: mx.array) -> mx.array:
    """Nats ``(rows, longest - 1)`` of ``tokens[:, 1:]`` given what precedes each, float32."""
    logits = model(tokens[:, :-1])
    nll: mx.array = nn.losses.cross_entropy(logits, tokens[:, 1:])
    return nll.astype(mx.float32)


def target_mask(spans: mx.array, targets: int) -> mx.array:
    """Which of the ``targets`` columns of :func:`token_nll` are scored: ``(rows, targets)``."""
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
    positions: mx.array | None = None,
    split: SplitModel | None = None,
) -> tuple[mx.array, mx.array]:
    """The function that ``mlx_lm.tuner.trainer.train`` differentiates.

    With ``split``, the model cut before its output layer, only the scored targets, which
    ``positions`` names (:func:`scored_positions`), get logits.
    ``denominator`` is chosen by the batch iterator so that mlx-lm's averaging over micro-batches
    and ranks leaves the mean over all target tokens of the update (``batches.py``).

    Returns:
        The sum of scored nats over ``denominator``, and the number of scored targets.
    """
    if split is None:
        total, count = _masked_sum(model, tokens, spans)
    else:
        assert positions is not None
        total, count = _scored_sum(split, tokens, positions, trained_losses)
    return total / denominator, count


def scored_positions(
    spans: Sequence[tuple[int, int]], targets: int, multiple: int = 1
) -> NDArray[np.int32]:
    """Where in the flattened ``(rows, targets)`` the scored targets are, in order.

    Filled up with -1, which is no position, to a ``multiple``.
    """
    places = [row * targets + place for row, span in enumerate(spans) for place in _scored(*span)]
    filled = places + [-1] * (-len(places) % multiple)
    return np.array(filled, np.int32)


def _scored(start: int, length: int) -> range:
    """The columns of :func:`token_nll` that a span scores."""
    return range(max(1, start) - 1, length - 1)


def scored_nats(
    model: Any,
    tokens: mx.array,
    spans: Sequence[tuple[int, int]],
    split: SplitModel | None = None,
) -> float:
    """The sum of scored nats, without a gradient; ``split`` as in :func:`training_loss`."""
    if split is None:
        return float(_masked_sum(model, tokens, mx.array(list(spans)))[0])
    positions = mx.array(scored_positions(spans, tokens.shape[1] - 1))
    return float(_scored_sum(split, tokens, positions, token_losses)[0])


def _masked_sum(model: Any, tokens: mx.array, spans: mx.array) -> tuple[mx.array, mx.array]:
    """Sum and number of the scored targets, from logits of all positions."""
    nll = token_nll(model, tokens)
    mask = target_mask(spans, nll.shape[1])
    # where(), not a product: an overflowed pad position must not turn 0 * inf into NaN.
    return mx.where(mask, nll, 0.0).sum(), mask.sum()


def _scored_sum(
    split: SplitModel, tokens: mx.array, positions: mx.array, losses: Any
) -> tuple[mx.array, mx.array]:
    """Sum and number of the scored targets, by ``losses`` of the head at ``positions`` alone."""
    states = split.backbone(tokens[:, :-1])
    states = states.reshape(-1, states.shape[-1])
    if positions.size == 0:
        return (states * 0.0).sum(), mx.array(0)
    at = mx.maximum(positions, 0)
    nats = losses(split.head, states[at], tokens[:, 1:].reshape(-1)[at])
    scored = positions >= 0
    return mx.where(scored, nats, 0.0).sum(), scored.sum()


_VALIDATION_SEED = 0


def validation_rows(rows: Sequence[TokenizedExample], count: int) -> list[TokenizedExample]:
    """The first ``count`` rows (-1: all) of an order in which tables take turns.

    The order is the same for every seed of a variant: else the spread of their losses would be
    that of the rows too, and the untouched base would have another loss with each seed.
    """
    blank = LogicalForm(0, 0, ())
    stand_ins = tuple(Example(at, row.table_id, "", blank) for at, row in enumerate(rows))
    chosen = stratified(Split("valid", stand_ins, {}), count, _VALIDATION_SEED)
    return [rows[stand_in.id] for stand_in in chosen]


def mean_loss(
    model: nn.Module,
    rows: Sequence[TokenizedExample],
    batch_size: int,
    progress: ProgressCallback = silent,
    label: str = "validate",
    split: SplitModel | None = None,
) -> float:
    """Mean nats a target over ``rows``; leaves the model in evaluation mode.

    With ``split``, the model cut before its output layer, only scored targets get logits.
    Whole batches go to the ranks in turn; every rank gets the same number back.
    """
    model.eval()
    batches = length_batches([len(row.tokens) for row in rows], batch_size, longest_first=False)
    share = Shard.of_the_group()
    nats, targets = 0.0, 0
    for number, batch in enumerate(batches):
        if share.takes(number):
            chosen = [rows[at] for at in batch]
            tokens = mx.array(pad([row.tokens for row in chosen]))
            spans = [(0, len(row.tokens)) for row in chosen]
            nats += scored_nats(model, tokens, spans, split)
            targets += sum(span_targets(0, len(row.tokens)) for row in chosen)
            mx.clear_cache()  # batches differ in width, so little of it would be used again
        progress(label, number + 1, len(batches))
    sums = share.gather([nats, targets])
    return math.fsum(part[0] for part in sums) / max(1, sum(int(part[1]) for part in sums))
