"""Contention: others' work is seen, our own and our children's is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from harness.machine.power import Reading
from harness.measure import contention
from harness.measure.contention import Contention

SPIN = "import time, sys\nwhile time.process_time() < float(sys.argv[1]): pass"


def readings(monkeypatch: pytest.MonkeyPatch, machine: list[float], own: list[float]) -> None:
    """Ten seconds on two cores with these CPU seconds before and after."""
    clock = [100.0, 110.0]
    monkeypatch.setattr(contention.time, "perf_counter", lambda: clock.pop(0))
    monkeypatch.setattr(contention.psutil, "cpu_count", lambda: 2)
    monkeypatch.setattr(contention, "_machine_busy_s", lambda: machine.pop(0))
    monkeypatch.setattr(contention.ProcessTree, "busy_s", lambda self: own.pop(0))


def test_share_is_others_time_over_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    readings(monkeypatch, machine=[50.0, 64.0], own=[3.0, 13.0])
    with Contention() as block:
        pass
    # 14 s busy, 10 of them ours; 20 s could have been spent.
    assert block.others_share == pytest.approx(4 / 20)
    assert block.contended


def test_a_little_of_others_work_is_no_contention(monkeypatch: pytest.MonkeyPatch) -> None:
    readings(monkeypatch, machine=[50.0, 60.4], own=[3.0, 13.0])
    with Contention() as block:
        pass
    assert block.others_share == pytest.approx(0.02)
    assert not block.contended


def test_a_few_ticks_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    readings(monkeypatch, machine=[50.0, 50.02], own=[3.0, 3.0])
    with Contention() as block:
        pass
    assert block.others_share == 0.0


def own_seconds(child_of_ours: bool) -> float:
    """CPU seconds that a block counts as ours while a child process spends 0.4 s."""
    root = os.getpid() if child_of_ours else 1
    tree = contention.ProcessTree(root)
    before = tree.busy_s()
    subprocess.run([sys.executable, "-c", SPIN, "0.4"], check=True)
    return tree.busy_s() - before


def as_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil's shape there: processes tell nothing of their ended children (psutil/_psosx.py)."""
    real = psutil.Process.cpu_times

    def without_children(process: psutil.Process) -> Any:
        found = real(process)
        return SimpleNamespace(
            user=found.user, system=found.system, children_user=0.0, children_system=0.0
        )

    monkeypatch.setattr(psutil.Process, "cpu_times", without_children)
    monkeypatch.setattr(contention, "_ENDED_ARE_LOST", True)


@pytest.mark.parametrize("macos", [False, True])
def test_a_child_that_ended_during_the_block_was_ours(
    macos: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if macos:
        as_on_macos(monkeypatch)
    assert own_seconds(child_of_ours=True) >= 0.3


def test_a_sibling_that_ends_takes_nothing_from_what_was_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a model process sees another of the command's: it is no child of the one that watches."""
    as_on_macos(monkeypatch)
    tree = contention.ProcessTree(os.getpid())
    sibling = subprocess.Popen(
        [sys.executable, "-c", f"{SPIN}\nprint(flush=True)\ntime.sleep(60)", "0.4"],
        stdout=subprocess.PIPE,
    )
    try:
        assert sibling.stdout is not None
        sibling.stdout.readline()
        with monkeypatch.context() as patch:
            patch.setattr(contention, "_this_process", lambda: -1)
            before = tree.busy_s()
            sibling.kill()
            sibling.wait()
            assert tree.busy_s() >= before
    finally:
        sibling.kill()
        sibling.communicate()


def test_a_throttled_block_is_contended(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [Reading(), Reading(slowed=("thermal pressure heavy",))]
    monkeypatch.setattr(contention.power, "read", lambda: states.pop(0))
    readings(monkeypatch, machine=[50.0, 50.0], own=[3.0, 3.0])
    with Contention() as block:
        pass
    assert block.others_share == 0.0
    assert block.contended
    assert block.power.throttled == ["thermal pressure heavy"]


@pytest.mark.slow
def test_a_strangers_work_is_seen() -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SPIN, "30"])
    watched = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    try:
        time.sleep(0.3)
        with Contention(root=watched.pid) as block:
            time.sleep(1.0)
    finally:
        for child in (stranger, watched):
            child.kill()
            child.wait()
    assert block.others_share > 0.5 / (os.cpu_count() or 1)
    assert block.contended


def test_work_of_our_own_threads_is_not_contention() -> None:
    with Contention() as block:
        end = time.process_time() + 0.35
        while time.process_time() < end:
            pass
    own = contention.ProcessTree(os.getpid()).busy_s()
    assert own >= 0.3
    assert block.others_share < 1.0


def test_asking_too_early_is_a_bug() -> None:
    with pytest.raises(RuntimeError, match="has not ended"):
        _ = Contention().contended
