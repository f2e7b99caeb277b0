"""Whether the protocol's batches can go through the model as one on the CPU.

Every step reads all weights, so four times the rows take far less than four times as long
(results/PERFORMANCE.md has the steps of 16 and 64). In float32 a row's answer does not depend on
the other rows, but for rounding, so batches may share their steps: as many as the rule says, where
the caches of the model can be joined and memory holds them.
"""

from __future__ import annotations

from harness.backend import mx, nn
from harness.models.cpu.rule import memory_shortfall

_ALLOCATED = 256  # positions that mlx-lm's caches take at once


def fitting_batches(model: nn.Module, batches: int, rows: int, positions: int) -> int:
    """Batches to decode as one: ``batches``, or one where memory is too small for the caches.

    Args:
        model: an mlx-lm model, adapters merged if they are to be.
        batches: how many the rule says.
        rows: of a batch.
        positions: the most that a row's caches will hold.
    """
    if batches == 1:
        return 1
    needed = batches * rows * positions * _position_bytes(model)
    return batches if memory_shortfall(needed) is None else 1


def joinable(model: nn.Module) -> bool:
    """Whether the caches of ``model`` can hold the rows of several batches."""
    from mlx_lm.models.cache import make_prompt_cache

    return all(hasattr(layer, "merge") for layer in make_prompt_cache(model))


def _position_bytes(model: nn.Module) -> int:
    """Bytes that the caches of all layers take for a position of one row."""
    from mlx.utils import tree_flatten
    from mlx_lm.models.cache import make_prompt_cache

    cache = make_prompt_cache(model)
    mx.eval(model(mx.zeros((1, 1), mx.int32), cache=cache))
    held = tree_flatten([layer.state for layer in cache])
    taken = sum(int(a.nbytes) for _, a in held if isinstance(a, mx.array))
    return -(-taken // _ALLOCATED)
