"""What memory does each phase take?"""

from __future__ import annotations

from harness.schema.variant_result import Memory


def test_memory_by_phase(memory: Memory) -> None:
    """Peaks are real, and no smaller than where their phase began."""
    for name in ("load", "train", "validate", "test", "generate", "fuse"):
        phase = memory.phase(name)
        if phase is not None:
            assert phase.mlx_peak_bytes > 0
            assert phase.rss_peak_bytes >= phase.rss_start_bytes > 0
