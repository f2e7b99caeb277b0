"""The rows of an evaluation that are kept batch by batch, and the memory they took.

A folder -> the rows that a killed process kept there, and the memory of the phase over all the
processes that took part in it. Nothing is computed here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.disk.journal import Journal
from harness.measure.memory import MemoryPhase, joined
from harness.schema.variant_result import PhaseMemory

ROWS_FILE = "rows.journal"


class KeptRows:
    """The batches of an evaluation that lie in ``work``, and the memory they took."""

    def __init__(self, work: Path, kernels: Any, phase: MemoryPhase) -> None:
        """``kernels`` are those that the rows are computed with, ``phase`` is being measured."""
        self._phase = phase
        self._earlier: PhaseMemory | None = None
        self.journal = Journal(work / ROWS_FILE, kernels, lambda: self.memory().model_dump())
        if self.journal.notes:
            self._earlier = PhaseMemory.model_validate(self.journal.notes[-1])

    def memory(self) -> PhaseMemory:
        """The memory of the phase so far, that of killed processes included."""
        now = self._phase.so_far
        return joined([self._earlier, now]) or now
