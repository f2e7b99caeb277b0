"""Speeds and memory of two variants.

Input: `trials.<variant>.jsonl` of two variants -> output: median rates and the ratio b/a with its
interval. Trials of the same blocks (A B A B) are paired. A single trial, a busy machine or another
machine gives no ratio, and the record holds the reason instead. Memory is one peak a phase and not
repeated, so its ratio has no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.compare.sides import RunVariant
from harness.schema.results import Device
from harness.schema.rows import TrialRow
from harness.stats.intervals import Interval
from harness.stats.paired import ratio_interval

SPEEDS = ("prompt_tokens_per_s", "generation_tokens_per_s")
PHASES = ("train", "test", "generate")
MIN_TRIALS = 2


@dataclass(frozen=True)
class SpeedRatio:
    """Median speed of b over a's; ``ratio`` is None with the ``reason`` why not."""

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
    results = [side.run.results.variants[side.variant].memory for side in (a, b)]
    if results[0] is None or results[1] is None:
        return []
    devices = [side.run.results.run.device for side in (a, b)]
    protocols = [side.run.results.protocols.memory for side in (a, b)]
    sizes = [side.run.results.run.distributed.size for side in (a, b)]
    made = []
    for phase in PHASES:
        x, y = results[0].phase(phase), results[1].phase(phase)
        if x is None or y is None:
            continue
        reason = ""
        if devices[0].backend != devices[1].backend:
            reason = f"another backend ({devices[0].backend}, {devices[1].backend})"
        elif sizes[0] != sizes[1]:
            reason = f"another number of ranks ({sizes[0]}, {sizes[1]})"
        elif protocols[0] != protocols[1]:
            reason = "another memory protocol"
        elif x.shared_process or y.shared_process:
            reason = "shared process"
        known = not reason and x.mlx_peak_bytes > 0
        made.append(
            MemoryRatio(
                phase,
                a.label(b),
                b.label(a),
                x.mlx_peak_bytes,
                y.mlx_peak_bytes,
                y.mlx_peak_bytes / x.mlx_peak_bytes if known else None,
                reason,
            )
        )
    return made


def same_machine(a: Device, b: Device) -> bool:
    """Whether timings of two runs may be compared: backend, chip and BLAS agree."""
    return (a.backend, a.chip, a.blas) == (b.backend, b.chip, b.blas)


def same_timing(a: RunVariant, b: RunVariant) -> bool:
    """Whether both sides hold one measurement, which the cache handed to the later run."""
    timed = [side.run.results.variants[side.variant].throughput for side in (a, b)]
    if timed[0] is None or timed[1] is None or timed[0].measured_at != timed[1].measured_at:
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
        values = [[float(getattr(row, metric)) for row in rows] for rows in (trials_a, trials_b)]
        medians = [float(np.median(each)) if each else None for each in values]
        ratio = None
        if not reason and medians[0] and medians[1] is not None:
            ratio = _median_ratio(values[0], values[1], paired)
        made.append(
            SpeedRatio(
                metric,
                a.label(b),
                b.label(a),
                medians[0],
                medians[1],
                ratio,
                ratio_interval(values[0], values[1], paired) if ratio else None,
                paired,
                reason,
            )
        )
    return made


def _median_ratio(a: Sequence[float], b: Sequence[float], paired: bool) -> float:
    if paired:
        return float(np.median(np.asarray(b) / np.asarray(a)))
    return float(np.median(b) / np.median(a))


def _interleaved(
    a: RunVariant, b: RunVariant, trials_a: Sequence[TrialRow], trials_b: Sequence[TrialRow]
) -> bool:
    # A cached timing shares no block with a fresh one, whatever its numbers say.
    timed = [side.run.results.variants[side.variant].throughput for side in (a, b)]
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
        return f"timed on different machines ({runs[0].device.chip}, {runs[1].device.chip})"
    if any(run.contended for run in runs):
        return "the machine was busy while timing (contended)"
    if same_timing(a, b):
        return "the same measurement, cached"
    if min(len(trials_a), len(trials_b)) < MIN_TRIALS:
        return "single timings are not compared"
    if a.run.results.protocols.throughput != b.run.results.protocols.throughput:
        return "another throughput protocol"
    return ""
