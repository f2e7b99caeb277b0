"""Which saved checkpoint is best? (--checkpoints)"""

from __future__ import annotations

from harness.results.variant_schema import CheckpointResult


def test_every_checkpoint_is_measured(checkpoints: list[CheckpointResult]) -> None:
    """Loss and execution accuracy of each."""
    iterations = [checkpoint.iteration for checkpoint in checkpoints]
    assert iterations == sorted(set(iterations))
    assert all(checkpoint.loss is not None for checkpoint in checkpoints)
