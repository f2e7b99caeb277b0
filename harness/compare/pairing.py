"""Pairing two variants' stored rows, example by example.

Input: two variants of comparable runs -> output: one :class:`Pair` per metric: differences b - a
summed by table, with their interval and p; variants that answered other examples are refused.
Whether runs are comparable is in ``sides``, what follows from a pair in ``quality`` and ``gates``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.compare.metrics import FALLBACK, METRICS, NO_TABLES, PRIMARY, Metric
from harness.compare.sides import RunVariant
from harness.errors import UserError
from harness.stats.intervals import (
    Floats,
    Interval,
    TableSums,
    studentized,
    table_sums,
    zero_variance_interval,
)
from harness.stats.paired import sign_flip


@dataclass(frozen=True)
class MatchedTerms:
    """One metric of the same examples under two systems, in the order of their rows."""

    ids: list[int]
    tables: list[str]
    before: Floats
    """(examples, 2): what each adds to the numerator and to the weight; likewise ``after``."""
    after: Floats

    def sums(self, sign: float = 1.0) -> TableSums:
        """``sign`` times the differences after - before, summed by table."""
        difference = sign * (self.after[:, 0] - self.before[:, 0])
        return table_sums(difference, self.tables, self.before[:, 1])


@dataclass(frozen=True)
class Pair:
    """One metric of two sides on the same examples."""

    metric: Metric
    sums: TableSums
    value_a: float
    value_b: float
    n: int
    fixed: list[int] | None
    broken: list[int] | None
    same_system: bool
    """Whether both sides are the same weights, which can only ever answer the same."""
    seed: int
    """Of the random draws below: see :func:`resampling_seed`."""

    @property
    def zero_variance(self) -> bool:
        """Whether two different systems differ by the same rate in every table."""
        return (
            self.fixed is not None
            and not self.same_system
            and len(self.sums.weights) > 1
            and self.sums.standard_error < 1e-9
        )

    def interval(self) -> Interval | None:
        """95% over tables: studentized, or what the number of tables bounds without variance."""
        if self.zero_variance:
            return zero_variance_interval(self.sums.estimate, len(self.sums.weights))
        return studentized(self.sums, self.seed)

    def p(self) -> float:
        """Two-sided, of the sign-flip test over tables."""
        return sign_flip(self.sums.numerators, self.seed)


def resampling_seed(a: RunVariant, b: RunVariant) -> int:
    """The seed of every random draw about a pair, the same for every caller, in either order.

    It is the seed that the run recorded; for two runs it is the smaller one.
    """
    return min(a.run.results.run.seed, b.run.results.run.seed)


def pairs(a: RunVariant, b: RunVariant) -> list[Pair]:
    """Every metric that both sides have, primary ones first.

    Raises:
        UserError: the two answered different examples (another --limit or seed).
    """
    found = [*_pairs_of("losses", a, b), *_pairs_of("predictions", a, b)]
    return sorted(found, key=lambda pair: not pair.metric.primary)


def primary_of(found: Sequence[Pair]) -> list[Pair]:
    """The pairs of the primary family; for plain texts, whose answers are not marked, full_text."""
    family = [pair for pair in found if pair.metric.primary]
    return family or [pair for pair in found if pair.metric == FALLBACK]


def match(metric: Metric, before: Sequence[Any], after: Sequence[Any]) -> MatchedTerms:
    """The examples for which both sides have the metric, their rows in the same order."""
    kept = [
        (x.id, x.table_id, term_x, term_y)
        for x, y in zip(before, after, strict=True)
        if (term_x := metric.term(x)) is not None and (term_y := metric.term(y)) is not None
    ]
    return MatchedTerms(
        [row[0] for row in kept],
        [row[1] for row in kept],
        np.array([row[2] for row in kept], dtype=np.float64).reshape(-1, 2),
        np.array([row[3] for row in kept], dtype=np.float64).reshape(-1, 2),
    )


def _pairs_of(kind: str, a: RunVariant, b: RunVariant) -> list[Pair]:
    """The metrics whose values stand in row files of ``kind``."""
    rows_a, rows_b = a.rows(kind), b.rows(kind)
    if rows_a is None or rows_b is None:
        return []
    _require_same_ids(a, b, rows_a, rows_b)
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
            made.append(_pair(metric, found, same, resampling_seed(a, b)))
    return made


def _pair(metric: Metric, found: MatchedTerms, same_system: bool, seed: int) -> Pair:
    (x, weights), (y, _) = found.before.T, found.after.T
    weight = float(weights.sum())
    fixed = broken = None
    if metric.kind == "rate":
        fixed = [id_ for id_, better in zip(found.ids, y > x, strict=True) if better]
        broken = [id_ for id_, worse in zip(found.ids, y < x, strict=True) if worse]
    return Pair(
        metric=metric,
        sums=found.sums(),
        value_a=float(x.sum()) / weight,
        value_b=float(y.sum()) / weight,
        n=len(found.ids),
        fixed=fixed,
        broken=broken,
        same_system=same_system,
        seed=seed,
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
    if bare:
        stored = "answers" if metric.rows == "predictions" else metric.rows
        return f"{' and '.join(bare)} {'has' if len(bare) == 1 else 'have'} no stored {stored}"
    return metric.absent.get(form, "no answer has that grade in both")


def _same_weights(a: RunVariant, b: RunVariant) -> bool:
    """Whether adapter, how it is applied, and quantization agree; the base's weights do, by
    ``require_comparable``."""
    applied = ("fine_tune_type", "num_layers", "lora_parameters", "quantize")
    weights = [
        (side.adapter_sha256, [side.result.config.get(name) for name in applied]) for side in (a, b)
    ]
    return weights[0] == weights[1]


def _same_texts(rows_a: Sequence[Any], rows_b: Sequence[Any]) -> bool:
    """Whether all answers agree to the letter; losses have no text to differ in."""
    return [getattr(row, "text", None) for row in rows_a] == [
        getattr(row, "text", None) for row in rows_b
    ]


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
