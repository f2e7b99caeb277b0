"""Which of two variants is better, paired on the same examples.

Input: two :class:`RunVariant` -> output: :class:`Comparison` records of the primary family
(completion loss, ex, ex_hardened) and the descriptive differences. Definitions: DESIGN §5. A
verdict needs both a sign-flip test over tables that survives Holm over the family and a
studentized interval over tables that excludes zero. Not covered: sentences (``report``) and speeds
(``cost``).
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.compare.metrics import Metric
from harness.compare.pairing import Pair, absent, pairs, primary_of
from harness.compare.sides import RunVariant, require_comparable
from harness.errors import UserError
from harness.runs.store import StoredRun
from harness.schema.results import CompareVerdict, Comparison
from harness.stats.intervals import Interval
from harness.stats.paired import ALPHA, holm
from harness.stats.power import minimum_detectable

TEST = "sign-flip over tables, two-sided"


@dataclass(frozen=True)
class Difference:
    """A descriptive difference: an interval, no test, no verdict."""

    metric: str
    value_a: float
    value_b: float
    delta: float
    ci95: Interval | None
    n: int


@dataclass(frozen=True)
class PairComparison:
    """Everything that is compared of b beside a."""

    a: str
    b: str
    primary: list[Comparison]
    values: dict[str, tuple[float, float, int]]
    """Metric -> value of a, value of b, examples; primary metrics only."""
    descriptive: list[Difference]
    missing: dict[str, str]
    """Primary metric -> why it is not among those compared; a smaller family for Holm."""


def compare_sides(a: RunVariant, b: RunVariant) -> PairComparison:
    """Compare b with a on every metric both have.

    Raises:
        UserError: the runs or their examples differ, or have nothing in common that can be paired.
    """
    found = compare_if_paired(a, b)
    if found is None:
        raise UserError(
            f"nothing to compare between {a.label(b)} and {b.label(a)}: neither losses.*.jsonl "
            "nor predictions.*.jsonl lies in both runs' folders."
        )
    return found


def compare_if_paired(a: RunVariant, b: RunVariant) -> PairComparison | None:
    """As :func:`compare_sides`; None where nothing in common can be paired."""
    require_comparable(a.run, b.run)
    found = pairs(a, b)
    if not found:
        return None
    family = primary_of(found)
    label_a, label_b = a.label(b), b.label(a)
    intervals = {pair.metric.key: pair.interval() for pair in found}
    p_values = [pair.p() for pair in family]
    primary = [
        _comparison((label_a, label_b), pair, intervals[pair.metric.key], (p, p_holm), len(family))
        for pair, p, p_holm in zip(family, p_values, holm(p_values), strict=True)
    ]
    return PairComparison(
        label_a,
        label_b,
        primary,
        {pair.metric.key: (pair.value_a, pair.value_b, pair.n) for pair in family},
        [
            Difference(
                pair.metric.key,
                pair.value_a,
                pair.value_b,
                pair.value_b - pair.value_a,
                intervals[pair.metric.key],
                pair.n,
            )
            for pair in found
            if pair.metric not in [tested.metric for tested in family]
        ],
        absent(a, b, found),
    )


def match_sides(a: StoredRun, b: StoredRun) -> list[tuple[RunVariant, RunVariant]]:
    """The variants of two runs that are compared: the picked ones, those of one name, or the only
    ones.

    Raises:
        UserError: no variants can be matched.
    """
    if a.folder == b.folder and a.variant is None and b.variant is None:
        raise UserError(
            f"both sides are run {a.id!r}. Pick variants: {a.folder}:VARIANT, one of "
            f"{', '.join(a.variants)}."
        )
    if len(a.variants) == 1 and len(b.variants) == 1:
        return [(RunVariant(a, a.variants[0]), RunVariant(b, b.variants[0]))]
    if a.variant or b.variant:
        picked, other = (a, b) if a.variant else (b, a)
        name = picked.variants[0]
        if name not in other.variants:
            raise UserError(
                f"run {other.id!r} has no variant {name!r} (it has {', '.join(other.variants)}). "
                f"Pick one: {other.folder}:VARIANT."
            )
        return [(RunVariant(a, name), RunVariant(b, name))]
    common = [name for name in a.variants if name in b.variants]
    if not common:
        raise UserError(
            f"runs {a.id!r} ({', '.join(a.variants)}) and {b.id!r} ({', '.join(b.variants)}) "
            "share no variant. Pick one of each with RUN:variant."
        )
    return [(RunVariant(a, name), RunVariant(b, name)) for name in common]


def _comparison(
    labels: tuple[str, str],
    pair: Pair,
    interval: Interval | None,
    p_values: tuple[float, float],
    family: int,
) -> Comparison:
    delta = pair.value_b - pair.value_a
    p, p_holm = p_values
    return Comparison(
        a=labels[0],
        b=labels[1],
        metric=pair.metric.key,
        delta=delta,
        ci95=interval,
        test=TEST,
        p=p,
        p_holm=p_holm,
        fixed=pair.fixed,
        broken=pair.broken,
        verdict=_verdict(delta, pair.metric, interval, p_holm),
        minimum_detectable=_minimum_detectable(pair, family),
    )


def _verdict(
    delta: float, metric: Metric, interval: Interval | None, p_holm: float
) -> CompareVerdict:
    if interval is None or p_holm >= ALPHA or interval[0] <= 0.0 <= interval[1]:
        return "not distinguishable"
    return "better" if metric.improves(delta) else "worse"


def _minimum_detectable(pair: Pair, family: int) -> float | None:
    if pair.fixed is None or pair.broken is None:
        return minimum_detectable(pair.sums, family)
    return minimum_detectable(pair.sums, family, len(pair.fixed) + len(pair.broken))
