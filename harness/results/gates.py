"""Gates: is a checkpoint worse than its baseline beyond margin and noise?

Input: a run, its baseline and the rules -> output: :class:`GateResult` records. Definitions: DESIGN
§5. Quality is paired on the same examples (sign-flip over tables, studentized interval over
tables), timings by their trials and on the same machine only, memory on the same backend only. A
missing metric or variant fails; unlike runs are refused by naming the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import UserError
from harness.results.blessing import bless
from harness.results.entries import sample_note, sample_size
from harness.results.gate_rules import METRICS, GateRule, load_gates, metric_value
from harness.results.gate_words import shown_evidence
from harness.results.intervals import Interval
from harness.results.pairing import RATE_METRICS, Pair, Side, pairs, require_alike
from harness.results.schema import GateResult, GateVerdict
from harness.results.speeds import MIN_TRIALS, same_machine
from harness.results.statistics import ratio_interval, sign_flip
from harness.results.store import StoredRun

__all__ = ["GateRule", "bless", "failed", "judge", "load_gates"]


@dataclass(frozen=True)
class Evidence:
    """A difference, new minus baseline, in the metric's unit."""

    value: float
    baseline: float
    interval: Interval | None
    significant: bool
    basis: str


def judge(
    run: StoredRun,
    baseline: StoredRun,
    rules: Mapping[str, GateRule],
    require_all: bool = False,
) -> list[GateResult]:
    """Hold every variant of ``run`` against the baseline's variant of the same name.

    Args:
        run: the run under test.
        baseline: what it must not be worse than.
        rules: from :func:`load_gates`.
        require_all: whether a variant of the baseline that ``run`` lacks fails too.

    Raises:
        UserError: the runs differ in model, dataset, protocol or limit.
    """
    require_alike(baseline, run)
    matched = _matched(run, baseline)
    results = []
    for name, other in matched.items():
        if other is None:
            results += [
                _missing(metric, name, rule, f"the baseline {baseline.id} has no variant {name!r}")
                for metric, rule in rules.items()
            ]
            continue
        new, old = Side(run, name), Side(baseline, other)
        _require_same_limit(new, old)
        paired = {pair.metric: pair for pair in pairs(old, new)}
        results += [_judge(metric, rule, new, old, paired) for metric, rule in rules.items()]
    if require_all and run.variant is None and baseline.variant is None:
        lacking = [name for name in baseline.variants if name not in matched.values()]
        results += [
            _missing(metric, name, rule, f"run {run.id} has no variant {name!r}")
            for name in lacking
            for metric, rule in rules.items()
        ]
    return results


def failed(results: list[GateResult], strict: bool = False) -> list[GateResult]:
    """The verdicts that fail a build: `fail`, under ``strict`` `inconclusive` too."""
    bad = {"fail", "inconclusive"} if strict else {"fail"}
    return [result for result in results if result.verdict in bad]


def _matched(run: StoredRun, baseline: StoredRun) -> dict[str, str | None]:
    if len(run.variants) == 1 and len(baseline.variants) == 1:
        picked = run.variant or baseline.variant
        if picked or run.variants == baseline.variants:
            return {run.variants[0]: baseline.variants[0]}
    if baseline.variant in run.variants:
        return {baseline.variants[0]: baseline.variants[0]}
    return {name: name if name in baseline.variants else None for name in run.variants}


def _judge(
    metric: str, rule: GateRule, new: Side, old: Side, paired: Mapping[str, Pair]
) -> GateResult:
    value = metric_value(new.run.results.variants[new.variant], metric)
    baseline = metric_value(old.run.results.variants[old.variant], metric)
    kind = METRICS[metric].kind
    reason = _elsewhere(kind, new, old) or _impossible(metric, new)
    if reason:
        return _result(metric, new.variant, rule, (baseline, value), "skipped", reason)
    if value is None or baseline is None:
        where = f"run {new.run.id}" if value is None else f"the baseline {old.run.id}"
        return _result(
            metric, new.variant, rule, (baseline, value), "fail", f"not measured in {where}"
        )
    reason = _unusable(new, old) if kind == "timing" else ""
    if reason:
        return _result(metric, new.variant, rule, (baseline, value), "skipped", reason)
    if kind == "paired":
        pair = paired.get(metric)
        if pair is None:
            file = "losses" if metric.endswith("loss") else "predictions"
            reason = f"no {file}.*.jsonl to pair on in run {new.run.id} or {old.run.id}"
            return _result(metric, new.variant, rule, (baseline, value), "fail", reason)
        evidence = _paired_evidence(pair, rule)
    elif kind == "timing":
        evidence = _timing_evidence(metric, value, baseline, new, old)
    else:
        delta = value - baseline
        evidence = Evidence(value, baseline, (delta, delta), True, "exact")
    verdict, text = _verdict(metric, rule, evidence)
    return _result(metric, new.variant, rule, (baseline, value), verdict, text)


def _verdict(metric: str, rule: GateRule, evidence: Evidence) -> tuple[GateVerdict, str]:
    sign = -1.0 if rule.direction == "higher" else 1.0
    worse_by = sign * (evidence.value - evidence.baseline)
    margin = rule.margin(evidence.baseline)
    if evidence.interval is None:
        return "inconclusive", f"no interval from one table or one trial ({evidence.basis})"
    worst = max(sign * edge for edge in evidence.interval)
    values = (evidence.baseline, evidence.value)
    shown = f"{shown_evidence(metric, values, (worse_by, worst), margin)} ({evidence.basis})"
    if worse_by > margin and evidence.significant:
        return "fail", f"{shown}: beyond the margin and beyond noise. Margin: {rule.reason}"
    if worst < margin or (margin == 0.0 and worst <= 0.0):
        return "pass", f"{shown}: the interval lies within the margin"
    return (
        "inconclusive",
        f"{shown}: the margin lies within the interval, so neither a pass nor a regression is "
        "shown; measure more or widen the margin",
    )


def _paired_evidence(pair: Pair, rule: GateRule) -> Evidence:
    p = sign_flip(pair.sums.numerators)
    alpha = rule.significance if rule.significance is not None else 1.0
    basis = f"sign-flip over tables p {p:.3g}, n {pair.n}"
    if pair.without_spread:
        basis += f"; no spread over {len(pair.sums.weights)} tables, Clopper-Pearson bound"
    # p is at most 1, so a rule without a level takes every difference for real.
    significant = p < alpha or rule.significance is None
    return Evidence(pair.value_b, pair.value_a, pair.interval(), significant, basis)


def _timing_evidence(metric: str, value: float, baseline: float, new: Side, old: Side) -> Evidence:
    trials = [
        [float(getattr(row, metric)) for row in side.run.trials(side.variant) or []]
        for side in (old, new)
    ]
    ratio = ratio_interval(trials[0], trials[1], paired=False)
    interval = None if ratio is None else ((ratio[0] - 1) * baseline, (ratio[1] - 1) * baseline)
    significant = ratio is not None and not ratio[0] <= 1.0 <= ratio[1]
    basis = f"{len(trials[1])} trials against {len(trials[0])}"
    return Evidence(value, baseline, interval, significant, basis)


def _impossible(metric: str, new: Side) -> str:
    """Why the data cannot have the metric at all; empty where it can."""
    form = new.run.results.dataset.form
    if form != "tables" and metric in RATE_METRICS:
        return "the data has no tables to run queries on"
    if form == "text" and metric == "completion_loss":
        return "the data does not say where an answer begins"
    return ""


def _elsewhere(kind: str, new: Side, old: Side) -> str:
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


def _unusable(new: Side, old: Side) -> str:
    """Why timings that were taken are not compared."""
    a, b = new.run.results.run, old.run.results.run
    if a.contended or b.contended:
        which = "this run" if a.contended else "the baseline"
        return f"{which} was timed while the machine was busy (contended)"
    if _same_timing(new, old):
        return "the same measurement"
    counts = [len(side.run.trials(side.variant) or []) for side in (new, old)]
    return "single timings are not compared" if min(counts) < MIN_TRIALS else ""


def _same_timing(new: Side, old: Side) -> bool:
    """Whether both sides hold one measurement, which the cache handed to the later run."""
    timed = [side.run.results.variants[side.variant].throughput for side in (new, old)]
    if timed[0] is None or timed[1] is None or timed[0].measured_at != timed[1].measured_at:
        return False
    # Variants timed in turns may carry the same minute.
    return new.run.trials(new.variant) == old.run.trials(old.variant)


def _require_same_limit(new: Side, old: Side) -> None:
    results = [side.run.results.variants[side.variant] for side in (old, new)]
    notes = [
        sample_note(side.run, result) for side, result in zip((old, new), results, strict=True)
    ]
    if all(sample_size(result) for result in results) and notes[0] != notes[1]:
        raise UserError(
            f"run {new.run.id!r} and baseline {old.run.id!r} are not comparable: limit: "
            f"{notes[1]} against {notes[0]} examples for {new.variant!r}. Use the same --limit "
            "and --seed."
        )


def _missing(metric: str, variant: str, rule: GateRule, why: str) -> GateResult:
    return _result(metric, variant, rule, (None, None), "fail", why)


def _result(
    metric: str,
    variant: str,
    rule: GateRule,
    values: tuple[float | None, float | None],
    verdict: GateVerdict,
    reason: str,
) -> GateResult:
    baseline, value = values
    return GateResult(
        metric=metric,
        variant=variant,
        baseline=baseline,
        value=value,
        direction=rule.direction,
        threshold=None if baseline is None else rule.threshold(baseline),
        verdict=verdict,
        reason=reason,
    )
