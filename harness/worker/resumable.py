"""What a stage cost over all attempts: a process that was killed is part of it.

Measured phases -> the memory record of a payload; an evaluation's kept rows -> those rows with
the time and memory that went into them. Nothing is computed here.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from harness.disk.journal import Journal
from harness.measure.memory import MemoryPhase

ROWS_FILE = "rows.journal"

MemoryRecord = dict[str, Any]


class KeptRows:
    """The batches of an evaluation that lie in ``work``, and what they cost."""

    def __init__(self, work: Path, kernels: Any, phase: MemoryPhase) -> None:
        self._phase = phase
        self._started = time.perf_counter()
        self.journal = Journal(work / ROWS_FILE, kernels, self.cost)
        self._earlier = self.journal.notes[-1] if self.journal.notes else None

    def cost(self) -> dict[str, Any]:
        """``memory`` and ``wall_s``, those of killed processes included."""
        memory = phase_memory(self._phase)
        wall_s = time.perf_counter() - self._started
        if self._earlier is not None:
            memory = larger(self._earlier["memory"], memory)
            wall_s += self._earlier["wall_s"]
        return {"memory": memory, "wall_s": wall_s}


def phase_memory(*phases: MemoryPhase) -> MemoryRecord | None:
    """A phase that may come in several parts: the first start, the largest peaks."""
    if not phases:
        return None
    parts = [phase.so_far for phase in phases]
    return {
        "mlx_peak_bytes": max(part.mlx_peak_bytes for part in parts),
        "rss_start_bytes": parts[0].rss_start_bytes,
        "rss_peak_bytes": max(part.rss_peak_bytes for part in parts),
        # Each variant has a process of its own.
        "shared_process": False,
    }


def larger(earlier: MemoryRecord | None, now: MemoryRecord | None) -> MemoryRecord | None:
    """The memory of a phase that was cut off and went on in another process."""
    if earlier is None or now is None:
        return earlier or now
    peaks = ("mlx_peak_bytes", "rss_peak_bytes")
    return {**earlier, **{name: max(earlier[name], now[name]) for name in peaks}}
