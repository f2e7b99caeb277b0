"""Estimates against hand-computed counts and against what was measured."""

from __future__ import annotations

import pytest
from training_rows import make_variant

from harness.models.parameters import predict
from harness.models.resolve import read_config
from harness.schema.variant_result import Parameters
from harness.train.estimate import estimate

TOY = {"num_hidden_layers": 4, "hidden_size": 10, "intermediate_size": 20, "vocab_size": 100}
# 1,000 weights of output layer and 4 blocks of 1,000; 50 trained.
COUNTS = Parameters(
    trainable=50,
    total=5000,
    packed_total=5000,
    per_ten_thousand=100.0,
    packed_per_ten_thousand=100.0,
)


def test_time_is_operations_over_half_the_measured_speed() -> None:
    variant = make_variant(
        "lora", iters=3, num_layers=2, batch_size=2, val_batches=5, steps_per_eval=50
    )
    found = estimate(variant, TOY, COUNTS, 0, [10, 20], gflops=1.0)
    tokens = 15 * 2
    forward = tokens * 2 * 5000 / 0.5e9
    backward = tokens * 2 * (4000 * 2 / 4 + 1000 + 50) / 0.5e9
    assert found.train_s == pytest.approx(3 * (forward + backward))
    assert found.validate_s == pytest.approx(2 * 5 * forward)


def test_all_validation_rows_are_counted_where_all_are_asked_for() -> None:
    variant = make_variant("base", val_batches=-1, batch_size=2)
    found = estimate(variant, TOY, COUNTS, 0, [10], 1.0, valid_rows=5)
    assert found.validate_s == pytest.approx(3 * 20 * 2 * 5000 / 0.5e9)


def test_memory_is_base_optimizer_activations_and_logits() -> None:
    variant = make_variant("lora", num_layers=2, batch_size=2)
    found = estimate(variant, TOY, COUNTS, 20_000, [10, 20], gflops=1.0)
    a_token = 4 * (2 * (16 * 10 + 5 * 20) + 3 * 100)
    assert found.peak_bytes == 20_000 + 50 * 16 + 20 * 2 * a_token


def test_a_base_is_only_validated() -> None:
    found = estimate(make_variant("base"), TOY, COUNTS, 0, [10], gflops=1.0)
    assert found.train_s == 0
    assert found.validate_s > 0


def test_smollm2_is_estimated_as_measured() -> None:
    """LoRA, batch 4 of 83 tokens: 3.3 s a step and 1.30 GB at 4 x 128; 4-bit 5.0 s a step."""
    config = read_config("smollm2")
    for name, measured_s in (("lora", 3.3), ("qlora", 5.0)):
        variant = make_variant(name, iters=1, val_batches=1, num_layers=16)
        lora = variant.lora_parameters.model_dump(exclude_none=True)
        counts, sizes = predict(config, "lora", 16, lora, variant.quantize)
        found = estimate(variant, config, counts, sizes.base_bytes, [83] * 4, gflops=80)
        assert measured_s / 1.5 < found.train_s < measured_s * 1.5
    base = 4 * predict(config)[0].total
    variant = make_variant("lora", num_layers=16)
    counts = predict(config, "lora", 16, variant.lora_parameters.model_dump(exclude_none=True))[0]
    found = estimate(variant, config, counts, base, [116] * 4, gflops=80)
    assert found.peak_bytes == pytest.approx(1.302e9, rel=0.15)


def test_it_is_reported_in_minutes_and_gigabytes() -> None:
    found = estimate(make_variant("lora"), TOY, COUNTS, 2_500_000_000, [10], gflops=1e-3)
    assert str(found).startswith("about ")
    assert str(found).endswith("2.5 GB")
