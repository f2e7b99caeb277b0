"""Saved checkpoints of one variant, example by example.

Stage payloads of one checkpoint (losses, graded answers) -> :class:`CheckpointRow`s, and those ->
the `checkpoints` section of `results.json`. What the rows say (which is best, whether the last is
worse beyond noise) is in ``results.checkpoints``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from harness.schema.rows import CheckpointRow, LossRow, PredictionRow
from harness.schema.variant_result import CheckpointResult
from harness.stats.rates import rate


def checkpoint_rows(
    iteration: int, losses: Sequence[LossRow], graded: Sequence[PredictionRow] | None
) -> list[CheckpointRow]:
    """One row an example; ``graded`` is None for data without tables, which asks nothing."""
    answers = {row.id: row for row in graded or ()}
    rows = []
    for loss in losses:
        answer = answers.get(loss.id)
        rows.append(
            CheckpointRow(
                iteration=iteration,
                **loss.model_dump(),
                text=answer and answer.text,
                ex=answer and answer.ex,
                ex_hardened=answer and answer.ex_hardened,
                failure=answer and answer.failure,
            )
        )
    return rows


def checkpoint_results(rows: Sequence[CheckpointRow]) -> list[CheckpointResult]:
    """The `checkpoints` section, in order of iteration."""
    ordered = sorted(rows, key=lambda row: row.iteration)
    results = []
    for iteration, group in itertools.groupby(ordered, key=lambda row: row.iteration):
        found = list(group)
        results.append(
            CheckpointResult(
                iteration=iteration,
                loss=math.fsum(row.full_nll for row in found)
                / sum(row.full_tokens for row in found),
                ex=rate([row.ex for row in found]),
            )
        )
    return results
