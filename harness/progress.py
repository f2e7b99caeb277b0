"""Progress as a plain callable, so that library code never prints it.

A stage reports ``(label, done, total)``; :class:`TerminalProgress` shows that as a bar with the
time left on a terminal, and as a line every 30 s in a log file or in CI.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

ProgressCallback = Callable[[str, float, float], None]
"""``(label, done, total)``: ``done`` of ``total`` units of the step called ``label``."""

LINE_INTERVAL_S = 30.0
"""Without a terminal: seconds between two lines of one step."""


_receivers: list[Callable[[str], None]] = []


def silent(label: str, done: float, total: float) -> None:
    """A callback that shows nothing."""


def print_message(message: str) -> None:
    """Write a line to standard error, or pass it on where :func:`send_messages` was called."""
    if _receivers:
        _receivers[-1](message)
    else:
        sys.stderr.write(message.rstrip("\n") + "\n")


def send_messages(receiver: Callable[[str], None]) -> None:
    """Pass every later message of this process to ``receiver`` instead of printing it."""
    _receivers.append(receiver)


class TerminalProgress:
    """Shows steps on ``stream`` (standard error): one transient bar for each label, or plain lines.

    ``before_line`` is called before a lasting line; it can end a line that other code has begun.
    """

    def __init__(
        self, stream: TextIO | None = None, before_line: Callable[[], None] = lambda: None
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._before_line = before_line
        self._bars: _Bars | None = None
        self._lines: dict[str, tuple[float, float]] = {}  # label -> (started, last line)

    def __call__(self, label: str, done: float, total: float) -> None:
        """Report ``done`` of ``total``; a step ends when they are equal."""
        if self._stream.isatty():
            if self._bars is None:
                self._bars = _Bars(self._stream)
            if not self._bars.update(label, done, total):
                self.close()
        else:
            self._line(label, done, total)

    def notify(self, message: str) -> None:
        """Write a lasting line."""
        self.close()
        self._write(message.rstrip("\n"))

    def close(self) -> None:
        """Remove every bar."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _line(self, label: str, done: float, total: float) -> None:
        now = time.monotonic()
        started, last = self._lines.setdefault(label, (now, now))
        if done >= total:
            del self._lines[label]
        elif now - last >= LINE_INTERVAL_S and done > 0:
            self._lines[label] = (started, now)
            left = (now - started) * (total - done) / done
            self._write(f"{label}: {done:g}/{total:g}, about {left:.0f} s left")

    def _write(self, line: str) -> None:
        self._before_line()
        self._stream.write(f"{line}\n")
        self._stream.flush()


class _Bars:
    """Rich's bars; imported only where a terminal shows them."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskID,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def update(self, label: str, done: float, total: float) -> bool:
        """Move a bar; returns whether any is still open."""
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=total)
        self._progress.update(self._tasks[label], completed=done, total=total)
        if done >= total:
            self._progress.remove_task(self._tasks.pop(label))
        return bool(self._tasks)

    def stop(self) -> None:
        """Remove the bars from the screen."""
        self._progress.stop()
