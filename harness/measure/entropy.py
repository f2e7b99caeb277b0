"""Cross-entropy of vocabulary logits: logits and targets -> two NLL values a target.

``exact`` takes the log-sum-exp in float32 without the drift of a long sum; ``native`` is the value
that mlx-lm's loss computes on this backend, which ``mlx_lm_compat`` must reproduce to 1e-5. They
part in two cases: a low-precision model, whose loss mlx-lm takes in the precision of its logits;
and the CPU, where MLX adds up the whole vocabulary one float32 at a time. Over 49,152 logits that
loses 1.5e-4 nats on every token (SmolLM2, MLX 0.32.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from harness.backend import backend_name, mx

BLOCK_ROWS = 8
"""Rows of logits at a time in numpy, so that the copy stays in the second-level cache."""

Nll = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TargetNll:
    """Negative log-likelihoods in nats, one a target, by both definitions."""

    exact: Nll
    native: Nll


def cross_entropy(logits: mx.array, targets: NDArray[np.int32]) -> TargetNll:
    """``logsumexp(logits) - logits[target]`` of each row of ``logits``."""
    if backend_name() != "cpu":
        native = _by_mlx(logits, targets)
        exact = native if logits.dtype == mx.float32 else _by_mlx(_float32(logits), targets)
        return TargetNll(exact, native)
    # MLX takes exp one scalar at a time there: a row of 49,152 logits costs 1 ms, twice the
    # product that makes it. numpy takes 0.05 ms, and 0.15 ms more for MLX's order of summation.
    in_order = logits.dtype == mx.float32 and mlx_sums_in_order()
    both = _by_numpy(np.array(_float32(logits), copy=False), targets, in_order)
    return both if in_order else TargetNll(both.exact, _by_mlx(logits, targets))


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
    return bool(np.abs(ours.native - theirs).max() < 4e-6)


def _by_mlx(logits: mx.array, targets: NDArray[np.int32]) -> Nll:
    score = mx.take_along_axis(logits, mx.array(targets)[:, None], axis=-1).squeeze(-1)
    nll = mx.logsumexp(logits, axis=-1) - score
    return np.array(_float32(nll), dtype=np.float64)


def _by_numpy(logits: NDArray[np.float32], targets: NDArray[np.int32], in_order: bool) -> TargetNll:
    """Both values of each row; ``native`` equals ``exact`` unless summed ``in_order``."""
    exact = np.empty(targets.size, np.float64)
    native = np.empty(targets.size, np.float64)
    buffer = np.empty((min(BLOCK_ROWS, targets.size), logits.shape[1]), np.float32)
    for start in range(0, targets.size, BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        part = logits[block]
        shifted = buffer[: len(part)]
        np.subtract(part, part.max(axis=1)[:, None], out=shifted)
        score = np.take_along_axis(shifted, targets[block, None], axis=1)[:, 0].astype(np.float64)
        total = np.exp(shifted, out=shifted).sum(axis=1)
        exact[block] = np.log(total.astype(np.float64)) - score
        if in_order:
            total = np.cumsum(shifted, axis=1, out=shifted)[:, -1]
        native[block] = np.log(total.astype(np.float64)) - score
    return TargetNll(exact, native)


def _float32(values: mx.array) -> mx.array:
    return values if values.dtype == mx.float32 else values.astype(mx.float32)
