"""Progress as a plain callable, so that library code never prints it.

A stage reports ``(label, done, total)``; :class:`TerminalProgress` shows that as a bar with the
time left on a terminal, and as a line every 30 s in a log file or in CI.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from textwrap import TextWrapper
from typing import TYPE_CHECKING, TextIO

from harness.markdown import visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

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
        sys.stderr.write(visible(message).rstrip("\n") + "\n")


def send_messages(receiver: Callable[[str], None]) -> None:
    """Pass every later message of this process to ``receiver`` instead of printing it."""
    _receivers.append(receiver)


class TerminalProgress:
    """Shows steps on ``stream`` (standard error): one transient bar for each label, or plain lines.

    ``before_line`` is called before a lasting line or a bar; it can end a line that other code has
    begun.
    """

    def __init__(
        self, stream: TextIO | None = None, before_line: Callable[[], None] = lambda: None
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._before_line = before_line
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._lines: dict[str, tuple[float, float]] = {}  # label -> (started, last line)

    def __call__(self, label: str, done: float, total: float) -> None:
        """Report ``done`` of ``total``; a step ends when they are equal."""
        if self._stream.isatty():
            self._bar(label, done, total)
        else:
            self._line(label, done, total)

    def notify(self, message: str) -> None:
        """Write a lasting line; on a terminal several, none broken within a word."""
        self.close()
        self._before_line()
        text = visible(message).rstrip("\n")
        if self._stream.isatty():
            width = shutil.get_terminal_size().columns
            wrapper = TextWrapper(width, break_long_words=False, break_on_hyphens=False)
            text = "\n".join(map(wrapper.fill, text.split("\n")))
        self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Remove every bar."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks = {}

    def _bar(self, label: str, done: float, total: float) -> None:
        if self._bars is None:
            self._before_line()  # a bar that vanishes clears its line, and what stood on it
            self._bars = _started_bars(self._stream)
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(visible(label), total=total)
        self._bars.update(self._tasks[label], completed=done, total=total)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(label))
            if not self._tasks:
                self.close()

    def _line(self, label: str, done: float, total: float) -> None:
        now = time.monotonic()
        started, last = self._lines.setdefault(label, (now, now))
        if done >= total:
            del self._lines[label]
        elif now - last >= LINE_INTERVAL_S and done > 0:
            self._lines[label] = (started, now)
            left = (now - started) * (total - done) / done
            self.notify(f"{label}: {done:g}/{total:g}, about {left:.0f} s left")


def _started_bars(stream: TextIO) -> Progress:
    """Rich's bars; imported only where a terminal shows them."""
    from rich import progress
    from rich.console import Console

    bars = progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=Console(file=stream),
        transient=True,
    )
    bars.start()
    return bars
