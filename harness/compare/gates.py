"""Gates: is a checkpoint worse than its baseline beyond margin and noise?

Input: a run, its baseline and the rules -> output: :class:`GateResult` records. Definitions: DESIGN
§5. What a verdict rests on is in ``gate_evidence``, its words in ``gate_words``. A missing metric
or variant fails; unlike runs are refused by naming the field.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.compare.gate_evidence import (
    Evidence,
    Numbers,
    elsewhere,
    evidence_of,
    impossible,
    rows_of,
    unusable,
)
from harness.compare.gate_words import shown_evidence
from harness.compare.pairing import Pair, pairs
from harness.compare.sides import RunVariant, require_alike, sample_note, sample_size
from harness.compare.thresholds import METRICS, GateRule, load_gates, metric_value
from harness.errors import UserError
from harness.runs.baseline import bless
from harness.runs.store import StoredRun
from harness.schema.results import GateResult, GateVerdict

__all__ = ["GateRule", "bless", "failed", "judge", "load_gates"]


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
        new, old = RunVariant(run, name), RunVariant(baseline, other)
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
    metric: str, rule: GateRule, new: RunVariant, old: RunVariant, paired: Mapping[str, Pair]
) -> GateResult:
    value = metric_value(new.run.results.variants[new.variant], metric)
    baseline = metric_value(old.run.results.variants[old.variant], metric)
    kind = METRICS[metric].kind
    reason = elsewhere(kind, new, old) or impossible(metric, new)
    if reason:
        return _result(metric, new.variant, rule, (baseline, value), "skipped", reason)
    if value is None or baseline is None:
        where = f"run {new.run.id}" if value is None else f"the baseline {old.run.id}"
        return _result(
            metric, new.variant, rule, (baseline, value), "fail", f"not measured in {where}"
        )
    reason = unusable(new, old) if kind == "timing" else ""
    if reason:
        return _result(metric, new.variant, rule, (baseline, value), "skipped", reason)
    evidence = evidence_of(metric, rule, Numbers(new, old, value, baseline), paired.get(metric))
    if evidence is None:
        reason = f"no {rows_of(metric)}.*.jsonl to compare in run {new.run.id} or {old.run.id}"
        return _result(metric, new.variant, rule, (baseline, value), "fail", reason)
    verdict, text = _verdict(metric, rule, evidence)
    return _result(metric, new.variant, rule, (baseline, value), verdict, text)


def _verdict(metric: str, rule: GateRule, evidence: Evidence) -> tuple[GateVerdict, str]:
    sign = -1.0 if rule.direction == "higher" else 1.0
    worse_by = sign * (evidence.value - evidence.baseline)
    margin = rule.margin(evidence.baseline)
    if evidence.interval is None:
        return "inconclusive", f"no interval from one table or one trial ({evidence.basis})"
    # The interval of a timing is about the mean of its trials, the value is their median.
    worst = max(worse_by, *(sign * edge for edge in evidence.interval))
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


def _require_same_limit(new: RunVariant, old: RunVariant) -> None:
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
