"""Saved checkpoints of one variant: how good is each, and is the last worse than the best?

Input: rows of `checkpoints.<variant>.jsonl` -> output: scores by iteration, and for completion
loss and ex the last checkpoint beside the best. The best was picked for being best, so its lead
over the last is partly luck: the p is that of the largest lead among all other checkpoints when
whole units are exchanged between each of them and the last (``paired.largest_lead``), then Holm
over the two metrics; the interval is that of all the other checkpoints at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.compare.metrics import METRICS, Metric
from harness.compare.pairing import Examples, examples_of, match
from harness.compare.sides import RunVariant
from harness.schema.rows import CheckpointRow
from harness.stats.intervals import token_weighted_loss
from harness.stats.paired import ALPHA, holm, largest_lead, score_interval
from harness.stats.rates import Interval, clustered_rate
from harness.stats.units import Units

COMPLETION, EX = METRICS["completion_loss"], METRICS["ex"]
JUDGED = (COMPLETION, EX)
"""The metrics by which the last checkpoint is compared with the best."""


@dataclass(frozen=True)
class CheckpointScores:
    """One checkpoint: rates 0..1, losses in nats a token, intervals over tables."""

    iteration: int
    full_text_loss: float
    completion_loss: float | None
    completion_ci95: Interval | None
    ex: float | None
    ex_ci95: Interval | None


@dataclass(frozen=True)
class BestCheckpoint:
    """The checkpoint that is best by a metric, and the last one beside it."""

    metric: str
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
    units: Units
    """What was exchanged; fewer than six of them give no verdict."""

    @property
    def worse(self) -> bool:
        """Whether the last is worse beyond noise and beyond the luck of having been picked."""
        return self.best != self.last and self.p_holm < ALPHA


def by_iteration(rows: Sequence[CheckpointRow]) -> dict[int, list[CheckpointRow]]:
    """The rows of each checkpoint, in order of iteration."""
    ordered = sorted(rows, key=lambda row: (row.iteration, row.id))
    groups = itertools.groupby(ordered, key=lambda row: row.iteration)
    return {iteration: list(found) for iteration, found in groups}


def checkpoint_scores(rows: Sequence[CheckpointRow], seed: int = 0) -> list[CheckpointScores]:
    """Every checkpoint's scores, in order of iteration."""
    return [_scores(iteration, found, seed) for iteration, found in by_iteration(rows).items()]


def best_checkpoints(rows: Sequence[CheckpointRow]) -> list[BestCheckpoint]:
    """The last checkpoint beside the best, by each metric that all checkpoints have.

    Empty with fewer than two checkpoints. Where the last ties the best, it is the best.
    """
    found = {iteration: examples_of(some) for iteration, some in by_iteration(rows).items()}
    if len(found) < 2:
        return []
    made = [one for metric in JUDGED if (one := _best(metric, found)) is not None]
    adjusted = holm([one.p for one in made])
    return [replace(one, p_holm=p) for one, p in zip(made, adjusted, strict=True)]


def scores_of(side: RunVariant) -> list[CheckpointScores]:
    """The scores of a variant's checkpoints, in order; empty without any.

    Runs that stored no rows of checkpoints have no intervals.
    """
    if rows := side.run.checkpoints(side.variant):
        return checkpoint_scores(rows, side.run.results.run.seed)
    return [
        CheckpointScores(c.iteration, c.loss, None, None, c.ex, None)
        for c in side.result.checkpoints or []
        if c.loss is not None
    ]


def _best(metric: Metric, found: Mapping[int, Examples]) -> BestCheckpoint | None:
    last = max(found)
    values = {k: value for k, x in found.items() if (value := metric.mean(x.rows)) is not None}
    if len(values) < len(found):
        return None
    best = min(values, key=lambda k: (metric.sign * values[k], k != last, k))
    delta, p, interval = values[last] - values[best], 1.0, None
    units = match(metric, found[last], found[last]).units
    if best != last and units.enough:
        # By unit, how much worse the last is than each of the others.
        worsening = {
            k: match(metric, examples, found[last]).sums(metric.sign)
            for k, examples in found.items()
            if k != last
        }
        others = list(worsening)
        matrix = np.column_stack([worsening[k].numerators for k in others])
        p, critical = largest_lead(matrix, others.index(best))
        low, high = score_interval(worsening[best], critical, whole=metric.kind == "rate")
        interval = (low, high) if metric.better == "lower" else (-high, -low)
    return BestCheckpoint(
        metric.key, best, last, len(found), values[best], values[last], delta, interval, p, p, units
    )


def _scores(iteration: int, rows: Sequence[CheckpointRow], seed: int) -> CheckpointScores:
    loss = COMPLETION.mean(rows)
    nll, tokens = zip(*(COMPLETION.of_row(row) for row in rows), strict=True)
    tables = [row.table_id for row in rows]
    graded = [row for row in rows if row.ex is not None]
    return CheckpointScores(
        iteration=iteration,
        full_text_loss=sum(row.full_nll for row in rows) / sum(row.full_tokens for row in rows),
        completion_loss=loss,
        completion_ci95=None if loss is None else token_weighted_loss(nll, tokens, tables, seed),
        ex=EX.mean(rows),
        ex_ci95=clustered_rate([bool(row.ex) for row in graded], [row.table_id for row in graded]),
    )
