"""Negative log-likelihood of given targets: token rows -> two values per target, in nats.

``nll`` takes the log-sum-exp in float32 without the drift of a long sum; ``mlx_lm_nll`` is the
value that mlx-lm's loss computes on this backend, which ``mlx_lm_compat`` must reproduce to 1e-5.
The two differ in two cases: in a low-precision model, whose loss mlx-lm takes in the precision of
its logits; and on the CPU, where MLX adds up the whole vocabulary one float32 at a time. Over
49,152 logits that loses 1.5e-4 nats on every token (SmolLM2, MLX 0.32.4).

The model is cut into its backbone and its output layer (``models/lm_head.py``), so that vocabulary
logits exist only for real positions and only a chunk at a time. A model that cannot be cut is
called whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.backend import backend_name, mx, nn
from harness.measure.batch_plan import pad
from harness.models.lm_head import SplitModel

CHUNK_BYTES = 64 * 2**20
"""Float32 logits alive at once; where MLX takes their log-sum-exp, twice that for a moment."""

BLOCK_ROWS = 8
"""Rows of logits at a time in numpy, so that the copy stays in the second-level cache."""

Nll = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TargetNll:
    """Negative log-likelihoods in nats ``(targets,)`` by both definitions."""

    nll: Nll
    mlx_lm_nll: Nll


def target_nll(
    model: Any, split: SplitModel | None, rows: Sequence[Sequence[int]], after: int
) -> list[TargetNll]:
    """Score each row's tokens 1.. and, last, the token ``after`` its end, in one forward pass.

    Rows are padded on the right to the longest of them; causal attention keeps padding out of
    every scored position.

    Args:
        model: an mlx-lm model in evaluation mode.
        split: its backbone and head, or None to call it whole.
        rows: token ids, each at least one long.
        after: the token scored after the end of each row (mlx-lm's pad token).

    Returns:
        For each row, as many values as it has tokens.
    """
    inputs = pad(rows)  # (rows, longest)
    targets = pad([(*row[1:], after) for row in rows])  # (rows, longest)
    lengths = np.array([len(row) for row in rows])
    scored = np.flatnonzero(np.arange(inputs.shape[1]) < lengths[:, None]).astype(np.int32)
    states = (model if split is None else split.backbone)(mx.array(inputs))
    states = states.reshape(-1, states.shape[-1])  # (rows * longest, width)
    if scored.size < inputs.size:
        states = states[mx.array(scored)]
    found = _chunked(states, split, targets.reshape(-1)[scored])
    ends = np.cumsum(lengths)[:-1]
    parts = zip(np.split(found.nll, ends), np.split(found.mlx_lm_nll, ends), strict=True)
    return [TargetNll(*part) for part in parts]


def _chunked(states: mx.array, split: SplitModel | None, targets: NDArray[np.int32]) -> TargetNll:
    """NLL of ``targets`` from hidden states (or from whole logits), a chunk of rows at a time.

    ``states`` is ``(targets, width)``; without ``split`` its width is the vocabulary's.
    """
    # The vocabulary's width is read off one row, unevaluated.
    vocabulary = states.shape[-1] if split is None else split.head(states[:1]).shape[-1]
    rows = max(1, CHUNK_BYTES // (4 * int(vocabulary)))
    chunks = []
    for start in range(0, targets.size, rows):
        part = states[start : start + rows]
        logits = part if split is None else split.head(part)
        chunks.append(cross_entropy(logits, targets[start : start + rows]))
    return TargetNll(
        np.concatenate([chunk.nll for chunk in chunks]),
        np.concatenate([chunk.mlx_lm_nll for chunk in chunks]),
    )


def cross_entropy(logits: mx.array, targets: NDArray[np.int32]) -> TargetNll:
    """``logsumexp(row) - row[target]`` of each row of ``logits``, ``(targets, vocabulary)``."""
    if backend_name() != "cpu":
        theirs = _by_mlx(logits, targets)
        nll = theirs if logits.dtype == mx.float32 else _by_mlx(logits.astype(mx.float32), targets)
        return TargetNll(nll, theirs)
    # MLX takes exp one scalar at a time there: a row of 49,152 logits costs 1 ms, twice the
    # product that makes it. numpy takes 0.05 ms, and 0.15 ms more for MLX's order of summation.
    in_order = logits.dtype == mx.float32 and mlx_sums_in_order()
    both = _by_numpy(np.array(logits.astype(mx.float32), copy=False), targets, in_order)
    return both if in_order else TargetNll(both.nll, _by_mlx(logits, targets))


@cache
def mlx_sums_in_order() -> bool:
    """Whether this MLX's CPU log-sum-exp adds one element after the other, found by trying.

    It does where it has no vector instructions (x86-64 as of 0.32), and then a running sum in
    numpy drifts as it does.
    """
    logits = np.random.RandomState(0).normal(scale=3.0, size=(4, 65_536)).astype(np.float32)
    targets = np.zeros(4, np.int32)
    theirs = _by_mlx(mx.array(logits), targets)
    ours = _by_numpy(logits, targets, in_order=True)
    return bool(np.abs(ours.mlx_lm_nll - theirs).max() < 4e-6)


def _by_mlx(logits: mx.array, targets: NDArray[np.int32]) -> Nll:
    """The function that mlx-lm's loss calls: it rounds otherwise on each backend and in each type
    (on a GPU it accumulates in float32 whatever the logits are)."""
    nll = nn.losses.cross_entropy(logits, mx.array(targets))
    return np.array(nll.astype(mx.float32), dtype=np.float64)


def _by_numpy(logits: NDArray[np.float32], targets: NDArray[np.int32], in_order: bool) -> TargetNll:
    """Both values of each row of ``logits``; they are equal unless summed ``in_order``."""
    nll = np.empty(targets.size, np.float64)
    mlx_lm_nll = np.empty(targets.size, np.float64)
    buffer = np.empty((min(BLOCK_ROWS, targets.size), logits.shape[1]), np.float32)
    for start in range(0, targets.size, BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        part = logits[block]
        shifted = buffer[: len(part)]
        np.subtract(part, part.max(axis=1)[:, None], out=shifted)
        score = np.take_along_axis(shifted, targets[block, None], axis=1)[:, 0].astype(np.float64)
        total = np.exp(shifted, out=shifted).sum(axis=1)
        nll[block] = np.log(total.astype(np.float64)) - score
        if in_order:
            total = np.cumsum(shifted, axis=1, out=shifted)[:, -1]
        mlx_lm_nll[block] = np.log(total.astype(np.float64)) - score
    return TargetNll(nll, mlx_lm_nll)
