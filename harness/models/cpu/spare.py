"""Memory that copies made for speed may take."""

from __future__ import annotations

import psutil

SHARE = 0.5
"""Of the memory that is free."""


def lacking(needed: int) -> str | None:
    """Why ``needed`` bytes of float32 copies are not made, or None where they may be."""
    share = int(psutil.virtual_memory().available * SHARE)
    if needed <= share:
        return None
    return f"float32 copies need {needed / 1e9:.1f} GB, {share / 1e9:.1f} GB may be taken"
