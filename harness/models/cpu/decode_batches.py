"""How many of the protocol's batches go through the model as one on the CPU, by timing.

Model -> :class:`DecodeBatches`. Every step reads all weights, so four times the rows take far less
than four times as long (results/PERFORMANCE.md has the steps of 16 and 64). In float32 a row's
answer does not depend on the other rows, but for rounding, so batches may share their steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from harness.backend import mx, nn
from harness.models.cpu.probes import memory_shortfall, shortest_s
from harness.protocols import BATCH_ROWS

_CANDIDATES = (1, 2, 4)  # batches
_ALLOCATED = 256  # positions that mlx-lm's caches take at once
_GAIN = 1.1  # a row must be as much faster: more rows take more memory


class StepTiming(NamedTuple):
    """Seconds of a step of so many rows."""

    rows: int
    step_s: float


@dataclass(frozen=True, slots=True)
class DecodeBatches:
    """How many batches are decoded as one, and the times behind the choice."""

    batches: int = 1
    timings: tuple[StepTiming, ...] = ()


def fitting_batches(model: nn.Module, batches: int, rows: int, positions: int) -> int:
    """Batches to decode as one now: ``batches``, or one where memory is short.

    Args:
        model: an mlx-lm model, adapters merged if they are to be.
        batches: how many were chosen.
        rows: of a batch.
        positions: the most that a row's caches will hold.
    """
    if batches == 1:
        return 1
    needed = batches * rows * positions * _position_bytes(model)
    return batches if memory_shortfall(needed) is None else 1


def choose_batches(model: nn.Module) -> DecodeBatches:
    """Time a step of one batch's rows and of twice as many, as long as a row gets faster.

    ``model`` is an mlx-lm model in evaluation mode. One batch, untimed, where its caches hold none.
    """
    from mlx_lm.models.cache import make_prompt_cache

    if not all(hasattr(layer, "merge") for layer in make_prompt_cache(model)):
        return DecodeBatches()
    timings: list[StepTiming] = []
    best = 1
    for batches in _CANDIDATES:
        rows = batches * BATCH_ROWS
        tokens = mx.zeros((rows, 1), mx.int32)
        timings.append(StepTiming(rows, shortest_s(partial(_step, model, tokens))))
        if batches > 1:
            fewer, more = (timing.step_s / timing.rows for timing in timings[-2:])
            if more * _GAIN > fewer:
                break
            best = batches
    return DecodeBatches(best, tuple(timings))


def _position_bytes(model: nn.Module) -> int:
    """Bytes that the caches of all layers take for a position of one row."""
    from mlx.utils import tree_flatten
    from mlx_lm.models.cache import make_prompt_cache

    cache = make_prompt_cache(model)
    mx.eval(model(mx.zeros((1, 1), mx.int32), cache=cache))
    held = tree_flatten([layer.state for layer in cache])
    taken = sum(int(a.nbytes) for _, a in held if isinstance(a, mx.array))
    return -(-taken // _ALLOCATED)


def _step(model: nn.Module, tokens: mx.array) -> mx.array:
    logits: mx.array = model(tokens)
    return logits[:, -1, :]
