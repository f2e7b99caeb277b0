"""Gates: is a checkpoint worse than its baseline beyond margin and noise?

Input: a run, its baseline and the rules -> output: :class:`GateResult` records. Definitions: DESIGN
§5. Quality is paired on the same examples; timings are compared by their trials as two independent
samples, since the trials of a run and of its baseline are never interleaved; sizes and memory peaks
are exact. A missing metric or variant fails; runs that are not comparable are refused by naming the
field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.compare.cost import same_machine, same_timing
from harness.compare.metrics import METRICS, Metric
from harness.compare.pairing import Pair, pairs
from harness.compare.sides import RunVariant, require_comparable, sample_note, sample_size
from harness.compare.thresholds import GateRule
from harness.errors import UserError
from harness.runs.store import StoredRun
from harness.schema.results import GateResult, GateVerdict
from harness.stats.intervals import Interval
from harness.stats.paired import ratio_interval, ratio_p


@dataclass(frozen=True)
class Gate:
    """One metric of one variant, with its rule: both variants and their stored values."""

    metric: Metric
    rule: GateRule
    new: RunVariant
    old: RunVariant

    @property
    def value(self) -> float | None:
        """The value under test."""
        return self.metric.value(self.new.result)

    @property
    def baseline(self) -> float | None:
        """The value that it must not be worse than."""
        return self.metric.value(self.old.result)

    def result(self, verdict: GateVerdict, reason: str) -> GateResult:
        """The record of a verdict."""
        baseline = self.baseline
        return GateResult(
            metric=self.metric.key,
            variant=self.new.variant,
            baseline=baseline,
            value=self.value,
            direction=self.rule.direction,
            threshold=None if baseline is None else self.rule.threshold(baseline),
            verdict=verdict,
            reason=reason,
        )


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
    """Judge every variant of ``run`` against the baseline's variant of the same name.

    Args:
        run: the run under test.
        baseline: what it must not be worse than.
        rules: from :func:`thresholds.load_gates`.
        require_all: whether a variant of the baseline that ``run`` lacks fails too.

    Raises:
        UserError: the runs differ in model, dataset, protocol or limit.
    """
    require_comparable(baseline, run)
    matched = _matched(run, baseline)
    results = []
    for name, other in matched.items():
        if other is None:
            results += _all_missing(
                rules, name, f"the baseline {baseline.id} has no variant {name!r}"
            )
            continue
        new, old = RunVariant(run, name), RunVariant(baseline, other)
        _require_same_limit(new, old)
        paired = {pair.metric: pair for pair in pairs(old, new)}
        gates = [Gate(METRICS[key], rule, new, old) for key, rule in rules.items()]
        results += [_judge(gate, paired.get(gate.metric)) for gate in gates]
    if require_all and run.variant is None and baseline.variant is None:
        for name in baseline.variants:
            if name not in matched.values():
                results += _all_missing(rules, name, f"run {run.id} has no variant {name!r}")
    return results


def failed(results: list[GateResult], strict: bool = False) -> list[GateResult]:
    """The verdicts that fail a build: `fail`, under ``strict`` `inconclusive` too."""
    bad = {"fail", "inconclusive"} if strict else {"fail"}
    return [result for result in results if result.verdict in bad]


def _matched(run: StoredRun, baseline: StoredRun) -> dict[str, str | None]:
    """By variant of the run: the baseline's variant that it is judged against."""
    if len(run.variants) == 1 and len(baseline.variants) == 1:
        picked = run.variant or baseline.variant
        if picked or run.variants == baseline.variants:
            return {run.variants[0]: baseline.variants[0]}
    if baseline.variant in run.variants:
        return {baseline.variants[0]: baseline.variants[0]}
    return {name: name if name in baseline.variants else None for name in run.variants}


def _judge(gate: Gate, pair: Pair | None) -> GateResult:
    reason = _no_common_measure(gate) or _impossible(gate)
    if reason:
        return gate.result("skipped", reason)
    if gate.value is None or gate.baseline is None:
        where = (
            f"run {gate.new.run.id}" if gate.value is None else f"the baseline {gate.old.run.id}"
        )
        return gate.result("fail", f"not measured in {where}")
    if reason := _unusable_timing(gate):
        return gate.result("skipped", reason)
    evidence = _evidence(gate, gate.value, gate.baseline, pair)
    if evidence is None:
        return gate.result(
            "fail",
            f"no {gate.metric.rows}.*.jsonl to compare in run {gate.new.run.id} or "
            f"{gate.old.run.id}",
        )
    return gate.result(*_verdict(gate, evidence))


def _verdict(gate: Gate, evidence: Evidence) -> tuple[GateVerdict, str]:
    sign = gate.metric.sign
    worse_by = sign * (evidence.value - evidence.baseline)
    margin = gate.rule.margin(evidence.baseline)
    if evidence.interval is None:
        return "inconclusive", f"no interval from one table or one trial ({evidence.basis})"
    # The interval of a timing is about the mean of its trials, the value is their median.
    worst = max(worse_by, *(sign * edge for edge in evidence.interval))
    shown = f"{_shown(gate.metric, evidence, (worse_by, worst), margin)} ({evidence.basis})"
    if worse_by > margin and evidence.significant:
        return "fail", f"{shown}: beyond the margin and beyond noise. Margin: {gate.rule.reason}"
    if worst < margin or (margin == 0.0 and worst <= 0.0):
        return "pass", f"{shown}: the interval lies within the margin"
    return (
        "inconclusive",
        f"{shown}: the margin lies within the interval, so neither a pass nor a regression is "
        "shown; measure more or widen the margin",
    )


def _shown(
    metric: Metric, evidence: Evidence, worsenings: tuple[float, float], margin: float
) -> str:
    """Baseline and value, the worsening seen and the worst that the interval allows, the margin."""
    before, after = metric.show(evidence.baseline), metric.show(evidence.value)
    seen, worst = (_change(metric, amount) for amount in worsenings)
    change = seen if worst == seen else f"{seen}, at worst {worst}"
    return f"{before} before, {after} now: {change}; {metric.show_amount(margin)} tolerated"


def _change(metric: Metric, worse_by: float) -> str:
    """`worse by 3.1 points`, `better by 0.0200 nats a token` or `equal`."""
    if worse_by == 0.0:
        return "equal"
    return f"{'worse' if worse_by > 0 else 'better'} by {metric.show_amount(abs(worse_by))}"


def _evidence(gate: Gate, value: float, baseline: float, pair: Pair | None) -> Evidence | None:
    """What the verdict rests on; None where the rows that it needs are not there."""
    if gate.metric.exact:
        delta = value - baseline
        return Evidence(value, baseline, (delta, delta), True, "exact")
    if gate.metric.paired:
        return None if pair is None else _paired_evidence(gate.rule, pair)
    return _timing_evidence(gate, value, baseline)


def _paired_evidence(rule: GateRule, pair: Pair) -> Evidence:
    """Sign-flip test and interval over tables."""
    p = pair.p()
    basis = f"sign-flip over tables p {p:.3g}, n {pair.n}"
    if pair.zero_variance:
        basis += f"; no spread over {len(pair.sums.weights)} tables, Clopper-Pearson bound"
    return Evidence(pair.value_b, pair.value_a, pair.interval(), _significant(p, rule), basis)


def _timing_evidence(gate: Gate, value: float, baseline: float) -> Evidence | None:
    """Welch's t on the logarithms of the trials; no interval below two trials a side."""
    before, after = (
        [float(getattr(row, gate.metric.key)) for row in side.rows(gate.metric.rows) or []]
        for side in (gate.old, gate.new)
    )
    if not before or not after:
        return None
    counts = f"{len(after)} trials against {len(before)}"
    ratio, p = ratio_interval(before, after, paired=False), ratio_p(before, after)
    if ratio is None or p is None:
        return Evidence(value, baseline, None, False, counts)
    low, high = ((edge - 1) * baseline for edge in ratio)
    basis = f"Welch's t on logarithms of the trials p {p:.3g}, {counts}"
    return Evidence(value, baseline, (low, high), _significant(p, gate.rule), basis)


def _significant(p: float, rule: GateRule) -> bool:
    # p is at most 1, so a rule without a level takes every difference for real.
    return rule.significance is None or p < rule.significance


def _impossible(gate: Gate) -> str:
    """Why the data cannot have the metric at all; empty where it can."""
    return gate.metric.absent.get(gate.new.run.results.dataset.form, "")


def _no_common_measure(gate: Gate) -> str:
    """Why a timing or a memory peak of these two runs has no common measure, measured or not."""
    a, b = gate.new.run.results, gate.old.run.results
    if gate.metric.kind == "timing":
        if not same_machine(a.run.device, b.run.device):
            return f"another machine ({a.run.device.chip}; the baseline's: {b.run.device.chip})"
        if a.protocols.throughput != b.protocols.throughput:
            return "another throughput protocol"
    if gate.metric.kind == "memory":
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


def _unusable_timing(gate: Gate) -> str:
    """Why timings that were taken are not compared; empty where they are, and for other metrics."""
    if gate.metric.kind != "timing":
        return ""
    a, b = gate.new.run.results.run, gate.old.run.results.run
    if a.contended or b.contended:
        which = "this run" if a.contended else "the baseline"
        return f"{which} was timed while the machine was busy (contended)"
    return "the same measurement" if same_timing(gate.new, gate.old) else ""


def _require_same_limit(new: RunVariant, old: RunVariant) -> None:
    before, after = (sample_note(side.run, side.result) for side in (old, new))
    if sample_size(old.result) and sample_size(new.result) and before != after:
        raise UserError(
            f"run {new.run.id!r} and baseline {old.run.id!r} are not comparable: limit: "
            f"{after} against {before} examples for {new.variant!r}. Use the same --limit "
            "and --seed."
        )


def _all_missing(rules: Mapping[str, GateRule], variant: str, reason: str) -> list[GateResult]:
    """A failure of every rule, for a variant that one side lacks."""
    return [
        GateResult(
            metric=key,
            variant=variant,
            baseline=None,
            value=None,
            direction=rule.direction,
            threshold=None,
            verdict="fail",
            reason=reason,
        )
        for key, rule in rules.items()
    ]
