"""A clock that runs on recorded durations, so that pytest-benchmark can tabulate them.

Trials of several variants are taken in turns (`speed.py`), which pytest-benchmark cannot do: it
finishes one test before the next. So the trials are timed where they happen, and a test hands them
to pytest-benchmark as its rounds: the benchmarked function moves this clock by the next recorded
duration. Its tables, `--benchmark-json` and `--benchmark-compare` then hold the real timings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


class ReplayClock:
    """Time in seconds that only recorded durations move."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now(self) -> float:
        """The clock's time; the `timer` of a benchmark."""
        return self._now_s

    def of(self, durations_s: Iterable[float]) -> Callable[[], None]:
        """A function whose calls take, by this clock, the given durations one after another."""
        waiting = iter(durations_s)

        def step() -> None:
            self._now_s += next(waiting)

        return step


replay = ReplayClock()
"""The clock of this session."""
