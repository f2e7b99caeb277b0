"""Negative log-likelihood of given targets: token rows -> one number per target.

The model is cut into its backbone and its output layer (``models/halves.py``), so that vocabulary
logits exist only for real positions and only a chunk at a time. One that may not be cut is called
whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.backend import mx
from harness.measure.entropy import TargetNll, cross_entropy
from harness.models.lm_head import SplitModel, split_model

__all__ = ["SplitModel", "split_model", "target_nll"]

CHUNK_BYTES = 64 * 2**20
"""Float32 logits alive at once; where MLX takes their log-sum-exp, twice that for a moment."""


def target_nll(
    model: Any, split: SplitModel | None, rows: Sequence[Sequence[int]], after: int
) -> list[TargetNll]:
    """Score each row's tokens 1.. and, last, the token ``after`` its end, in one forward pass.

    Rows are padded on the right to the longest of them; causal attention keeps padding out of
    every scored position.

    Args:
        model: an mlx-lm model in evaluation mode.
        split: its halves from :func:`split_model`, or None to call it whole.
        rows: token ids, each at least one long.
        after: the token scored after the end of each row (mlx-lm's pad token).

    Returns:
        For each row, as many values as it has tokens.
    """
    lengths = [len(row) for row in rows]
    width = max(lengths)
    inputs = np.zeros((len(rows), width), np.int32)
    targets = np.full((len(rows), width), after, np.int32)
    for position, row in enumerate(rows):
        inputs[position, : len(row)] = row
        targets[position, : len(row) - 1] = row[1:]
    real = np.arange(width)[None, :] < np.array(lengths)[:, None]
    flat = np.flatnonzero(real.reshape(-1)).astype(np.int32)
    states = (model if split is None else split.backbone)(mx.array(inputs))
    states = states.reshape(-1, states.shape[-1])
    if flat.size < real.size:
        states = states[mx.array(flat)]
    exact, native = _chunked(states, split, targets.reshape(-1)[flat])
    ends = np.cumsum(lengths)[:-1]
    return [
        TargetNll(one, two)
        for one, two in zip(np.split(exact, ends), np.split(native, ends), strict=True)
    ]


def _chunked(
    states: mx.array, split: SplitModel | None, targets: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """NLL of ``targets`` from hidden states (or from whole logits), a chunk of rows at a time."""
    exact, native = [], []
    rows = _chunk_rows(states, split)
    for start in range(0, targets.size, rows):
        part = states[start : start + rows]
        both = cross_entropy(
            part if split is None else split.head(part), targets[start : start + rows]
        )
        exact.append(both.exact)
        native.append(both.native)
    return np.concatenate(exact), np.concatenate(native)


def _chunk_rows(states: mx.array, split: SplitModel | None) -> int:
    """Rows whose logits fit the budget; the vocabulary's width is read off one row, unevaluated."""
    vocabulary = states.shape[-1] if split is None else split.head(states[:1]).shape[-1]
    return max(1, CHUNK_BYTES // (4 * int(vocabulary)))
