"""Gates: is a checkpoint worse than its baseline beyond margin and noise?

Input: a run, its baseline and the rules -> output: :class:`GateResult` records, and what they come
to. Definitions: DESIGN §5 (``gates@2``). Quality is paired on the same examples; timings are
compared by their trials as two independent samples, since the trials of a run and of its baseline
are never interleaved; sizes and memory peaks are exact. A missing metric or variant fails; runs
that are not comparable are refused by naming the field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from harness.compare.cost import other_measure, same_timing, why_contended
from harness.compare.gate_power import PASSING_SHARE, REACH, examples_needed
from harness.compare.metrics import METRICS, Metric
from harness.compare.pairing import Pair, flip_at_once, pairs
from harness.compare.sides import (
    RunVariant,
    require_comparable,
    same_side,
    sample_note,
    sample_size,
)
from harness.compare.thresholds import load_gates, moved, own_rules
from harness.errors import UserError
from harness.runs.store import StoredRun
from harness.schema.results import GateResult, GateRule, GateVerdict
from harness.stats.paired import ratio_test
from harness.stats.rates import Interval

Status = Literal["pass", "regression", "not decided", "nothing compared"]

ROUNDING = 1e-12
"""A limit that is nearer to 0 is 0."""

FAR = 100
"""A number of examples beyond so many times today's is told as that, not as a figure."""


@dataclass(frozen=True)
class Outcome:
    """What the gates of a run come to."""

    status: Status
    exit_status: int
    """Of `tunebench gate`: 0, 1 for a failed check, 2 where nothing was compared."""


def verdict_counts(results: Sequence[GateResult]) -> dict[GateVerdict, int]:
    """How many of ``results`` have each verdict."""
    tally = Counter(result.verdict for result in results)
    return {verdict: tally[verdict] for verdict in get_args(GateVerdict)}


def outcome(results: Sequence[GateResult], strict: bool = False) -> Outcome:
    """One status for all verdicts: a gate that is inconclusive did not pass.

    Undecided gates beside at least one that passed fail a build only under ``strict``. Where
    quality was compared one of its gates must have passed: a memory that did says nothing of it.
    """
    found = {result.verdict for result in results}
    quality = {r.verdict for r in results if METRICS[r.metric].paired} - {"skipped"}
    if "fail" in found:
        return Outcome("regression", 1)
    if "inconclusive" in found:
        return Outcome("not decided", int(strict or "pass" not in (quality or found)))
    return Outcome("pass", 0) if "pass" in found else Outcome("nothing compared", 2)


def cannot_fail(gate: GateResult) -> bool:
    """Whether its limit is a rate that nothing is below."""
    limit, rate = gate.threshold, METRICS[gate.metric].kind == "rate"
    return rate and limit is not None and limit <= ROUNDING


@dataclass(frozen=True)
class Gate:
    """One metric of one variant, with its rule and its stored values, None where there are none."""

    metric: Metric
    rule: GateRule
    variant: str
    own: GateRule | None = None
    """The baseline's own rule for the metric; the shipped one where it recorded none."""
    whose: str = ""
    """What :attr:`own` is called."""
    shipped: GateRule | None = None
    baseline: float | None = None
    value: float | None = None

    def result(self, verdict: GateVerdict, reason: str, **found: Any) -> GateResult:
        """The record of a verdict; ``found`` are further fields of it."""
        limit = own_limit = None
        if self.baseline is not None:
            limit = self.rule.threshold(self.baseline)
            own_limit = self.own.threshold(self.baseline) if self.own else None
            if self.metric.kind == "rate" and limit <= ROUNDING:
                reason += f". This gate cannot fail: its limit is {self.metric.show(limit)}"
            reason += self._moved(self.baseline)
        return GateResult(
            metric=self.metric.key,
            variant=self.variant,
            baseline=self.baseline,
            value=self.value,
            direction=self.rule.direction,
            threshold=limit,
            own_threshold=own_limit,
            verdict=verdict,
            reason=reason,
            **found,
        )

    def _moved(self, baseline: float) -> str:
        if self.own is None:
            return ""
        change = moved(self.rule, self.own, self.whose, baseline, self.metric)
        if not change:
            return ""
        another = self.shipped is not None and moved(
            self.own, self.shipped, "", baseline, self.metric
        )
        return f". {change}" + (f"; {self.whose} is not the shipped one" if another else "")


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
    matched = matched_variants(run, baseline)
    paired = _paired(run, baseline, matched, rules)
    results = []
    for name, other in matched.items():
        if other is None:
            reason = f"the baseline {baseline.id} has no variant {name!r}"
            results += [g.result("fail", reason) for g in _gates(rules, name)]
            continue
        new, old = RunVariant(run, name), RunVariant(baseline, other)
        found = [
            _judged(gate, new, old, paired[name].get(gate.metric))
            for gate in _gates(rules, name, new, old)
        ]
        found += _dropped(rules, new, old)
        if same_side(new, old):
            said = (
                f"held against itself, which shows nothing: both sides are {name!r} of {run.id}. "
            )
            found = [one.model_copy(update={"reason": said + one.reason}) for one in found]
        results += found
    if require_all and run.variant is None and baseline.variant is None:
        for name in baseline.variants:
            if name not in matched.values() and name not in run.results.same_as:
                reason = f"run {run.id} has no variant {name!r}"
                results += [g.result("fail", reason) for g in _gates(rules, name)]
    return results


def _paired(
    run: StoredRun,
    baseline: StoredRun,
    matched: Mapping[str, str | None],
    rules: Mapping[str, GateRule],
) -> dict[str, dict[Metric, Pair]]:
    """The gated metrics of each variant that both sides have, each pair tested once."""
    found: dict[str, dict[Metric, Pair]] = {}
    for name, other in matched.items():
        if other is not None:
            new, old = RunVariant(run, name), RunVariant(baseline, other)
            _require_same_limit(new, old)
            gated = [pair for pair in pairs(old, new) if pair.metric.key in rules]
            found[name] = {pair.metric: pair for pair in gated}
    of_all = [pair for of in found.values() for pair in of.values()]
    flip_at_once([], [pair for pair in of_all if pair.units.enough])
    return found


def _gates(
    rules: Mapping[str, GateRule],
    variant: str,
    new: RunVariant | None = None,
    old: RunVariant | None = None,
) -> list[Gate]:
    """One gate for each rule, without values for a variant that one side lacks."""
    own = own_rules(old.run) if old else {}
    shipped = load_gates()
    return [
        Gate(
            METRICS[key],
            rule,
            variant,
            own.get(key),
            "the baseline's own" if old and old.run.results.gate_rules else "the shipped one",
            shipped.get(key),
            METRICS[key].value(old.result) if old else None,
            METRICS[key].value(new.result) if new else None,
        )
        for key, rule in rules.items()
    ]


def _dropped(rules: Mapping[str, GateRule], new: RunVariant, old: RunVariant) -> list[GateResult]:
    """Metrics that the baseline records a rule for and ``rules`` leave out: named as skipped."""
    recorded = old.run.results.gate_rules
    left_out = {key: rule for key, rule in recorded.items() if key in METRICS and key not in rules}
    reason = "no longer gated: the baseline's own thresholds name it, these do not"
    return [gate.result("skipped", reason) for gate in _gates(left_out, new.variant, new, old)]


def matched_variants(run: StoredRun, baseline: StoredRun) -> dict[str, str | None]:
    """By variant of the run: the baseline's variant that it is judged against."""
    if len(run.variants) == 1 and len(baseline.variants) == 1:
        picked = run.variant or baseline.variant
        # The variant of a system elsewhere has the name of its run.
        outside = "measured" not in (run.results.run.source, baseline.results.run.source)
        if picked or outside or run.variants == baseline.variants:
            return {run.variants[0]: baseline.variants[0]}
    if baseline.variant in run.variants:
        return {baseline.variants[0]: baseline.variants[0]}
    return {name: _namesake(name, run, baseline) for name in run.variants}


def _namesake(name: str, run: StoredRun, baseline: StoredRun) -> str | None:
    """The baseline's variant of that name, or the one that is the same on this base."""
    same = [baseline.results.same_as.get(name)]
    same += [other for other, measured in run.results.same_as.items() if measured == name]
    return next((other for other in (name, *same) if other in baseline.variants), None)


def _judged(gate: Gate, new: RunVariant, old: RunVariant, pair: Pair | None) -> GateResult:
    verdict, reason = _verdict(gate, new, old, pair)
    if pair is None or verdict == "skipped":
        return gate.result(verdict, reason)
    needed = None
    if verdict == "inconclusive" and not _few_units(pair):
        needed, sentence = _needed(gate, pair)
        reason += sentence
    found = {"n": pair.n, "n_needed": needed, "broken": pair.broken, "fixed": pair.fixed}
    return gate.result(verdict, reason, **found)


def _verdict(
    gate: Gate, new: RunVariant, old: RunVariant, pair: Pair | None
) -> tuple[GateVerdict, str]:
    # A timing or a memory peak without a common measure is skipped, measured or not.
    reason = other_measure(gate.metric.kind, new, old, "({}; the baseline's: {})")
    if (new.answers_alone or old.answers_alone) and gate.metric.rows != "predictions":
        reason = "of a system elsewhere only answers are known"
    if gate.value is None and gate.baseline is None:
        # What one side alone lacks was not measured there, whatever it says of its data.
        reason = reason or gate.metric.absent.get(new.run.results.dataset.form, "")
    if reason:
        return "skipped", reason
    if gate.value is None or gate.baseline is None:
        where = f"run {new.run.id}" if gate.value is None else f"the baseline {old.run.id}"
        return "fail", f"not measured in {where}"
    if gate.metric.kind == "timing" and (reason := _unusable_timing(new, old)):
        return "skipped", reason
    evidence: Evidence | None
    if gate.metric.exact:
        delta = gate.value - gate.baseline
        evidence = Evidence(gate.value, gate.baseline, (delta, delta), True, "exact")
    elif gate.metric.paired:
        if pair is not None and _few_units(pair):
            return "inconclusive", _too_few(pair)
        evidence = None if pair is None else _paired_evidence(gate.rule, pair)
    else:
        evidence = _timing_evidence(gate, gate.value, gate.baseline, (new, old))
    if evidence is None:
        rows = f"{gate.metric.rows}.*.jsonl"
        return "fail", f"no {rows} to compare in run {new.run.id} or {old.run.id}"
    return _verdict_on(gate, evidence)


def _verdict_on(gate: Gate, evidence: Evidence) -> tuple[GateVerdict, str]:
    sign = gate.metric.sign
    worse_by = sign * (evidence.value - evidence.baseline)
    margin = gate.rule.margin(evidence.baseline)
    if evidence.interval is None:
        return "inconclusive", f"one trial has no interval ({evidence.basis})"
    # The interval of a timing is about the mean of its trials, the value is their median.
    worst = max(worse_by, *(sign * edge for edge in evidence.interval))
    shown = f"{_shown(gate.metric, evidence, (worse_by, worst), margin)} ({evidence.basis})"
    if gate.metric.exact and worse_by <= margin:
        return "pass", f"{shown}: within the margin"
    if gate.metric.exact:
        return "fail", f"{shown}: beyond the margin. Margin: {gate.rule.reason}"
    if worse_by > margin and evidence.significant:
        return "fail", f"{shown}: beyond the margin and beyond noise. Margin: {gate.rule.reason}"
    if worst < margin or (margin == 0.0 and worst <= 0.0):
        return "pass", f"{shown}: the interval lies within the margin"
    if worse_by > margin:
        return "inconclusive", f"{shown}: beyond the margin, but not beyond noise"
    return (
        "inconclusive",
        f"{shown}: the margin lies within the interval, so neither a pass nor a regression is "
        "shown",
    )


def _few_units(pair: Pair) -> bool:
    return not pair.units.enough


def _too_few(pair: Pair) -> str:
    return (
        f"{pair.metric.show(pair.value_a)} before, {pair.metric.show(pair.value_b)} now; "
        f"{pair.units.too_few}, so nothing can pass or fail. Test on more examples"
    )


def _needed(gate: Gate, pair: Pair) -> tuple[int | None, str]:
    """Examples with which most equal checkpoints pass, and the sentence that says so."""
    margin, spread = gate.rule.margin(pair.value_a), gate.rule.seed_spread or 0.0
    low, high = pair.interval() or (0.0, 0.0)
    if low == high:
        return None, ""
    error = (high - low) / (2.0 * REACH)
    needed = examples_needed(pair.n, margin, error, spread)
    equal = f"{PASSING_SHARE:.0%} of equal checkpoints pass"
    if needed is None:
        return None, (
            f". With no number of examples do {equal}: the margin is too close to what trainings "
            f"of different seeds differ by (standard deviation "
            f"{gate.metric.show_amount(spread)})"
        )
    if needed > FAR * pair.n:
        return needed, f". {equal} only with more than {FAR} times as many examples"
    if needed <= pair.n:
        return needed, f". {equal} with these {pair.n} examples"
    unknown = ", what seeds differ by left out" if gate.rule.seed_spread is None else ""
    return needed, f". {equal} with about {needed:,} examples{unknown}; here are {pair.n}"


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
    unseen = metric.exact and metric.show_amount(abs(worse_by)) == metric.show_amount(0.0)
    if worse_by == 0.0 or unseen:
        return "equal"
    return f"{'worse' if worse_by > 0 else 'better'} by {metric.show_amount(abs(worse_by))}"


def _paired_evidence(rule: GateRule, pair: Pair) -> Evidence:
    """Sign-flip test and interval over units."""
    p = pair.alone.p[0]
    basis = f"sign-flip over {pair.units.text} p {p:.3g}, n {pair.n}"
    return Evidence(pair.value_b, pair.value_a, pair.interval(), _significant(p, rule), basis)


def _timing_evidence(
    gate: Gate, value: float, baseline: float, sides: tuple[RunVariant, RunVariant]
) -> Evidence | None:
    """Welch's t on the logarithms of the trials; no interval below two trials per side."""
    after, before = (
        [float(getattr(row, gate.metric.key)) for row in side.run.trials(side.variant) or []]
        for side in sides
    )
    if not before or not after:
        return None
    counts = f"{len(after)} trials against {len(before)}"
    found = ratio_test(before, after, paired=False)
    if found is None:
        return Evidence(value, baseline, None, False, counts)
    ratio, p = found
    low, high = ((edge - 1) * baseline for edge in ratio)
    basis = f"Welch's t on logarithms of the trials p {p:.3g}, {counts}"
    return Evidence(value, baseline, (low, high), _significant(p, gate.rule), basis)


def _significant(p: float, rule: GateRule) -> bool:
    # p is at most 1, so a rule without a level takes every difference for real.
    return rule.significance is None or p < rule.significance


def _unusable_timing(new: RunVariant, old: RunVariant) -> str:
    """Why timings that were taken are not compared; empty where they are."""
    for side, which in ((new, "this run"), (old, "the baseline")):
        if reason := why_contended(side.run):
            return f"{which} was timed while {reason} (contended)"
    return "the same measurement" if same_timing(new, old) else ""


def _require_same_limit(new: RunVariant, old: RunVariant) -> None:
    before, after = (sample_note(side.run, side.result) for side in (old, new))
    if sample_size(old.result) and sample_size(new.result) and before != after:
        raise UserError(
            f"run {new.run.id!r} and baseline {old.run.id!r} are not comparable: limit: "
            f"{after} against {before} examples for {new.variant!r}. Use the same --limit "
            "and --seed."
        )
