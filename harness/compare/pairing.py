"""Pairing two variants' stored rows, example by example.

Input: two variants of comparable runs -> output: one :class:`Pair` per metric: differences b - a
summed by unit, with their interval and p; variants that answered other examples are refused.
Whether runs are comparable is in ``sides``, what follows from a pair in ``quality`` and ``gates``.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.compare.metrics import FALLBACK, METRICS, NO_TABLES, PRIMARY, Metric
from harness.compare.sides import RunVariant, other_systems
from harness.errors import UserError
from harness.stats.intervals import Floats, TableSums, table_sums
from harness.stats.paired import FlipTest, flip_test, score_interval
from harness.stats.rates import Interval
from harness.stats.units import Units, units_of


@dataclass(frozen=True)
class MatchedTerms:
    """One metric of the same examples under two systems, in the order of their units."""

    ids: list[int]
    units: Units
    """Of the examples that have the metric."""
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
        return table_sums(difference, self.units.of_example, self.before[:, 1])


AGREEMENT = 1e-6
"""Relative: losses of the same weights agree so far on every machine, so that less is rounding."""


@dataclass(frozen=True)
class Pair:
    """One metric of two sides on the same examples."""

    metric: Metric
    units: Units
    """Of the examples that have the metric on both sides."""
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
        names = dict.fromkeys((self.units.kind, unit) for unit in self.units.of_example)
        return dict(zip(names, self.sums.numerators.tolist(), strict=True))

    @property
    def discordant(self) -> int | None:
        """Examples that one side has right and the other wrong; None for a loss."""
        return None if self.fixed is None or self.broken is None else len(self.fixed + self.broken)

    def interval(self, critical: float | None = None) -> Interval | None:
        """95% over units; None with fewer than six of them.

        Args:
            critical: of the family that the metric is tested in; by default it stands alone.
        """
        if not self.units.enough:
            return None
        critical = flip_family([self]).critical if critical is None else critical
        rate = self.metric.kind == "rate"
        low, high = score_interval(self.sums, critical, whole=rate and not self.same_system)
        return (max(-1.0, low), min(1.0, high)) if rate else (low, high)

    def p(self) -> float:
        """Two-sided, of the sign-flip test over units, the metric alone."""
        return flip_family([self]).p[0]


def flip_family(family: Sequence[Pair]) -> FlipTest:
    """The test of `comparison@2` over metrics of one pair: joint sign flips of their units.

    Where the units of one metric are tables and those of another questions, each kind is flipped
    by itself. That is never too lenient: of normal statistics the largest exceeds a limit most
    often where they are independent (Šidák 1967).
    """
    columns = [pair.by_unit for pair in family]
    units = sorted(set().union(*columns))
    return flip_test(np.array([[column.get(unit, 0.0) for column in columns] for unit in units]))


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


def match(metric: Metric, before: Sequence[Any], after: Sequence[Any]) -> MatchedTerms:
    """The examples for which both sides have the metric, in the order of their units."""
    kept = [
        (x, term_x, term_y)
        for x, y in zip(before, after, strict=True)
        if (term_x := metric.term(x)) is not None and (term_y := metric.term(y)) is not None
    ]
    units = units_of([x.table_id for x, _, _ in kept], [x.id for x, _, _ in kept])
    order = sorted(range(len(kept)), key=units.of_example.__getitem__)  # type: ignore[arg-type]
    return MatchedTerms(
        [kept[place][0].id for place in order],
        replace(units, of_example=[units.of_example[place] for place in order]),
        np.array([kept[place][1] for place in order], dtype=np.float64).reshape(-1, 2),
        np.array([kept[place][2] for place in order], dtype=np.float64).reshape(-1, 2),
    )


def _pairs_of(kind: str, a: RunVariant, b: RunVariant) -> list[Pair]:
    """The metrics whose values stand in row files of ``kind``."""
    rows_a, rows_b = a.rows(kind), b.rows(kind)
    if rows_a is None or rows_b is None:
        return []
    _require_same_ids(a, b, rows_a, rows_b)
    _require_same_examples(a, b, rows_a, rows_b)
    same = _same_weights(a, b) and _same_texts(rows_a, rows_b)
    made = []
    for metric in METRICS.values():
        if not metric.paired or metric.rows != kind:
            continue
        found = match(metric, rows_a, rows_b)
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
        fixed = sorted(id_ for id_, better in zip(found.ids, y > x, strict=True) if better)
        broken = sorted(id_ for id_, worse in zip(found.ids, y < x, strict=True) if worse)
    return Pair(
        metric=metric,
        units=found.units,
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
    return [getattr(row, "text", None) for row in rows_a] == [
        getattr(row, "text", None) for row in rows_b
    ]


def _require_same_examples(
    a: RunVariant, b: RunVariant, rows_a: Sequence[Any], rows_b: Sequence[Any]
) -> None:
    """Refuse rows that differ in what no model changes: the table, and whether gold is usable."""
    for x, y in zip(rows_a, rows_b, strict=True):
        null = [getattr(row, "ex", None) is None for row in (x, y)]
        for what, one, other in (
            ("is on table", x.table_id, y.table_id),
            ("has as ex", *("null" if without else "a verdict" for without in null)),
        ):
            if one != other:
                raise UserError(
                    f"{a.label(b)} and {b.label(a)} cannot be paired: example {x.id} {what} "
                    f"{one} in the one, {other} in the other. Both runs must be of one data set."
                )


def _require_same_ids(
    a: RunVariant, b: RunVariant, rows_a: Sequence[Any], rows_b: Sequence[Any]
) -> None:
    ids_a, ids_b = [row.id for row in rows_a], [row.id for row in rows_b]
    if ids_a != ids_b:
        only = sorted(set(ids_a) ^ set(ids_b))
        raise UserError(
            f"{a.label(b)} and {b.label(a)} answered different examples (limit: {len(ids_a)} "
            f"against {len(ids_b)}; {len(only)} ids on one side only, the first {only[:1]}). "
            "Use the same --limit and --seed for both."
        )
