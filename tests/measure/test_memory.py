"""Memory by phase: peaks of real allocations, each phase on its own."""

from __future__ import annotations

import mmap
import time

import pytest

from harness.backend import mx
from harness.measure.memory import MemoryPhase

MB = 2**20


def test_mlx_peak_is_of_this_phase_alone() -> None:
    with MemoryPhase() as large:
        array = mx.zeros((64 * MB // 4,))
        mx.eval(array)
        del array
    with MemoryPhase() as small:
        mx.eval(mx.zeros((MB // 4,)))
    assert large.measured.mlx_peak_bytes >= 64 * MB
    assert small.measured.mlx_peak_bytes < 32 * MB + mx.get_active_memory()


def test_arrays_that_live_through_a_phase_count_in_it() -> None:
    kept = mx.zeros((32 * MB // 4,))
    mx.eval(kept)
    with MemoryPhase() as idle:
        pass
    assert idle.measured.mlx_peak_bytes >= 32 * MB
    del kept


def test_resident_set_is_sampled_while_the_block_runs() -> None:
    # Mapped, not taken from the heap, where freed pages may still be resident.
    with MemoryPhase() as phase, mmap.mmap(-1, 128 * MB) as block:
        for page in range(0, 128 * MB, 4096):
            block[page] = 1
        time.sleep(0.15)
    measured = phase.measured
    assert measured.rss_peak_bytes - measured.rss_start_bytes >= 100 * MB
    assert measured.rss_start_bytes > 10 * MB


def test_a_phase_that_raises_is_measured_and_its_thread_ends() -> None:
    phase = MemoryPhase()
    with pytest.raises(KeyError), phase:
        raise KeyError("stop")
    assert phase.measured.rss_peak_bytes >= phase.measured.rss_start_bytes
    assert not phase._thread.is_alive()


def test_asking_too_early_is_a_bug() -> None:
    with pytest.raises(RuntimeError, match="has not begun"):
        _ = MemoryPhase().measured
