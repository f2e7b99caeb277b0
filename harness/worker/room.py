"""What a model takes on disk, and whether there is room for another form of it.

A folder or a count of weights -> bytes, or the reason why a form is skipped.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil


def no_room(weights: int, root: Path) -> str | None:
    """Why a dequantized form of ``weights`` is skipped, or None when there is room for it."""
    root.mkdir(parents=True, exist_ok=True)
    # float32 at the most; once for the model, once for what writing and measuring it takes.
    needed = 2 * 4 * weights
    memory, disk = psutil.virtual_memory().available, shutil.disk_usage(root).free
    for what, room in (("memory", memory), ("disk", disk)):
        if needed > room:
            return f"would need {needed / 1e9:.1f} GB of {what}, {room / 1e9:.1f} are free"
    return None
