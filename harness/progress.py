"""Progress as a plain callable, so that library code never prints.

A stage reports ``(label, done, total)``; the terminal (:class:`TerminalProgress`) turns that into
a bar with the time left on standard error, and only for work that lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

ProgressCallback = Callable[[str, float, float], None]
"""``(label, done, total)``: ``done`` of ``total`` units of the step called ``label``."""


def silent(label: str, done: float, total: float) -> None:
    """The callback that shows nothing."""


class TerminalProgress:
    """Bars on standard error, one a label, gone when the block ends."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
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
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, object] = {}

    def __enter__(self) -> TerminalProgress:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, label: str, done: float, total: float) -> None:
        task = self._tasks.get(label)
        if task is None:
            task = self._progress.add_task(label, total=total)
            self._tasks[label] = task
        self._progress.update(task, completed=done, total=total)  # type: ignore[arg-type]
        if done >= total:
            self._progress.remove_task(task)  # type: ignore[arg-type]
            del self._tasks[label]
