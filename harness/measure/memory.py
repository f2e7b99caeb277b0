"""Memory of one phase: a ``with`` block -> MLX's peak and the process's resident set.

MLX's own peak is per process and cumulative, so it is reset when the block begins; what was
already allocated then counts, as it takes memory during the phase too. The resident set is
sampled every 50 ms by a thread, with its value at the start. Each variant has a process of its
own, so that no phase of another variant is in these numbers. Bytes throughout.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType

import psutil

from harness.backend import mx
from harness.schema.variant_result import PhaseMemory

SAMPLE_S = 0.05


def joined(parts: Iterable[PhaseMemory | None]) -> PhaseMemory | None:
    """The memory of a phase that came in several parts: the first start, the largest peaks.

    Args:
        parts: in the order of time, those of processes that were killed included; None is a part
            that did not run.
    """
    ran = [part for part in parts if part is not None]
    if not ran:
        return None
    peaks = {
        name: max(getattr(part, name) for part in ran)
        for name in ("mlx_peak_bytes", "rss_peak_bytes")
    }
    return ran[0].model_copy(update=peaks)


class MemoryPhase:
    """Measures the block it wraps; read ``measured`` afterwards.

    ::

        with MemoryPhase() as phase:
            train(...)
        record(phase.measured)
    """

    def __init__(self, sample_s: float = SAMPLE_S) -> None:
        self._sample_s = sample_s
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-phase", daemon=True)
        self._start = self._peak = self._active = 0
        self._measured: PhaseMemory | None = None

    @property
    def measured(self) -> PhaseMemory:
        """The phase's memory, also when the block raised.

        Raises:
            RuntimeError: the block has not ended.
        """
        if self._measured is None:
            raise RuntimeError("the phase has not ended; read `measured` after the with block")
        return self._measured

    @property
    def so_far(self) -> PhaseMemory:
        """The phase's memory up to now; once it has ended, all of it."""
        if self._measured is not None:
            return self._measured
        return PhaseMemory(
            mlx_peak_bytes=max(self._active, int(mx.get_peak_memory())),
            rss_start_bytes=self._start,
            rss_peak_bytes=max(self._peak, self._rss()),
            shared_process=False,
        )

    def __enter__(self) -> MemoryPhase:
        self._active = int(mx.get_active_memory())
        mx.reset_peak_memory()
        self._start = self._peak = self._rss()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self._measured = self.so_far

    def _rss(self) -> int:
        return int(self._process.memory_info().rss)

    def _watch(self) -> None:
        while not self._done.wait(self._sample_s):
            self._peak = max(self._peak, self._rss())
