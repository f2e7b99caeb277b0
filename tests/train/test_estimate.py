"""Estimates against hand-computed counts, published speeds and measured peaks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_of_shapes import config_of
from plan_tables import PEAKS, estimated, measured_table, plans_table, subject_of
from training_rows import make_variant

from harness.models.resolve import read_config
from harness.schema.variant_result import Parameters
from harness.train.estimate import (
    Computer,
    Estimate,
    Subject,
    decoding_bytes,
    estimate,
    training_bytes,
)
from harness.train.past_runs import PastRuns
from harness.train.plan import make_plan, render
from harness.train.variant import Variant

ROOT = Path(__file__).resolve().parents[2]
TOY = {
    "num_hidden_layers": 4,
    "hidden_size": 10,
    "intermediate_size": 20,
    "vocab_size": 100,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
# 1,000 weights of output layer and 4 blocks of 1,000; 50 trained.
COUNTS = Parameters(
    trainable=50,
    total=5000,
    packed_total=5000,
    per_ten_thousand=100.0,
    packed_per_ten_thousand=100.0,
)
CPU = Computer("cpu", 10**10, 1.0)


def toy(variant: Variant, dtype: str = "float32", base_bytes: int = 0) -> Subject:
    return Subject(variant, TOY, COUNTS, {dtype: base_bytes})


def test_time_is_operations_over_half_the_measured_speed() -> None:
    variant = make_variant(
        "lora", iters=3, num_layers=2, batch_size=2, val_batches=5, steps_per_eval=50
    )
    found = estimate(toy(variant), CPU, [10, 20])
    tokens = 15 * 2
    forward = tokens * 2 * 5000 / 0.5e9
    backward = tokens * 2 * (4000 * 2 / 4 + 1000 + 50) / 0.5e9
    assert found.train_s == pytest.approx(3 * (forward + backward))
    assert found.validate_s == pytest.approx(2 * 5 * forward)


def test_an_embedding_that_is_not_the_output_layer_multiplies_nothing() -> None:
    variant = make_variant("base", val_batches=1, batch_size=1)
    untied = replace(toy(variant), config=TOY | {"tie_word_embeddings": False})
    assert estimate(untied, CPU, [10]).validate_s == pytest.approx(10 * 2 * 4000 / 0.5e9)


def test_only_a_cpu_dequantizes_before_it_multiplies() -> None:
    """0.25 billion weights a second: 29 s a pass over a 7B, where a GPU multiplies packed ones."""
    variant = make_variant("qlora", iters=1, val_batches=1)
    gpu = replace(CPU, backend="metal")
    there, here = (estimate(toy(variant), one, [10]).train_s for one in (gpu, CPU))
    assert here - there == pytest.approx(5000 / 0.25e9 + (4000 * 2 / 4 + 1000) / 0.25e9)


def test_checkpointing_computes_its_blocks_twice() -> None:
    plain, again = (
        estimate(toy(make_variant("lora", iters=1, grad_checkpoint=on)), CPU, [10]).train_s
        for on in ("false", "true")
    )
    assert again - plain == pytest.approx(4 * 10 * 2 * (4000 * 2 / 4) / 0.5e9)


def test_all_validation_rows_are_counted_where_all_are_asked_for() -> None:
    variant = make_variant("base", val_batches=-1, batch_size=2)
    found = estimate(toy(variant), CPU, [10], valid_rows=5)
    assert found.validate_s == pytest.approx(3 * 20 * 2 * 5000 / 0.5e9)


def test_a_base_is_only_validated() -> None:
    found = estimate(toy(make_variant("base")), CPU, [10])
    assert found.train_s == 0
    assert found.validate_s > 0


@pytest.mark.parametrize(
    ("shape", "bits", "gflops", "settings", "measured_tokens_per_s", "training"),
    [
        # mlx-lm's LORA.md: batch 1, 4 layers, WikiSQL; the GPU's nominal 10.4 TFLOPS.
        ("mistral-7b", None, 10_400, {"num_layers": 4, "batch_size": 1}, 250, True),
        # mlx-lm's BENCHMARKS.md: prompts of 2,048 tokens on an M4 Max, nominally 18.4 TFLOPS.
        ("qwen3-4b", None, 18_400, {"batch_size": 1}, 1780, False),
        ("qwen3-4b", 4, 18_400, {"batch_size": 1}, 1622, False),
        ("qwen3-4b", 8, 18_400, {"batch_size": 1}, 1606, False),
    ],
)
def test_published_speeds_of_macs_are_estimated_within_a_factor_of_3(
    shape: str,
    bits: int | None,
    gflops: float,
    settings: dict[str, int],
    measured_tokens_per_s: float,
    training: bool,
) -> None:
    name = "lora" if bits is None else "qlora"
    quantize = {} if bits is None else {"quantize.bits": bits}
    variant = make_variant(name, iters=1, val_batches=1, **settings, **quantize)
    metal = Computer("metal", 48 * 10**9, gflops)
    found = estimate(subject_of(variant, config_of(shape)), metal, [100])
    # Validation is before and after the one iteration; a forward pass each.
    seconds = found.train_s if training else found.validate_s / 2
    assert measured_tokens_per_s / 3 < 100 / seconds < measured_tokens_per_s * 3


def test_smollm2_is_estimated_as_measured() -> None:
    """LoRA, batch 4 of 83 tokens: 3.3 s a step and 1.30 GB at 4 x 128; 4-bit 5.0 s a step."""
    config = read_config("smollm2")
    cpu = Computer("cpu", 24 * 10**9, 80, chunked_loss=True)
    for name, measured_s in (("lora", 3.3), ("qlora", 5.0)):
        variant = make_variant(name, iters=1, val_batches=1, num_layers=16)
        found = estimate(subject_of(variant, config), cpu, [83] * 4)
        assert measured_s / 1.5 < found.train_s < measured_s * 1.5


def test_it_is_reported_in_minutes_and_gigabytes() -> None:
    found = str(Estimate(61.0, 1.0, 2_500_000_000, 0))
    assert found == "about 1 min 2 s and 2.5 GB"


def test_a_machine_s_past_runs_correct_the_next_estimate(tmp_path: Path) -> None:
    past = PastRuns.of(tmp_path, ["metal", "Apple M2 Max"])
    found = Estimate(10.0, 2.0, 10**9, 8 * 10**8)
    assert past.corrected(found) == found
    assert "no run of this machine" in past.note
    for measured_s in (6.0, 24.0, 30.0):  # half, twice and 2.5 times the 12 s estimated
        past = PastRuns.of(tmp_path, ["metal", "Apple M2 Max"])
        past.add(found, measured_s, 9 * 10**8)  # half of what was estimated above the weights
    past = PastRuns.of(tmp_path, ["metal", "Apple M2 Max"])
    assert past.corrected(found) == Estimate(20.0, 4.0, 9 * 10**8, 8 * 10**8)
    other = Estimate(10.0, 2.0, 5 * 10**9, 4 * 10**9)
    assert past.corrected(other).peak_bytes == 45 * 10**8  # never less than its weights
    assert past.note == "corrected by 3 earlier runs of this machine"
    assert PastRuns.of(tmp_path, ["cpu", "Apple M2 Max"]).runs == ()


def test_short_trainings_and_damaged_files_correct_nothing(tmp_path: Path) -> None:
    past = PastRuns.of(tmp_path, ["cpu", "x"])
    past.add(Estimate(0.1, 0.0, 10**6, 0), 0.5, 10**9)
    past.add(Estimate(0.1, 0.0, 10**6, 0), 5.0, 10**6)
    assert not past.path.exists()
    past.path.parent.mkdir(parents=True)
    past.path.write_text("{")
    assert PastRuns.of(tmp_path, ["cpu", "x"]).runs == ()


def test_records_of_earlier_versions_correct_time_alone(tmp_path: Path) -> None:
    """They hold the peak's ratio with the weights in it, and not how much the weights were."""
    past = PastRuns.of(tmp_path, ["cpu", "x"])
    past.path.parent.mkdir(parents=True)
    run = {"estimated_s": 10, "measured_s": 20, "estimated_bytes": 10**9, "measured_bytes": 10**8}
    past.path.write_text(json.dumps({"runs": [run]}))
    found = PastRuns.of(tmp_path, ["cpu", "x"]).corrected(Estimate(10.0, 2.0, 10**9, 10**8))
    assert found == Estimate(20.0, 4.0, 10**9, 10**8)


def test_one_past_run_moves_an_estimate_five_times_at_most(tmp_path: Path) -> None:
    past = PastRuns.of(tmp_path, ["cpu", "x"])
    past.add(Estimate(1.0, 0.0, 10**9, 0), 100.0, 10**9)
    assert PastRuns.of(tmp_path, ["cpu", "x"]).time_ratio == 5.0


MIXTRAL = {
    "model_type": "mixtral", "hidden_size": 512, "intermediate_size": 1792,
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "vocab_size": 4096, "num_local_experts": 8, "tie_word_embeddings": False,
    "max_position_embeddings": 32768, "torch_dtype": "float32",
}  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "batch", "length", "trained", "answered"),
    [(2, 4, 128, 0.661e9, 0.580e9), (4, 4, 128, 0.853e9, 0.729e9), (2, 2, 512, 0.959e9, 1.117e9)],
)
def test_each_chosen_expert_computes_a_token(
    chosen: int, batch: int, length: int, trained: float, answered: float
) -> None:
    """Peaks that `memory_of_shapes.measure` gave of Mixtral's blocks, all layers trained."""
    config = MIXTRAL | {"num_experts_per_tok": chosen}
    subject = subject_of(make_variant("lora", num_layers=4), config)
    metal = Computer("metal", 25 * 10**9)
    assert training_bytes(subject, metal, batch, length) == pytest.approx(trained, rel=0.15)
    found = subject.loaded_bytes("metal") + decoding_bytes(subject, "metal", 16, length, 3)
    assert found == pytest.approx(answered, rel=0.15)


def test_experts_that_are_not_chosen_multiply_nothing() -> None:
    config = TOY | {"num_local_experts": 3, "num_experts_per_tok": 1}
    variant = make_variant("base", val_batches=1, batch_size=1)
    dense, sparse = (replace(toy(variant), config=found) for found in (TOY, config))
    seconds = [estimate(found, CPU, [10]).validate_s for found in (dense, sparse)]
    # Of 4 blocks, 2 experts with 3 weights of 10 x 20 are idle: all but the output layer's 1,000
    # of the toy's 5,000.
    assert seconds == pytest.approx([10 * 2 * 5000 / 0.5e9, 10 * 2 * 1000 / 0.5e9])


def test_fusing_counts_the_largest_stack_of_experts(tmp_path: Path) -> None:
    """Mixtral's 8 experts of 4096 x 14336 are 1.9 GB in float32, and fused as one."""
    config = config_of("mistral-7b", 1)
    past, metal = PastRuns(tmp_path), Computer("metal", 10**12)
    subject = subject_of(make_variant("lora"), config)
    dense = make_plan("m", subject, metal, past)
    assert dense.fusing_bytes - dense.disk.base_bytes == 4 * (4 * 4096 * 14336)
    experts = {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
    sparse = make_plan("m", replace(subject, config=config | experts), metal, past)
    assert sparse.fusing_bytes - sparse.disk.base_bytes == 4 * (4 * 8 * 4096 * 14336)


@pytest.mark.parametrize(("kind", "fitted"), [("mixtral", True), ("mamba", False)])
def test_a_plan_says_where_it_is_not_fitted_to_the_architecture(
    kind: str, fitted: bool, tmp_path: Path
) -> None:
    subject = replace(toy(make_variant("lora")), config=TOY | {"model_type": kind})
    plan = make_plan("m", subject, Computer("metal", 10**12), PastRuns(tmp_path))
    assert plan.fitted is fitted
    assert ("Not fitted to this architecture" in render(plan)) is not fitted


def test_a_gpu_s_loss_is_counted_whole_also_where_it_comes_in_chunks() -> None:
    """MLX begins further chunks before the first has ended: 444 rows of 151,936 words took three
    quarters of what they take whole (docs/measurements.md)."""
    subject = subject_of(make_variant("qlora", num_layers=16), config_of("qwen3-8b"))
    whole, chunked = (Computer("metal", 10**12, chunked_loss=chunked) for chunked in (False, True))
    assert training_bytes(subject, chunked, 4, 512) == training_bytes(subject, whole, 4, 512)
    on_cpu = [Computer("cpu", 10**12, chunked_loss=chunked) for chunked in (False, True)]
    most, least = (training_bytes(subject, one, 4, 512) for one in on_cpu)
    assert most - least > 4 * 2048 * 151_936  # the logits alone


@pytest.mark.parametrize("peak", PEAKS, ids=lambda p: "-".join(map(str, list(p.values())[:7])))
def test_peaks_are_estimated_within_15_percent_of_what_was_measured(peak: dict[str, Any]) -> None:
    trained, answered = estimated(peak)
    assert trained == pytest.approx(peak["train"], rel=0.15)
    assert answered == pytest.approx(peak.get("answer", answered), rel=0.15)


def test_the_documented_tables_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert plans_table() in text
    assert measured_table() in text


def test_a_published_peak_of_a_mac_is_estimated_within_15_percent() -> None:
    """Llama-3-8B in 4 bits, batch 2, WikiSQL's rows on an M1 Max: 5.42 GB (unsloth issue 1289)."""
    subject = subject_of(make_variant("qlora", num_layers=16), config_of("llama-3-8b"))
    metal = Computer("metal", 21 * 10**9)
    assert training_bytes(subject, metal, 2, 112) == pytest.approx(5.42e9, rel=0.15)


@pytest.mark.parametrize(("bits", "measured"), [(4, 3.35e9), (8, 5.254e9), (None, 9.02e9)])
def test_published_peaks_of_answering_are_estimated_within_15_percent(
    bits: int | None, measured: float
) -> None:
    """Qwen3-4B, one prompt of 2,048 tokens and 128 new ones (mlx-lm's BENCHMARKS.md)."""
    quantize = {} if bits is None else {"quantize.bits": bits}
    variant = make_variant("lora" if bits is None else "qlora", **quantize)
    subject = subject_of(variant, config_of("qwen3-4b"))
    found = subject.loaded_bytes("metal") + decoding_bytes(subject, "metal", 1, 2048, 128)
    assert found == pytest.approx(measured, rel=0.15)
