"""Was the machine busy with something else? A ``with`` block -> the share that others took.

CPU time that the whole machine spent during the block, less what this process and its
descendants spent, over what the machine could have spent. Time stolen by the hypervisor counts
as others'. A timing taken in a contended block is marked and enters no comparison (DESIGN.md
section 5). GPU use by others is not seen.
"""

from __future__ import annotations

import contextlib
import os
import time

import psutil

THRESHOLD = 0.05
"""Share of the machine above which a block is contended. An idle desktop's own services take 1 to
2%; on two cores 5% is a tenth of a core, where OpenBLAS and MKL already lose whole time slices
waiting for the thread that was put aside."""

RESOLUTION_S = 0.03

IDLE_KINDS = ("idle", "iowait")
COUNTED_TWICE = ("guest", "guest_nice")
"""Linux already counts these in ``user`` and ``nice``."""


class Contention:
    """Watches the block it wraps; the properties hold afterwards, also when the block raised.

    Args:
        root: process whose descendants are our own; this process by default. A worker names the
            process that started it, so that its siblings are not taken for strangers.
    """

    def __init__(self, root: int | None = None) -> None:
        self._root = os.getpid() if root is None else root
        self._share: float | None = None

    @property
    def contended(self) -> bool:
        """Whether others took more than the threshold."""
        return self.others_share > THRESHOLD

    @property
    def others_share(self) -> float:
        """0..1 of the machine's CPU time; 0 where the clock's resolution shows nothing."""
        if self._share is None:
            raise RuntimeError("the block has not ended; ask for its contention after it")
        return self._share

    def __enter__(self) -> Contention:
        self._start = time.perf_counter()
        self._busy, self._own = _machine_busy_s(), _tree_busy_s(self._root)
        return self

    def __exit__(self, *raised: object) -> None:
        wall = time.perf_counter() - self._start
        own = max(0.0, _tree_busy_s(self._root) - self._own)
        others = max(0.0, _machine_busy_s() - self._busy - own)
        capacity = wall * (psutil.cpu_count() or 1)
        # The kernel counts in ticks of 10 ms: what amounts to a few of them proves nothing.
        share = others / capacity if others > RESOLUTION_S and capacity > 0 else 0.0
        self._share = min(share, 1.0)


def _machine_busy_s() -> float:
    """CPU seconds of the whole machine that were not idle."""
    times = psutil.cpu_times()._asdict()
    return float(
        sum(seconds for kind, seconds in times.items() if kind not in IDLE_KINDS + COUNTED_TWICE)
    )


def _tree_busy_s(root: int) -> float:
    """CPU seconds of ``root`` and its descendants.

    A child that has ended is in its parent's total of ended children from then on, so the sum
    never loses what it held.
    """
    try:
        process = psutil.Process(root)
        tree = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0.0
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            times = one.cpu_times()
            ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            total += times.user + times.system + ended
    return total
