"""The rows of an evaluation that are kept batch by batch, and the memory they took.

A folder -> the rows that a killed process kept there; its memory counts in the phase that goes on.
Nothing is computed here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.disk.journal import Journal
from harness.measure.memory import MemoryPhase

ROWS_FILE = "rows.journal"


def kept_rows(work: Path, kernels: Any, phase: MemoryPhase) -> Journal:
    """The batches of an evaluation that lie in ``work``.

    Args:
        work: the evaluation's folder.
        kernels: those that the rows are computed with.
        phase: the memory being measured; it goes on from that of the kept rows.
    """
    journal = Journal(work / ROWS_FILE, kernels, lambda: phase.measured.model_dump())
    if journal.notes:
        phase.go_on_from(journal.notes[-1])
    return journal
