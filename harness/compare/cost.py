"""Speeds and memory of two variants.

Input: `trials.<variant>.jsonl` of two variants -> output: median rates, and the ratio b/a of the
geometric means with its interval. Trials of the same blocks (A B A B) are paired. A single trial, a
busy machine or another machine gives no ratio, and the record holds the reason instead. Memory is
one peak per phase, not repeated, so its ratio has no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.compare.metrics import Kind
from harness.compare.sides import RunVariant
from harness.markdown import gigabytes
from harness.runs.store import StoredRun
from harness.schema.results import Device
from harness.schema.rows import TrialRow
from harness.stats.paired import geometric_mean, ratio_test
from harness.stats.rates import Interval

SPEEDS = ("prompt_tokens_per_s", "generation_tokens_per_s")
PHASES = ("train", "test", "generate", "fuse")
MIN_TRIALS = 2
_MEMORY_SLACK = 0.05


@dataclass(frozen=True)
class SpeedRatio:
    """Speed of b over a's, of geometric means, whose interval ``ci95`` is; ``ratio`` is None with
    the ``reason`` why not."""

    metric: str
    a: str
    b: str
    value_a: float | None
    value_b: float | None
    ratio: float | None
    ci95: Interval | None
    paired: bool
    reason: str


@dataclass(frozen=True)
class MemoryRatio:
    """MLX's peak of b over a's in one phase; ``ratio`` is None with the ``reason`` why not."""

    phase: str
    a: str
    b: str
    bytes_a: int
    bytes_b: int
    ratio: float | None
    reason: str


def memory_ratios(a: RunVariant, b: RunVariant) -> list[MemoryRatio]:
    """b's peaks over a's, for the phases that both ran."""
    memory_a, memory_b = a.result.memory, b.result.memory
    if memory_a is None or memory_b is None:
        return []
    made = []
    differing = other_measure("memory", a, b, "({}, {})")
    for phase in PHASES:
        x, y = memory_a.phase(phase), memory_b.phase(phase)
        if x is None or y is None:
            continue
        shared = x.shared_process or y.shared_process
        reason = differing or ("shared process" if shared else "")
        peaks = x.mlx_peak_bytes, y.mlx_peak_bytes
        ratio = peaks[1] / peaks[0] if peaks[0] and not reason else None
        made.append(MemoryRatio(phase, a.label(b), b.label(a), *peaks, ratio, reason))
    return made


def other_measure(kind: Kind, a: RunVariant, b: RunVariant, values: str) -> str:
    """Why timings or memory peaks of two runs have no common measure; empty where they have.

    Args:
        kind: of the metric; other kinds always have one.
        a: one side.
        b: the other side.
        values: a format for the value of a and that of b.
    """
    x, y = a.run.results, b.run.results
    if kind == "timing" and not same_machine(x.run.device, y.run.device):
        return f"another machine {values.format(*machine_names(x.run.device, y.run.device))}"
    if kind == "timing" and x.protocols.throughput != y.protocols.throughput:
        return "another throughput protocol"
    if kind == "timing" and (states := unlike_power(a, b)):
        return f"another power state {values.format(*states)}"
    if kind == "memory":
        if x.run.device.backend != y.run.device.backend:
            return f"another backend {values.format(x.run.device.backend, y.run.device.backend)}"
        if x.run.distributed.size != y.run.distributed.size:
            sizes = values.format(x.run.distributed.size, y.run.distributed.size)
            return f"another number of ranks {sizes}"
        if x.protocols.memory != y.protocols.memory:
            return "another memory protocol"
    return ""


def same_machine(a: Device, b: Device) -> bool:
    """Whether timings of two runs may be compared: backend, chip, BLAS, memory and GPU cores agree.

    Chips of one name have GPUs and memories of several sizes. A system's memory is not the same to
    the byte after an update; cores that one of them did not record are left out.
    """
    cores = None in (a.gpu_cores, b.gpu_cores) or a.gpu_cores == b.gpu_cores
    memory = abs(a.memory_bytes - b.memory_bytes) <= _MEMORY_SLACK * a.memory_bytes
    return (a.backend, a.chip, a.blas) == (b.backend, b.chip, b.blas) and cores and memory


def machine_names(a: Device, b: Device) -> tuple[str, str]:
    """The names of two machines, with what tells them apart where their chips have one name."""
    if a.chip != b.chip:
        return a.chip, b.chip
    first, second = (
        ", ".join(
            [
                *(part for part in (device.chip, device.blas) if part),
                *([f"{device.gpu_cores} GPU cores"] if device.gpu_cores else []),
                gigabytes(device.memory_bytes),
            ]
        )
        for device in (a, b)
    )
    return first, second


def unlike_power(a: RunVariant, b: RunVariant) -> tuple[str, str] | None:
    """The power states in which two timings were taken, where they differ in what both know."""
    x, y = a.result.throughput, b.result.throughput
    if x is None or y is None or x.power is None or y.power is None:
        return None
    one, other = x.power.state, y.power.state
    unlike = [key for key in one.keys() & other.keys() if one[key] != other[key]]
    if not unlike:
        return None
    first, second = (", ".join(state[key] for key in sorted(unlike)) for state in (one, other))
    return first, second


def why_contended(run: StoredRun) -> str:
    """What made the run's timings contended, in words; empty where nothing did."""
    if not run.results.run.contended:
        return ""
    taken = [result.throughput for result in run.results.variants.values()]
    powers = [one.power for one in taken if one is not None and one.power is not None]
    reasons = dict.fromkeys(reason for power in powers for reason in power.throttled)
    if reasons:
        return f"the machine was slowed down ({', '.join(reasons)})"
    return "the machine was busy"


def same_timing(a: RunVariant, b: RunVariant) -> bool:
    """Whether both sides hold one measurement, which the cache handed to the later run."""
    x, y = a.result.throughput, b.result.throughput
    if x is None or y is None or x.measured_at != y.measured_at:
        return False
    # Variants whose trials were interleaved may carry the same minute.
    return a.run.trials(a.variant) == b.run.trials(b.variant)


def speed_ratios(a: RunVariant, b: RunVariant) -> list[SpeedRatio]:
    """b's speeds over a's, prompt and generation."""
    trials_a, trials_b = a.run.trials(a.variant) or [], b.run.trials(b.variant) or []
    reason = _why_not(a, b, trials_a, trials_b)
    paired = _interleaved(a, b, trials_a, trials_b)
    made = []
    for metric in SPEEDS:
        x, y = ([float(getattr(row, metric)) for row in rows] for rows in (trials_a, trials_b))
        median_a, median_b = (float(np.median(each)) if each else None for each in (x, y))
        ratio = found = None
        if not reason and min(*x, *y) > 0.0:
            found = ratio_test(x, y, paired)
            ratio = geometric_mean(y) / geometric_mean(x)
        made.append(
            SpeedRatio(
                metric=metric,
                a=a.label(b),
                b=b.label(a),
                value_a=median_a,
                value_b=median_b,
                ratio=ratio,
                ci95=found[0] if found else None,
                paired=paired,
                reason=reason,
            )
        )
    return made


def _interleaved(
    a: RunVariant, b: RunVariant, trials_a: Sequence[TrialRow], trials_b: Sequence[TrialRow]
) -> bool:
    # A cached timing shares no block with a fresh one, even where their numbers are equal.
    timed = [side.result.throughput for side in (a, b)]
    together = len({each.cached if each else None for each in timed}) == 1
    blocks = [row.block for row in trials_a] == [row.block for row in trials_b]
    return a.run.folder == b.run.folder and blocks and together


def _why_not(
    a: RunVariant, b: RunVariant, trials_a: Sequence[TrialRow], trials_b: Sequence[TrialRow]
) -> str:
    sides = ((a, b, trials_a), (b, a, trials_b))
    bare = [side.label(other) for side, other, trials in sides if not trials]
    if bare:
        return f"{' and '.join(bare)} {'was' if len(bare) == 1 else 'were'} not timed"
    runs = (a.run.results.run, b.run.results.run)
    if not same_machine(runs[0].device, runs[1].device):
        names = machine_names(runs[0].device, runs[1].device)
        return f"timed on different machines ({names[0]}; {names[1]})"
    if states := unlike_power(a, b):
        return f"timed in different power states ({states[0]}; {states[1]})"
    if reason := why_contended(a.run) or why_contended(b.run):
        return f"{reason} while timing (contended)"
    if same_timing(a, b):
        return "the same measurement, cached"
    if min(len(trials_a), len(trials_b)) < MIN_TRIALS:
        return "single timings are not compared"
    if a.run.results.protocols.throughput != b.run.results.protocols.throughput:
        return "another throughput protocol"
    return ""
