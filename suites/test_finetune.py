"""Does fine-tuning the variant work, and what does its loss curve look like?"""

from __future__ import annotations

import math

import pytest

from harness.pipeline.variant_run import VariantRun
from harness.schema.variant_result import Finetune


def test_the_curve_is_whole(finetuned: Finetune, variant: VariantRun) -> None:
    """The base before training and the last iteration are validated; iterations ascend."""
    iterations = [point.iteration for point in finetuned.curve]
    assert iterations == sorted(set(iterations))
    assert iterations[0] == 0
    last = variant.stages.variant.iters if variant.has_adapter else 0
    assert iterations[-1] == last
    assert finetuned.curve[0].val_loss is not None
    assert finetuned.curve[-1].val_loss is not None


def test_every_loss_is_finite(finetuned: Finetune) -> None:
    """A loss that is not a number would have stopped the run already."""
    losses = [p.val_loss for p in finetuned.curve] + [p.train_loss for p in finetuned.curve]
    assert all(math.isfinite(loss) for loss in losses if loss is not None)


def test_the_adapter_is_an_mlx_lm_adapter(finetuned: Finetune, variant: VariantRun) -> None:
    """`mlx_lm.generate --adapter-path` needs these two files."""
    folder = variant.stages.adapter.path
    if folder is None:
        pytest.skip(f"variant {variant.name} trains nothing")
    assert (folder / "adapters.safetensors").stat().st_size > 0
    assert (folder / "adapter_config.json").is_file()
