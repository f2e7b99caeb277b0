"""Was the machine busy with something else, or held back? A ``with`` block -> what it knows then.

CPU time that the whole machine spent during the block, less what this process and its
descendants spent, over what the machine could have spent. Time stolen by the hypervisor counts
as others'. A block in which the system lowered the speed (heat, a power brake) is contended too:
``machine/power.py``. A timing taken in a contended block is marked and enters no comparison
(DESIGN.md section 5). GPU use by others is not seen.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time

import psutil

from harness.machine import power
from harness.schema.power import Power

THRESHOLD = 0.05
"""Share of the machine above which a block is contended. An idle desktop's own services take 1 to
2%; on two cores 5% is a tenth of a core, where OpenBLAS and MKL already lose whole time slices
waiting for the thread that was put aside."""

RESOLUTION_S = 0.03

IDLE_KINDS = ("idle", "iowait")
COUNTED_TWICE = ("guest", "guest_nice")
"""Linux already counts these in ``user`` and ``nice``."""

_ENDED_ARE_LOST = sys.platform in ("darwin", "win32")
"""Whether psutil tells no process's total of ended children (there they are always 0)."""


class Contention:
    """Watches the block it wraps; the properties hold afterwards, also when the block raised.

    Args:
        root: process whose descendants are our own; this process by default. A worker names the
            process that started it, so that its siblings are not taken for strangers.
    """

    def __init__(self, root: int | None = None) -> None:
        self._tree = ProcessTree(os.getpid() if root is None else root)
        self._share: float | None = None

    @property
    def contended(self) -> bool:
        """Whether others took more than the threshold, or the system lowered the speed."""
        return self.others_share > THRESHOLD or bool(self.power.throttled)

    @property
    def power(self) -> Power:
        """The power state during the block."""
        return power.over_block(self._before, self._after)

    @property
    def others_share(self) -> float:
        """0..1 of the machine's CPU time; 0 where the clock's resolution shows nothing."""
        if self._share is None:
            raise RuntimeError("the block has not ended; ask for its contention after it")
        return self._share

    def __enter__(self) -> Contention:
        self._before = power.read()
        self._start = time.perf_counter()
        self._busy, self._own = _machine_busy_s(), self._tree.busy_s()
        return self

    def __exit__(self, *raised: object) -> None:
        wall = time.perf_counter() - self._start
        own = max(0.0, self._tree.busy_s() - self._own)
        others = max(0.0, _machine_busy_s() - self._busy - own)
        capacity = wall * (psutil.cpu_count() or 1)
        # The kernel counts in ticks of 10 ms: what amounts to a few of them proves nothing.
        share = others / capacity if others > RESOLUTION_S and capacity > 0 else 0.0
        self._share = min(share, 1.0)
        self._after = power.read()


def _machine_busy_s() -> float:
    """CPU seconds of the whole machine that were not idle."""
    times = psutil.cpu_times()._asdict()
    return float(
        sum(seconds for kind, seconds in times.items() if kind not in IDLE_KINDS + COUNTED_TWICE)
    )


def _this_process() -> int:
    return os.getpid()


class ProcessTree:
    """CPU seconds of a process and its descendants, those that have ended included.

    An ended child is in its parent's total of ended children: psutil tells it on Linux, the system
    to this process everywhere. On macOS nothing tells that of *another* process; the last reading
    of such a child is kept instead.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._last: dict[psutil.Process, float] = {}
        """The readings of those whose time would be lost with them."""
        self._lost_s = 0.0

    def busy_s(self) -> float:
        """The seconds until now; never less than at an earlier call."""
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        total, readings = 0.0, {}
        for one in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                times = one.cpu_times()
                if one.pid == _this_process():
                    ended = usage.ru_utime + usage.ru_stime
                else:
                    ended = getattr(times, "children_user", 0.0)
                    ended += getattr(times, "children_system", 0.0)
                    if _ENDED_ARE_LOST and one.ppid() != _this_process():
                        readings[one] = times.user + times.system
                total += times.user + times.system + ended
        self._lost_s += sum(read for one, read in self._last.items() if one not in readings)
        self._last = readings
        return total + self._lost_s

    def _processes(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self._root)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
