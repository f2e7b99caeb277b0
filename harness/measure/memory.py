"""Memory of one phase: ``with`` blocks -> MLX's peak and the process's resident set.

MLX's own peak is per process and cumulative, so it is reset when a block begins; what was
already allocated then counts, as it takes memory during the phase too. The resident set is
sampled every 50 ms by a thread, with its value at the start. Each variant has a process of its
own, so that no phase of another variant is in these numbers. Bytes throughout.
"""

from __future__ import annotations

import threading
from typing import Any

import psutil

from harness.backend import mx
from harness.schema.variant_result import PhaseMemory

SAMPLE_S = 0.05


class MemoryPhase:
    """Measures the blocks that it wraps, one after the other, as one phase; see ``measured``."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._running = False
        self._ended: PhaseMemory | None = None

    def go_on_from(self, earlier: Any) -> None:
        """Include what killed processes measured: the JSON of their ``so_far``, None for none."""
        self._ended = None if earlier is None else PhaseMemory.model_validate(earlier)

    @property
    def measured(self) -> PhaseMemory:
        """The phase's memory up to now, also when a block raised.

        Raises:
            RuntimeError: no block has begun.
        """
        if (memory := self.so_far) is None:
            raise RuntimeError("the phase has not begun; read `measured` after the with block")
        return memory

    @property
    def so_far(self) -> PhaseMemory | None:
        """The first block's start and the largest peaks up to now; None if no block has begun."""
        if not self._running:
            return self._ended
        now = PhaseMemory(
            mlx_peak_bytes=max(self._active, int(mx.get_peak_memory())),
            rss_start_bytes=self._start,
            rss_peak_bytes=max(self._peak, self._rss()),
            shared_process=False,
        )
        if self._ended is None:
            return now
        peaks = {
            name: max(getattr(self._ended, name), getattr(now, name))
            for name in ("mlx_peak_bytes", "rss_peak_bytes")
        }
        return self._ended.model_copy(update=peaks)

    def __enter__(self) -> MemoryPhase:
        self._active = int(mx.get_active_memory())
        mx.reset_peak_memory()
        self._start = self._peak = self._rss()
        self._running = True
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-phase", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._done.set()
        self._thread.join()
        self._ended, self._running = self.so_far, False

    def _rss(self) -> int:
        return int(self._process.memory_info().rss)

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self._peak = max(self._peak, self._rss())
