"""Pairing two variants' stored rows, example by example.

Input: two variants of comparable runs -> output: one :class:`Pair` per metric: differences b - a
summed by unit, with their interval and p; variants that answered other examples are refused.
Whether runs are comparable is in ``sides``, what follows from a pair in ``quality`` and ``gates``.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.compare.metrics import FALLBACK, METRICS, NO_TABLES, PRIMARY, Metric, mean_of
from harness.compare.sides import RunVariant, other_systems
from harness.errors import UserError
from harness.stats.intervals import Floats, TableSums
from harness.stats.paired import FlipTest, flip_tests, score_interval
from harness.stats.rates import Interval
from harness.stats.units import Units, units_among


@dataclass(frozen=True)
class Examples:
    """The rows of one file as columns."""

    ids: list[int]
    tables: list[str]
    without: list[bool]
    """Whether the example has no verdict, as where its gold cannot be used."""
    rows: Sequence[Any]
    terms: dict[Metric, Floats] = field(default_factory=dict)

    @cached_property
    def numbers(self) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
        """The ids, the place of each example's table among all in order, and these tables."""
        names = sorted(set(self.tables))
        place = {name: number for number, name in enumerate(names)}
        tables = np.array([*map(place.__getitem__, self.tables)], dtype=np.int64)
        return np.array(self.ids), tables, names

    def of(self, metric: Metric) -> Floats:
        """What each example adds to a metric, as :meth:`Metric.terms`; computed once."""
        if metric not in self.terms:
            self.terms[metric] = metric.terms(self.rows)
        return self.terms[metric]

    def mean(self, metric: Metric) -> float | None:
        """The metric over all: nats a token, or the share that is right; None without weight."""
        return mean_of(self.of(metric))


def examples_of(rows: Sequence[Any]) -> Examples:
    """Rows that have an id and a table each."""
    without = [row.ex is None for row in rows] if rows and hasattr(rows[0], "ex") else []
    return Examples([row.id for row in rows], [row.table_id for row in rows], without, rows)


@dataclass(frozen=True)
class MatchedTerms:
    """One metric of the same examples under two systems, in the order of their units."""

    ids: NDArray[np.int64]
    units: Units
    """Of the examples that have the metric."""
    names: list[Hashable]
    """What each unit is called, in order."""
    of_example: NDArray[np.int64]
    """The place of each example's unit."""
    before: Floats
    """(examples, 2): what each adds to the numerator and to the weight; likewise ``after``."""
    after: Floats

    def sums(self, sign: float = 1.0) -> TableSums:
        """``sign`` times the differences after - before, summed by unit, in order of the units.

        A loss that differs by less than :data:`AGREEMENT` has not changed.
        """
        before, after = self.before[:, 0], self.after[:, 0]
        rounding = AGREEMENT * np.maximum(np.abs(before), np.abs(after))
        difference = np.where(np.abs(after - before) <= rounding, 0.0, sign * (after - before))
        added = (np.bincount(self.of_example, x) for x in (difference, self.before[:, 1]))
        return TableSums(*(sums.astype(np.float64) for sums in added))


AGREEMENT = 1e-6
"""Relative: losses of the same weights agree so far on every machine, so that less is rounding."""


@dataclass(frozen=True)
class Pair:
    """One metric of two sides on the same examples."""

    metric: Metric
    units: Units
    """Of the examples that have the metric on both sides."""
    names: list[Hashable]
    """What each unit of ``sums`` is called."""
    sums: TableSums
    value_a: float
    value_b: float
    n: int
    fixed: list[int] | None
    broken: list[int] | None
    same_system: bool
    """Whether both sides are the same weights, which can only ever answer the same."""

    @property
    def by_unit(self) -> dict[tuple[str, Hashable], float]:
        """The summed difference of each unit, by its kind and name."""
        names = ((self.units.kind, name) for name in self.names)
        return dict(zip(names, self.sums.numerators.tolist(), strict=True))

    @property
    def discordant(self) -> int | None:
        """Examples that one side has right and the other wrong; None for a loss."""
        return None if self.fixed is None or self.broken is None else len(self.fixed + self.broken)

    @cached_property
    def alone(self) -> FlipTest:
        """The test of the metric alone."""
        return flip_families([[self]])[0]

    def interval(self, critical: float | None = None) -> Interval | None:
        """95% over units; None with fewer than six of them.

        Args:
            critical: of the family that the metric is tested in; by default it stands alone.
        """
        if not self.units.enough:
            return None
        critical = self.alone.critical if critical is None else critical
        rate = self.metric.kind == "rate"
        low, high = score_interval(self.sums, critical, whole=rate and not self.same_system)
        return (max(-1.0, low), min(1.0, high)) if rate else (low, high)


def flip_at_once(families: Sequence[Sequence[Pair]], alone: Sequence[Pair] = ()) -> list[FlipTest]:
    """:func:`flip_families`, and :attr:`Pair.alone` of others in one go, since flips are shared."""
    found = flip_families([*families, *([pair] for pair in alone)])
    for pair, test in zip(alone, found[len(families) :], strict=True):
        vars(pair)["alone"] = test
    return found[: len(families)]


def flip_families(families: Sequence[Sequence[Pair]]) -> list[FlipTest]:
    """The test of `comparison@2` over metrics of one pair each: joint sign flips of their units.

    Where the units of one metric are tables and those of another questions, each kind is flipped
    by itself. That is never too lenient: of normal statistics the largest exceeds a limit most
    often where they are independent (Šidák 1967).
    """
    return flip_tests([_by_unit(family) for family in families])


def _by_unit(family: Sequence[Pair]) -> Floats:
    """The summed differences of each metric, the units in order: ``(units, metrics)``."""
    if all(
        (one.units.kind, one.names) == (family[0].units.kind, family[0].names) for one in family
    ):
        return np.column_stack([pair.sums.numerators for pair in family])
    columns = [pair.by_unit for pair in family]
    units = sorted(set().union(*columns))
    return np.array([[column.get(unit, 0.0) for column in columns] for unit in units])


def pairs(a: RunVariant, b: RunVariant) -> list[Pair]:
    """Every metric that both sides have, primary ones first.

    Raises:
        UserError: the two answered different examples (another --limit or seed).
    """
    graded = other_systems(a.run, b.run)
    kinds = ("predictions",) if graded else ("losses", "predictions", "answers")
    found = [pair for kind in kinds for pair in _pairs_of(kind, a, b)]
    return sorted(found, key=lambda pair: not pair.metric.primary)


def primary_of(found: Sequence[Pair]) -> list[Pair]:
    """The pairs of the primary family; for plain texts, whose answers are not marked, full_text;
    where only answers without tables were stored, exact match."""
    family = [pair for pair in found if pair.metric.primary]
    return family or [pair for pair in found if pair.metric == FALLBACK] or [*found[:1]]


def match(metric: Metric, before: Examples, after: Examples) -> MatchedTerms:
    """The examples for which both sides have the metric, in the order of their units."""
    x, y = before.of(metric), after.of(metric)
    ids, tables, names = before.numbers
    kept = np.flatnonzero(~np.isnan(x[:, 0]) & ~np.isnan(y[:, 0]))
    different = np.unique(tables[kept])
    units = units_among(len(kept), len(different))
    unit = ids if units.kind == "question" else tables
    kept = kept[np.argsort(unit[kept], kind="stable")]
    named, of_example = np.unique(unit[kept], return_inverse=True)
    called: list[Hashable] = named.tolist()
    if units.kind == "table":
        called = [names[place] for place in called]  # type: ignore[call-overload]
    return MatchedTerms(ids[kept], units, called, of_example, x[kept], y[kept])


def _pairs_of(kind: str, a: RunVariant, b: RunVariant) -> list[Pair]:
    """The metrics whose values stand in row files of ``kind``."""
    before, after = (stored_examples(side, kind) for side in (a, b))
    if before is None or after is None:
        return []
    _require_same_ids(a, b, before.ids, after.ids)
    _require_same_examples(a, b, before, after)
    same = _same_weights(a, b) and _same_texts(before.rows, after.rows)
    made = []
    for metric in METRICS.values():
        if not metric.paired or metric.rows != kind:
            continue
        found = match(metric, before, after)
        if not np.array_equal(found.before[:, 1], found.after[:, 1]):
            raise UserError(
                f"{a.label(b)} and {b.label(a)} scored different tokens for {metric.key}: another "
                "tokenizer or maximum length. Measure both with the same settings."
            )
        if found.before[:, 1].any():
            made.append(_pair(metric, found, same))
    return made


def _pair(metric: Metric, found: MatchedTerms, same_system: bool) -> Pair:
    (x, weights), (y, _) = found.before.T, found.after.T
    weight = float(weights.sum())
    fixed = broken = None
    if metric.kind == "rate":
        fixed = np.sort(found.ids[y > x]).tolist()
        broken = np.sort(found.ids[y < x]).tolist()
    return Pair(
        metric=metric,
        units=found.units,
        names=found.names,
        sums=found.sums(),
        value_a=float(x.sum()) / weight,
        value_b=float(y.sum()) / weight,
        n=len(found.ids),
        fixed=fixed,
        broken=broken,
        same_system=same_system,
    )


def absent(a: RunVariant, b: RunVariant, found: Sequence[Pair]) -> dict[str, str]:
    """The primary metrics that could not be paired, with the reason."""
    paired = [pair.metric for pair in found]
    return {metric.key: _why_absent(metric, a, b) for metric in PRIMARY if metric not in paired}


def _why_absent(metric: Metric, a: RunVariant, b: RunVariant) -> str:
    form = a.run.results.dataset.form
    bare = [side.label(other) for side, other in ((a, b), (b, a)) if side.rows(metric.rows) is None]
    if metric.absent.get(form) == NO_TABLES:
        return NO_TABLES
    if metric.kind == "loss" and other_systems(a.run, b.run):
        return "a loss per token has no common measure across models"
    if bare:
        stored = "answers" if metric.rows == "predictions" else metric.rows
        return f"{' and '.join(bare)} {'has' if len(bare) == 1 else 'have'} no stored {stored}"
    return metric.absent.get(form, "no answer has that grade in both")


def _same_weights(a: RunVariant, b: RunVariant) -> bool:
    """Whether base, adapter, how it is applied, and quantization agree."""
    if other_systems(a.run, b.run):
        return False
    applied = ("fine_tune_type", "num_layers", "lora_parameters", "quantize", "endpoint")
    weights = [
        (side.adapter_sha256, [side.result.config.get(name) for name in applied]) for side in (a, b)
    ]
    return weights[0] == weights[1]


def _same_texts(rows_a: Sequence[Any], rows_b: Sequence[Any]) -> bool:
    """Whether all answers agree to the letter; losses have no text to differ in."""
    if not rows_a or not hasattr(rows_a[0], "text"):
        return True
    return [row.text for row in rows_a] == [row.text for row in rows_b]


def _require_same_examples(a: RunVariant, b: RunVariant, x: Examples, y: Examples) -> None:
    """Refuse rows that differ in what no model changes: the table, and whether gold is usable."""
    if (x.tables, x.without) == (y.tables, y.without):
        return
    null = [["null" if one else "a verdict" for one in side.without] for side in (x, y)]
    of_each = zip(x.ids, zip(x.tables, y.tables, strict=True), zip(*null, strict=True), strict=True)
    for number, tables, verdicts in of_each:
        for what, (one, other) in (("is on table", tables), ("has as ex", verdicts)):
            if one != other:
                raise UserError(
                    f"{a.label(b)} and {b.label(a)} cannot be paired: example {number} {what} "
                    f"{one} in the one, {other} in the other. Both runs must be of one data set."
                )


def _require_same_ids(a: RunVariant, b: RunVariant, x: Sequence[int], y: Sequence[int]) -> None:
    if x != y:
        only = sorted(set(x) ^ set(y))
        raise UserError(
            f"{a.label(b)} and {b.label(a)} answered different examples (limit: {len(x)} "
            f"against {len(y)}; {len(only)} ids on one side only, the first {only[:1]}). "
            "Use the same --limit and --seed for both."
        )


def stored_examples(side: RunVariant, kind: str) -> Examples | None:
    """The rows of one file as columns, made once a run."""

    def make() -> Examples | None:
        rows = side.rows(kind)
        return None if rows is None else examples_of(rows)

    return side.run.once(("examples", kind, side.variant), make)
