"""Pairing two variants' stored rows, example by example.

Input: two sides of alike runs -> output: :class:`Pair` per metric, differences b - a summed by
table, with its interval and its p; sides that answered other examples are refused. Whether runs
are alike is in ``sides``, what follows from a pair in ``compare`` and ``gates``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.compare.sides import RunVariant
from harness.errors import UserError
from harness.schema.results import Direction
from harness.schema.rows import LossRow, PredictionRow
from harness.stats.intervals import Interval, TableSums, studentized, table_sums, without_spread
from harness.stats.paired import sign_flip

PRIMARY = ("completion_loss", "ex", "ex_hardened")
"""The primary family: Holm runs over these, and only these get a verdict."""

STAND_IN = "full_text_loss"
"""Takes the place of the family where there is neither an answer to score nor one to execute."""

DESCRIPTIVE = ("full_text_loss", "ex_official", "ex_strict", "lf", "valid")

RATE_METRICS = ("ex", "ex_hardened", "ex_official", "ex_strict", "lf", "valid")


@dataclass(frozen=True)
class Pair:
    """One metric of two sides on the same examples."""

    metric: str
    direction: Direction
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
    def without_spread(self) -> bool:
        """Whether every table gave two different systems the same difference of rates."""
        return (
            self.fixed is not None
            and not self.same_system
            and len(self.sums.weights) > 1
            and self.sums.standard_error < 1e-9
        )

    def interval(self) -> Interval | None:
        """95% over tables: studentized, or what the number of tables bounds without spread."""
        if self.without_spread:
            return without_spread(self.sums.estimate, len(self.sums.weights))
        return studentized(self.sums, self.seed)

    def p(self) -> float:
        """Two-sided, of the sign-flip test over tables."""
        return sign_flip(self.sums.numerators, self.seed)


def resampling_seed(a: RunVariant, b: RunVariant) -> int:
    """The seed of every random draw about a pair, whatever asks for it and in whichever order.

    A run's own, which it recorded; of two runs the smaller.
    """
    return min(a.run.results.run.seed, b.run.results.run.seed)


def pairs(a: RunVariant, b: RunVariant) -> list[Pair]:
    """Every metric that both sides have, primary ones first.

    Raises:
        UserError: the two answered different examples (another --limit or seed).
    """
    found = [*_loss_pairs(a, b), *_rate_pairs(a, b)]
    order = {name: place for place, name in enumerate((*PRIMARY, *DESCRIPTIVE))}
    return sorted(found, key=lambda pair: order[pair.metric])


def primary_of(found: Sequence[Pair]) -> list[Pair]:
    """The pairs of the primary family; of plain texts, whose answers are not marked, full_text."""
    family = [pair for pair in found if pair.metric in PRIMARY]
    return family or [pair for pair in found if pair.metric == STAND_IN]


def _loss_pairs(a: RunVariant, b: RunVariant) -> list[Pair]:
    rows_a, rows_b = a.run.losses(a.variant), b.run.losses(b.variant)
    if rows_a is None or rows_b is None:
        return []
    _require_same_ids(a, b, rows_a, rows_b)
    tables = [row.table_id for row in rows_a]
    getters: tuple[tuple[str, Callable[[LossRow], tuple[float, int]]], ...] = (
        ("completion_loss", lambda row: (row.completion_nll, row.completion_tokens)),
        ("full_text_loss", lambda row: (row.full_nll, row.full_tokens)),
    )
    made = []
    for metric, get in getters:
        x = np.array([get(row) for row in rows_a], dtype=np.float64)
        y = np.array([get(row) for row in rows_b], dtype=np.float64)
        if not np.array_equal(x[:, 1], y[:, 1]):
            raise UserError(
                f"{a.label(b)} and {b.label(a)} scored different tokens for {metric}: another "
                "tokenizer or maximum length. Measure both with the same settings."
            )
        weight = float(x[:, 1].sum())
        if weight:
            sums = table_sums(y[:, 0] - x[:, 0], tables, x[:, 1])
            values = float(x[:, 0].sum()) / weight, float(y[:, 0].sum()) / weight
            same, seed = _same_weights(a, b), resampling_seed(a, b)
            made.append(Pair(metric, "lower", sums, *values, len(tables), None, None, same, seed))
    return made


def _rate_pairs(a: RunVariant, b: RunVariant) -> list[Pair]:
    rows_a, rows_b = a.run.predictions(a.variant), b.run.predictions(b.variant)
    if rows_a is None or rows_b is None:
        return []
    _require_same_ids(a, b, rows_a, rows_b)
    same = _same_weights(a, b) and [x.text for x in rows_a] == [y.text for y in rows_b]
    made = []
    for metric in RATE_METRICS:
        graded = [
            (x.id, x.table_id, bool(getattr(x, metric)), bool(getattr(y, metric)))
            for x, y in zip(rows_a, rows_b, strict=True)
            if getattr(x, metric) is not None and getattr(y, metric) is not None
        ]
        if not graded:
            continue
        before = np.array([row[2] for row in graded], dtype=np.float64)
        after = np.array([row[3] for row in graded], dtype=np.float64)
        made.append(
            Pair(
                metric,
                "higher",
                table_sums(after - before, [row[1] for row in graded]),
                float(before.mean()),
                float(after.mean()),
                len(graded),
                [row[0] for row in graded if row[3] and not row[2]],
                [row[0] for row in graded if row[2] and not row[3]],
                same,
                resampling_seed(a, b),
            )
        )
    return made


def absent(a: RunVariant, b: RunVariant, found: Sequence[Pair]) -> dict[str, str]:
    """The primary metrics that could not be paired, with the reason."""
    lacking = set(PRIMARY) - {pair.metric for pair in found}
    return {metric: _why_absent(metric, a, b) for metric in PRIMARY if metric in lacking}


def _why_absent(metric: str, a: RunVariant, b: RunVariant) -> str:
    loss = metric == "completion_loss"
    bare = [
        side.label(other)
        for side, other in ((a, b), (b, a))
        if (side.run.losses if loss else side.run.predictions)(side.variant) is None
    ]
    if a.run.results.dataset.form != "tables" and not loss:
        return "the data has no tables to run queries on"
    if bare:
        return f"{' and '.join(bare)} {'has' if len(bare) == 1 else 'have'} no stored " + (
            "losses" if loss else "answers"
        )
    if loss:
        return "the data does not say where an answer begins"
    return "no answer has that grade in both"


def _same_weights(a: RunVariant, b: RunVariant) -> bool:
    """Whether adapter, how it is applied, and quantization agree; the base's weights do, by
    ``require_alike``."""
    applied = ("fine_tune_type", "num_layers", "lora_parameters", "quantize")
    weights = [
        (
            result.adapter.sha256 if result.adapter else None,
            [result.config.get(name) for name in applied],
        )
        for result in (side.run.results.variants[side.variant] for side in (a, b))
    ]
    return weights[0] == weights[1]


def _require_same_ids(
    a: RunVariant,
    b: RunVariant,
    rows_a: Sequence[LossRow] | Sequence[PredictionRow],
    rows_b: Sequence[LossRow] | Sequence[PredictionRow],
) -> None:
    ids_a, ids_b = [row.id for row in rows_a], [row.id for row in rows_b]
    if ids_a != ids_b:
        only = sorted(set(ids_a) ^ set(ids_b))
        raise UserError(
            f"{a.label(b)} and {b.label(a)} answered different examples (limit: {len(ids_a)} "
            f"against {len(ids_b)}; {len(only)} ids on one side only, the first {only[:1]}). "
            "Use the same --limit and --seed for both."
        )
