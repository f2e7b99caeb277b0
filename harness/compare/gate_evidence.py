"""What a gate decides on: the difference of two sides in one metric, its interval, its test.

Input: a metric, its rule and two sides -> output: :class:`Evidence`, or the reason why there is no
common measure. Quality is paired on the same examples; timings are compared by their trials, taken
apart, since a run and its baseline never take turns; sizes and memory peaks are exact. Which
verdict follows is in ``gates``.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.compare.cost import same_machine, same_timing
from harness.compare.pairing import RATE_METRICS, Pair
from harness.compare.sides import RunVariant
from harness.compare.thresholds import METRICS, GateRule
from harness.stats.intervals import Interval
from harness.stats.paired import ratio_interval, ratio_p


@dataclass(frozen=True)
class Evidence:
    """A difference, new minus baseline, in the metric's unit."""

    value: float
    baseline: float
    interval: Interval | None
    significant: bool
    basis: str


@dataclass(frozen=True)
class Numbers:
    """The stored values of one metric on both sides."""

    new: RunVariant
    old: RunVariant
    value: float
    baseline: float


def evidence_of(
    metric: str, rule: GateRule, numbers: Numbers, pair: Pair | None
) -> Evidence | None:
    """The evidence on one metric; None where the rows that it rests on are not there.

    Args:
        metric: its name.
        rule: its gate.
        numbers: the values of both sides.
        pair: the metric paired example by example, where it can be.
    """
    kind = METRICS[metric].kind
    if kind == "paired":
        return None if pair is None else _paired(pair, rule)
    if kind == "timing":
        return _timing(metric, rule, numbers)
    delta = numbers.value - numbers.baseline
    return Evidence(numbers.value, numbers.baseline, (delta, delta), True, "exact")


def rows_of(metric: str) -> str:
    """The row files that the evidence on a metric rests on."""
    if METRICS[metric].kind == "timing":
        return "trials"
    return "losses" if metric.endswith("loss") else "predictions"


def _paired(pair: Pair, rule: GateRule) -> Evidence:
    """Sign-flip test and interval over tables."""
    p = pair.p()
    basis = f"sign-flip over tables p {p:.3g}, n {pair.n}"
    if pair.without_spread:
        basis += f"; no spread over {len(pair.sums.weights)} tables, Clopper-Pearson bound"
    return Evidence(pair.value_b, pair.value_a, pair.interval(), _significant(p, rule), basis)


def _timing(metric: str, rule: GateRule, numbers: Numbers) -> Evidence | None:
    """Welch's t on the logarithms of the trials; no interval below two trials a side."""
    before, after = (_trials(side, metric) for side in (numbers.old, numbers.new))
    if not before or not after:
        return None
    counts = f"{len(after)} trials against {len(before)}"
    ratio, p = ratio_interval(before, after, paired=False), ratio_p(before, after)
    if ratio is None or p is None:
        return Evidence(numbers.value, numbers.baseline, None, False, counts)
    low, high = ((edge - 1) * numbers.baseline for edge in ratio)
    basis = f"Welch's t on logarithms of the trials p {p:.3g}, {counts}"
    significant = _significant(p, rule)
    return Evidence(numbers.value, numbers.baseline, (low, high), significant, basis)


def _trials(side: RunVariant, metric: str) -> list[float]:
    return [float(getattr(row, metric)) for row in side.run.trials(side.variant) or []]


def impossible(metric: str, new: RunVariant) -> str:
    """Why the data cannot have the metric at all; empty where it can."""
    form = new.run.results.dataset.form
    if form != "tables" and metric in RATE_METRICS:
        return "the data has no tables to run queries on"
    if form == "text" and metric == "completion_loss":
        return "the data does not say where an answer begins"
    return ""


def elsewhere(kind: str, new: RunVariant, old: RunVariant) -> str:
    """Why a timing or a memory peak of these two runs has no common measure, measured or not."""
    a, b = new.run.results, old.run.results
    if kind == "timing":
        if not same_machine(a.run.device, b.run.device):
            return f"another machine ({a.run.device.chip}; the baseline's: {b.run.device.chip})"
        if a.protocols.throughput != b.protocols.throughput:
            return "another throughput protocol"
    if kind == "memory":
        if a.run.device.backend != b.run.device.backend:
            return (
                f"another backend ({a.run.device.backend}; the baseline's: {b.run.device.backend})"
            )
        if a.run.distributed.size != b.run.distributed.size:
            sizes = (a.run.distributed.size, b.run.distributed.size)
            return f"another number of ranks ({sizes[0]}; the baseline's: {sizes[1]})"
        if a.protocols.memory != b.protocols.memory:
            return "another memory protocol"
    return ""


def unusable(new: RunVariant, old: RunVariant) -> str:
    """Why timings that were taken are not compared."""
    a, b = new.run.results.run, old.run.results.run
    if a.contended or b.contended:
        which = "this run" if a.contended else "the baseline"
        return f"{which} was timed while the machine was busy (contended)"
    return "the same measurement" if same_timing(new, old) else ""


def _significant(p: float, rule: GateRule) -> bool:
    # p is at most 1, so a rule without a level takes every difference for real.
    return rule.significance is None or p < rule.significance
