"""Which saved checkpoint is best? (--checkpoints)"""

from __future__ import annotations

from collections.abc import Callable

from harness.compare.checkpoints import best_checkpoints
from harness.pipeline.variant_run import VariantRun
from harness.schema.variant_result import CheckpointResult


def test_every_checkpoint_is_measured(
    checkpoints: list[CheckpointResult],
    variant: VariantRun,
    record_property: Callable[[str, object], None],
) -> None:
    """Loss and execution accuracy of each, on every example."""
    iterations = [checkpoint.iteration for checkpoint in checkpoints]
    assert iterations == sorted(set(iterations))
    assert all(checkpoint.loss is not None for checkpoint in checkpoints)
    assert len(variant.checkpoint_rows) == len(checkpoints) * len(variant.examples)
    for checkpoint in checkpoints:
        record_property(f"checkpoint.{checkpoint.iteration}.loss", checkpoint.loss)
        record_property(f"checkpoint.{checkpoint.iteration}.ex", checkpoint.ex)


def test_the_last_checkpoint_beside_the_best(
    checkpoints: list[CheckpointResult],
    variant: VariantRun,
    record_property: Callable[[str, object], None],
) -> None:
    """A last checkpoint that is worse than an earlier one is a result, not a failure."""
    measured = {checkpoint.iteration for checkpoint in checkpoints}
    for found in best_checkpoints(variant.checkpoint_rows):
        assert {found.best, found.last} <= measured
        record_property(f"best_by_{found.metric}", found.best)
        record_property(f"last_worse_by_{found.metric}", found.worse)
