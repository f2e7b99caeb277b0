"""How long a fine-tuning will take and what memory it needs, before it starts.

Variant + the model's configuration and counts + row lengths + measured GFLOP/s -> seconds and
bytes. A plain count, good to about a factor of 1.5: each token costs 2 operations a weight forward
and, in the blocks that gradients pass, 2 backward (6 in all where weights train); a quantized
weight is dequantized in either pass; half of the machine's measured speed on large
products is reached. The constants are fitted to SmolLM2-135M on two CPU cores. Imports no mlx.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from harness.models.config import ModelConfig
from harness.schema.variant_result import Parameters
from harness.train.curve import validates_at
from harness.train.variant import Variant

EFFICIENCY = 0.5
"""The share of a large product's GFLOP/s; softmax, norms and activations take the rest."""
DEQUANTIZED_PER_S = 0.25e9
"""Quantized weights that one call on the CPU dequantizes a second."""
_FLOAT = 4


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a training will take."""

    train_s: float
    """Seconds in training steps."""
    validate_s: float
    """Seconds in validation."""
    peak_bytes: int
    """Largest sum of live arrays."""

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.train_s + self.validate_s), 60)
        spent = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
        return f"about {spent} and {self.peak_bytes / 1e9:.1f} GB"


def estimate(
    variant: Variant,
    config: Mapping[str, Any],
    counts: Parameters,
    base_bytes: int,
    lengths: Sequence[int],
    gflops: float,
    valid_rows: int = 0,
) -> Estimate:
    """Time and memory of fine-tuning ``variant``; a ``base`` variant is only validated.

    Args:
        variant: what to train.
        config: the model's ``config.json``.
        counts: its parameters with this variant's adapter (``models/parameters.py``).
        base_bytes: of the base in memory.
        lengths: tokens of each training row.
        gflops: measured speed of a large product (`models/device.py`).
        valid_rows: rows of the validation split; counts where ``val_batches`` is -1.
    """
    model = ModelConfig(config)
    layers, hidden, vocabulary = model.layers or 1, model.hidden or 1, model.vocabulary or 1
    adapted = layers if variant.num_layers == -1 else min(variant.num_layers, layers)
    adapted = adapted if variant.trains else 0
    head = hidden * vocabulary
    blocks = max(0, counts.total - head)
    backward = blocks * adapted // max(1, layers) + head
    quantized = variant.quantize is not None or bool(model.mlx_quantization)
    dequantizing_s = counts.total / DEQUANTIZED_PER_S if quantized else 0.0
    rate = gflops * 1e9 * EFFICIENCY

    batch_tokens = fmean(lengths) * variant.batch_size
    forward_s = batch_tokens * 2 * counts.total / rate + dequantizing_s
    backward_s = batch_tokens * 2 * (backward + counts.trainable) / rate
    backward_s += dequantizing_s * backward / max(1, counts.total)
    validations = sum(validates_at(variant, at) for at in range(variant.iters + 1))
    every = -(-valid_rows // variant.batch_size)
    validation_batches = every if variant.val_batches == -1 else variant.val_batches
    return Estimate(
        train_s=variant.iters * (forward_s + backward_s) if variant.trains else 0.0,
        validate_s=(validations if variant.trains else 1) * validation_batches * forward_s,
        peak_bytes=base_bytes
        + 4 * counts.trainable * _FLOAT  # their values, gradient and Adam's two moments
        + max(lengths) * variant.batch_size * _token_bytes(model, adapted, variant)
        + (2 * head * _FLOAT if quantized else 0),
    )


def _token_bytes(model: ModelConfig, adapted: int, variant: Variant) -> int:
    """What one token of a batch keeps until the backward pass."""
    hidden = model.hidden or 1
    intermediate = model.intermediate or 4 * hidden
    block = 16 * hidden + 5 * intermediate
    kept = block + adapted * hidden if variant.grad_checkpoint else max(1, adapted) * block
    # Logits, their gradient and the softmax between them.
    return _FLOAT * (kept + 3 * (model.vocabulary or 1))
