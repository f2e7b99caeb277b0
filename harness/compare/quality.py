"""Which of two variants is better, paired on the same examples.

Input: two :class:`RunVariant` -> output: :class:`Comparison` records of the primary family
(completion loss, ex, ex_hardened) and the descriptive differences. Definitions: DESIGN §5,
`comparison@2`. The verdict is that of the step-down sign-flip test over the family; the interval
is that of the test's first step. Not covered: sentences (``report``) and speeds (``cost``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.compare.metrics import METRICS
from harness.compare.pairing import Pair, absent, flip_at_once, pairs, primary_of
from harness.compare.sides import RunVariant, require_comparable
from harness.errors import UserError
from harness.runs.store import StoredRun
from harness.schema.results import CompareVerdict, Comparison
from harness.stats.paired import ALPHA, FlipTest
from harness.stats.power import first_level, minimum_detectable, times_needed
from harness.stats.rates import Interval
from harness.stats.units import Units


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
class Tested:
    """What a metric of the primary family was tested on."""

    value_a: float
    value_b: float
    n: int
    """Examples that have the metric on both sides."""
    units: Units
    """What these examples are drawn as: tables, or questions on these tables."""
    scope: str
    """What a verdict is about where the unit is not the table: `questions on these 3 tables`."""


@dataclass(frozen=True)
class PairComparison:
    """Everything that is compared of b beside a."""

    a: str
    b: str
    primary: list[Comparison]
    tested: dict[str, Tested]
    """By primary metric."""
    descriptive: list[Difference]
    missing: dict[str, str]
    """Primary metric -> why it is not among those compared; a smaller family for the test."""


@dataclass(frozen=True)
class Matched:
    """Two variants with the metrics that both have, not yet tested."""

    a: RunVariant
    b: RunVariant
    pairs: list[Pair]

    @property
    def family(self) -> list[Pair]:
        """What is tested together."""
        return primary_of(self.pairs)

    @property
    def descriptive(self) -> list[Pair]:
        """What is not."""
        tested = [pair.metric for pair in self.family]
        return [pair for pair in self.pairs if pair.metric not in tested]


def compare_sides(a: RunVariant, b: RunVariant) -> PairComparison:
    """Compare b with a on every metric both have.

    Raises:
        UserError: the runs or their examples differ, or have nothing in common that can be paired.
    """
    return compare_matched([match_pair(a, b)])[0]


def match_pair(a: RunVariant, b: RunVariant) -> Matched:
    """As :func:`match_if_paired`; it is an error where nothing in common can be paired."""
    found = match_if_paired(a, b)
    if found is None:
        raise UserError(
            f"nothing to compare between {a.label(b)} and {b.label(a)}: neither losses.*.jsonl "
            "nor predictions.*.jsonl nor answers.*.jsonl lies in both runs' folders."
        )
    return found


def match_if_paired(a: RunVariant, b: RunVariant) -> Matched | None:
    """The metrics that both have; None where nothing in common can be paired.

    Raises:
        UserError: the runs or their examples differ.
    """
    require_comparable(a.run, b.run, across_models=True)
    found = pairs(a, b)
    return Matched(a, b, found) if found else None


def compare_matched(matched: Sequence[Matched]) -> list[PairComparison]:
    """Every pair's tests and intervals; flips that several pairs have in common are drawn once."""
    alone = [pair for one in matched for pair in one.descriptive]
    tests = flip_at_once([one.family for one in matched], alone)
    return [_compared(one, test) for one, test in zip(matched, tests, strict=True)]


def _compared(matched: Matched, test: FlipTest) -> PairComparison:
    a, b, family = matched.a, matched.b, matched.family
    label_a, label_b = a.label(b), b.label(a)
    return PairComparison(
        label_a,
        label_b,
        [
            _comparison((label_a, label_b), pair, test, position)
            for position, pair in enumerate(family)
        ],
        {pair.metric.key: _tested(pair, a.run.results.dataset.form) for pair in family},
        [
            Difference(
                pair.metric.key,
                pair.value_a,
                pair.value_b,
                pair.value_b - pair.value_a,
                pair.interval(),
                pair.n,
            )
            for pair in matched.descriptive
        ],
        absent(a, b, matched.pairs),
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


def _tested(pair: Pair, form: str) -> Tested:
    return Tested(pair.value_a, pair.value_b, pair.n, pair.units, _scope(pair.units, form))


def _scope(units: Units, form: str) -> str:
    if units.kind == "table":
        return ""
    if form in METRICS["ex"].absent:
        return f"these {units.count:,} examples"
    return f"questions on {'this table' if units.tables == 1 else f'these {units.tables} tables'}"


def _comparison(labels: tuple[str, str], pair: Pair, test: FlipTest, position: int) -> Comparison:
    delta = pair.value_b - pair.value_a
    p_family, family = test.p_family[position], len(test.p)
    verdict: CompareVerdict = "not distinguishable"
    if p_family < ALPHA and pair.units.enough:
        verdict = "better" if pair.metric.improves(delta) else "worse"
    smallest = needed = None
    if pair.units.enough:
        level = first_level(test.critical, pair.sums.effective, family)
        smallest = minimum_detectable(pair.sums, level, pair.discordant)
        if verdict == "not distinguishable" and delta:
            times = times_needed(pair.sums, level, delta, pair.discordant)
            needed = None if times is None else math.ceil(times * pair.n)
    return Comparison(
        a=labels[0],
        b=labels[1],
        metric=pair.metric.key,
        delta=delta,
        ci95=pair.interval(test.critical),
        test=f"step-down max-T of {family} by sign flips of {pair.units.text}, two-sided",
        p=test.p[position],
        p_family=p_family,
        fixed=pair.fixed,
        broken=pair.broken,
        verdict=verdict,
        minimum_detectable=smallest,
        n_needed=needed,
    )
