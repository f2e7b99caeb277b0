"""Saved checkpoints of one variant: how good is each, and is the last worse than the best?

Input: rows of `checkpoints.<variant>.jsonl` -> output: quality by iteration, and for completion
loss and ex the last checkpoint beside the best. The best was picked for being best, so its lead
over the last is partly luck: the p is that of the largest lead among all other checkpoints when
whole tables are exchanged between each of them and the last (``statistics.sign_flip_largest``),
then Holm over the two metrics; the interval is Bonferroni's over the other checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.schema.rows import CheckpointRow
from harness.stats.intervals import (
    Interval,
    TableSums,
    clustered_rate,
    studentized,
    table_sums,
    token_weighted_loss,
)
from harness.stats.paired import ALPHA, holm, sign_flip_largest

Metric = Literal["completion_loss", "ex"]
METRICS: tuple[Metric, ...] = ("completion_loss", "ex")


@dataclass(frozen=True)
class Quality:
    """One checkpoint: rates 0..1, losses in nats a token, intervals over tables."""

    iteration: int
    full_text_loss: float
    completion_loss: float | None
    completion_ci95: Interval | None
    ex: float | None
    ex_ci95: Interval | None


@dataclass(frozen=True)
class LastBesideBest:
    """The last checkpoint beside the one that is best by a metric."""

    metric: Metric
    best: int
    last: int
    of: int
    value_best: float
    value_last: float
    delta: float
    """last minus best"""
    ci95: Interval | None
    """Of the last minus each other checkpoint, all of them at once."""
    p: float
    p_holm: float

    @property
    def worse(self) -> bool:
        """Whether the last is worse beyond noise and beyond the luck of having been picked."""
        return self.best != self.last and self.p_holm < ALPHA


def by_iteration(rows: Sequence[CheckpointRow]) -> dict[int, list[CheckpointRow]]:
    """The rows of each checkpoint, in order of iteration."""
    found: dict[int, list[CheckpointRow]] = {}
    for row in sorted(rows, key=lambda row: (row.iteration, row.id)):
        found.setdefault(row.iteration, []).append(row)
    return found


def qualities(rows: Sequence[CheckpointRow], seed: int = 0) -> list[Quality]:
    """Every checkpoint's quality, in order of iteration."""
    return [_quality(iteration, found, seed) for iteration, found in by_iteration(rows).items()]


def last_beside_best(rows: Sequence[CheckpointRow], seed: int = 0) -> list[LastBesideBest]:
    """The last checkpoint beside the best, by each metric that all checkpoints have.

    Empty with fewer than two checkpoints. Where the last ties the best, it is the best.
    """
    found = by_iteration(rows)
    if len(found) < 2:
        return []
    made = [one for metric in METRICS if (one := _beside_best(metric, found, seed)) is not None]
    adjusted = holm([one.p for one in made])
    return [replace(one, p_holm=p) for one, p in zip(made, adjusted, strict=True)]


def _beside_best(
    metric: Metric, found: Mapping[int, list[CheckpointRow]], seed: int
) -> LastBesideBest | None:
    last = max(found)
    worsening = {k: _worsening(metric, found[k], found[last]) for k in found if k != last}
    values = {k: _value(metric, found[k]) for k in found}
    if any(value is None for value in values.values()):
        return None
    known = {k: float(value) for k, value in values.items() if value is not None}
    sign = 1.0 if metric == "completion_loss" else -1.0
    best = min(known, key=lambda k: (sign * known[k], k != last, k))
    delta = known[last] - known[best]
    if best == last:
        return LastBesideBest(
            metric, best, last, len(found), known[best], known[last], 0.0, None, 1.0, 1.0
        )
    others = list(worsening)
    matrix = np.column_stack([worsening[k].numerators for k in others])
    p = sign_flip_largest(matrix, others.index(best), seed)
    interval = studentized(worsening[best], seed, level=1.0 - ALPHA / len(others))
    if interval is not None and metric == "ex":
        interval = -interval[1], -interval[0]
    return LastBesideBest(
        metric, best, last, len(found), known[best], known[last], delta, interval, p, p
    )


def _worsening(
    metric: Metric, before: Sequence[CheckpointRow], after: Sequence[CheckpointRow]
) -> TableSums:
    """By table, how much worse ``after`` is than ``before``."""
    tables = [row.table_id for row in before]
    if metric == "completion_loss":
        nll = [y.completion_nll - x.completion_nll for x, y in zip(before, after, strict=True)]
        return table_sums(nll, tables, [row.completion_tokens for row in before])
    graded = [
        (x.table_id, float(x.ex) - float(bool(y.ex)))
        for x, y in zip(before, after, strict=True)
        if x.ex is not None
    ]
    return table_sums([value for _, value in graded], [table for table, _ in graded])


def _value(metric: Metric, rows: Sequence[CheckpointRow]) -> float | None:
    if metric == "completion_loss":
        tokens = sum(row.completion_tokens for row in rows)
        return sum(row.completion_nll for row in rows) / tokens if tokens else None
    graded = [bool(row.ex) for row in rows if row.ex is not None]
    return sum(graded) / len(graded) if graded else None


def _quality(iteration: int, rows: Sequence[CheckpointRow], seed: int) -> Quality:
    loss = _value("completion_loss", rows)
    ex = _value("ex", rows)
    graded = [row for row in rows if row.ex is not None]
    return Quality(
        iteration,
        sum(row.full_nll for row in rows) / sum(row.full_tokens for row in rows),
        loss,
        None
        if loss is None
        else token_weighted_loss(
            [row.completion_nll for row in rows],
            [row.completion_tokens for row in rows],
            [row.table_id for row in rows],
            seed,
        ),
        ex,
        None
        if ex is None
        else clustered_rate(
            [bool(row.ex) for row in graded], [row.table_id for row in graded], seed
        ),
    )
