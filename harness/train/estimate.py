"""How long a fine-tuning will take, and what memory training and answering need, before they start.

Variant + the model's configuration, counts and bytes + row lengths + what computes -> seconds and
bytes. Time is a plain count: each token costs 2 operations a weight forward and, in the blocks that
gradients pass, 2 backward (6 in all where weights train); half of the measured speed of a large
product is reached. On a CPU a quantized weight is dequantized in either pass.

Memory is counted array by array: weights, optimizer, what a block keeps for the backward pass, and
the logits of the loss that is used. The factors are fitted to MLX's peaks on random weights of
Mistral-7B's, Llama-3-8B's and Qwen3's shapes (tests/train/test_estimate.py has them), with this
project's CPU kernels and without: what Metal and CUDA allocate is computed from the same arrays in
their own types, not measured. Corrected by this machine's earlier runs in `past_runs.py`. Imports
no mlx.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from harness.models.config import ModelConfig
from harness.protocols import BATCH_ROWS
from harness.schema.variant_result import Parameters
from harness.train.curve import validates_at
from harness.train.variant import Variant

EFFICIENCY = 0.5
"""The share of a large product's GFLOP/s; softmax, norms and activations take the rest."""
DEQUANTIZED_PER_S = 0.25e9
"""Quantized weights that one call on the CPU dequantizes a second."""
COPIES_SHARE = 0.25
"""As of `models/cpu/rule.py`: the share of memory that float32 copies may take while answering."""
_HALF = ("float16", "bfloat16")
_FLOAT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_LOGITS = 4
"""Numbers alive for each logit of a loss that is not chunked: it, its share and their gradients."""
_CHUNKED_BYTES = 84 * 10**6
"""Of a loss in chunks (`models/cpu/cross_entropy.py`), where there are several chunks."""
_CACHE_STEP, _READ_AT_ONCE, _CPU_BATCHES = 64, 2048, 4
"""As of `measure/decode.py` and `models/cpu/rule.py`: by how many tokens caches grow, how many of a
prompt are read at once, and how many batches are decoded as one."""
FITTED = ("llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3_moe")
"""Architectures whose blocks are counted as they are: attention over keys and values of every
token, and a gated feed-forward network, or experts of that form. Others (state spaces,
convolutions, compressed keys) are counted as if they were such."""
_CPU_KEEPS = 0.9
"""Of what is counted of a block; our kernels keep less than MLX's, which hold one block more."""


@dataclass(frozen=True, slots=True)
class Computer:
    """What computes."""

    backend: str
    """``cpu``, ``metal`` or ``cuda``."""
    memory_bytes: int
    """What MLX may take in all."""
    gflops: float | None = None
    """Measured speed of a large product; None where it is not known."""
    chunked_loss: bool = False
    """Whether training's logits exist a chunk at a time."""


def working_set(backend: str, memory_bytes: int) -> int:
    """What MLX may take of a machine of that size: macOS recommends two thirds of its memory below
    36 GiB and from there three quarters, the least that was seen (107.5 of 128 GiB was, too); a
    card or a host has all of its own."""
    if backend != "metal":
        return memory_bytes
    return memory_bytes * 2 // 3 if memory_bytes < 36 * 2**30 else memory_bytes * 3 // 4


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a training will take."""

    train_s: float
    """Seconds in training steps."""
    validate_s: float
    """Seconds in validation."""
    peak_bytes: int
    """Largest sum of live arrays."""
    weights_bytes: int
    """Of these, the base's weights, which are known exactly."""

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.train_s + self.validate_s), 60)
        spent = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
        return f"about {spent} and {self.peak_bytes / 1e9:.1f} GB"


@dataclass(frozen=True, slots=True)
class Subject:
    """A variant of a model, by its configuration and counts alone."""

    variant: Variant
    config: Mapping[str, Any]
    """The model's ``config.json``."""
    counts: Parameters
    """With the variant's adapter (``models/parameters.py``)."""
    base_by_dtype: Mapping[str, int]
    """Bytes of the base on disk, quantized as the variant demands, by number format."""

    @property
    def model(self) -> ModelConfig:
        """The configuration's numbers."""
        return ModelConfig(self.config)

    @property
    def quantized(self) -> bool:
        """Whether the base's weights are packed."""
        return self.variant.quantize is not None or bool(self.model.mlx_quantization)

    @property
    def fitted(self) -> bool:
        """Whether memory is counted of the blocks that the model has."""
        return self.model.architecture in FITTED

    @property
    def largest_layer(self) -> int:
        """Numbers in the largest weight of a block; the experts of a block are one."""
        model = self.model
        inner = max(model.intermediate or 0, model.experts * model.expert_width)
        return (model.hidden or 1) * max(inner, _heads(model)[0])

    @property
    def adapted(self) -> int:
        """Blocks that gradients pass."""
        layers = self.model.layers or 1
        if not self.variant.trains:
            return 0
        return layers if self.variant.num_layers == -1 else min(self.variant.num_layers, layers)

    def dequantizes(self, on_cpu: bool) -> bool:
        """Whether products are taken of float32 copies of packed weights."""
        return self.quantized and on_cpu

    def loaded_bytes(self, backend: str) -> int:
        """Bytes of the base in memory: half precision becomes float32 on a CPU."""
        wider = 2 if backend == "cpu" else 1
        return sum(n * (wider if d in _HALF else 1) for d, n in self.base_by_dtype.items())

    def float_bytes(self, backend: str) -> int:
        """Bytes of an activation."""
        half = backend != "cpu" and any(dtype in _HALF for dtype in self.base_by_dtype)
        return 2 if half else 4

    @property
    def stored_float_bytes(self) -> int:
        """Bytes of an unpacked number of the base on disk."""
        return max((_FLOAT_BYTES.get(d, 0) for d in self.base_by_dtype), default=0) or 2

    def trainable_bytes(self, backend: str) -> int:
        """Bytes of what is trained: adapters are made in float32."""
        full = self.variant.fine_tune_type == "full"
        return self.counts.trainable * (self.float_bytes(backend) if full else 4)

    def dequantized(self) -> Subject:
        """The fused model with plain weights."""
        dtype = next((d for d in self.base_by_dtype if d in _FLOAT_BYTES), "float32")
        weights = {dtype: self.counts.total * self.stored_float_bytes}
        plain = {k: v for k, v in self.config.items() if k != "quantization"}
        variant = self.variant.model_copy(update={"quantize": None, "fine_tune_type": "base"})
        counts = self.counts.model_copy(update={"trainable": 0})
        return Subject(variant, plain, counts, weights)


def training_bytes(subject: Subject, computer: Computer, batch: int, length: int) -> int:
    """MLX's peak while training on ``batch`` rows of ``length`` tokens."""
    variant, model, number = subject.variant, subject.model, subject.float_bytes(computer.backend)
    tokens, adapted, on_cpu = batch * length, subject.adapted, computer.backend == "cpu"
    block = _block_numbers(model, length)
    kept = (_CPU_KEEPS * adapted if on_cpu else adapted + 1) * block
    if variant.grad_checkpoint:
        kept = adapted * (model.hidden or 1) + 2 * block
    # Gradient and Adam's two moments, and of an adapter its values.
    parts = 3 if variant.fine_tune_type == "full" else 4
    logits = tokens * (model.vocabulary or 1) * number * _LOGITS
    # Ahead of a GPU MLX begins several chunks: counted as if all were there, as `plan` does.
    if computer.chunked_loss and on_cpu:
        logits = min(logits, _CHUNKED_BYTES)
    found = subject.loaded_bytes(computer.backend) + tokens * kept * number + logits
    found += parts * subject.trainable_bytes(computer.backend)
    if subject.dequantizes(on_cpu):
        # The gradient of a dequantized product: its sum so far, and what the next block adds.
        found += 2 * tokens * (model.hidden or 1) * number
    return round(found)


def answering_bytes(subject: Subject, computer: Computer, length: int, new_tokens: int) -> int:
    """MLX's peak while answering the protocol's batch of prompts of ``length`` tokens; on a CPU
    several batches are decoded as one, and copies may be made for speed."""
    loaded = subject.loaded_bytes(computer.backend)
    if computer.backend != "cpu":
        return loaded + decoding_bytes(subject, computer.backend, BATCH_ROWS, length, new_tokens)
    copies = 4 * subject.counts.total
    if copies <= COPIES_SHARE * computer.memory_bytes:
        # Of packed weights float32 copies, and copies with the adapters merged into them.
        loaded += copies * (subject.quantized + (subject.counts.trainable > 0))
    rows = BATCH_ROWS * _CPU_BATCHES
    return loaded + decoding_bytes(subject, "cpu", BATCH_ROWS, length, new_tokens, rows)


def decoding_bytes(
    subject: Subject, backend: str, rows: int, length: int, new_tokens: int, cached: int = 0
) -> int:
    """What decoding takes beside the weights: ``rows`` prompts read at once, ``cached`` in all."""
    model, number = subject.model, subject.float_bytes(backend)
    width = 2 * _heads(model)[1] * (model.layers or 1)
    kept = max(cached, rows) * -(-(length + new_tokens) // _CACHE_STEP) * _CACHE_STEP * width
    # A GPU's kernel never has whole attention scores; its caches are copied as they grow.
    on_cpu = backend == "cpu"
    block = 1.5 * _block_numbers(model, length) if on_cpu else _block_numbers(model, 0)
    read = rows * min(length, _READ_AT_ONCE) * block
    numbers = kept * (1.0 if on_cpu else 1.5) + read + max(cached, rows) * (model.vocabulary or 1)
    return round(numbers * number)


def estimate(
    subject: Subject, computer: Computer, lengths: Sequence[int], valid_rows: int = 0
) -> Estimate:
    """Time and memory of fine-tuning; a ``base`` variant is only validated.

    Args:
        subject: what to train.
        computer: what computes; its speed must be known.
        lengths: tokens of each training row.
        valid_rows: rows of the validation split; counts where ``val_batches`` is -1.
    """
    variant = subject.variant
    forward_s, backward_s = _step_s(subject, computer, fmean(lengths) * variant.batch_size)
    return Estimate(
        train_s=variant.iters * (forward_s + backward_s) if variant.trains else 0.0,
        validate_s=_validated(variant, valid_rows) * forward_s,
        peak_bytes=training_bytes(subject, computer, variant.batch_size, max(lengths)),
        weights_bytes=subject.loaded_bytes(computer.backend),
    )


def training_rows(variant: Variant, valid_rows: int) -> int:
    """Rows that a fine-tuning passes forward; backward a row counts as two (Kaplan et al. 2020)."""
    trained = 3 * variant.iters if variant.trains else 0
    return variant.batch_size * (trained + _validated(variant, valid_rows))


def _validated(variant: Variant, valid_rows: int) -> int:
    """Batches that are validated in all; a ``base`` variant is validated once."""
    validations = sum(validates_at(variant, at) for at in range(variant.iters + 1))
    every = -(-valid_rows // variant.batch_size)
    batches = every if variant.val_batches == -1 else variant.val_batches
    return (validations if variant.trains else 1) * batches


def _step_s(subject: Subject, computer: Computer, tokens: float) -> tuple[float, float]:
    """Seconds of the forward and of the backward pass over ``tokens``."""
    model, counts = subject.model, subject.counts
    head = (model.hidden or 1) * (model.vocabulary or 1)
    multiplied = counts.total - (head if model.raw.get("tie_word_embeddings") is False else 0)
    idle = (model.experts - model.experts_per_token) * model.expert_width if model.experts else 0
    multiplied = max(head, multiplied - 3 * idle * (model.hidden or 1) * (model.layers or 1))
    blocks = max(0, multiplied - head)
    backward = blocks * subject.adapted // max(1, model.layers or 1) + head
    unpacked = subject.dequantizes(computer.backend == "cpu")
    dequantizing_s = counts.total / DEQUANTIZED_PER_S if unpacked else 0.0
    rate = (computer.gflops or 1.0) * 1e9 * EFFICIENCY
    recomputed = 2 * blocks * subject.adapted // max(1, model.layers or 1)
    operations = 2 * (backward + counts.trainable)
    operations += recomputed if subject.variant.grad_checkpoint else 0
    forward_s = tokens * 2 * multiplied / rate + dequantizing_s
    return forward_s, tokens * operations / rate + dequantizing_s * backward / max(1, multiplied)


def _heads(model: ModelConfig) -> tuple[int, int]:
    """Width of all queries, and of all keys."""
    heads = model.heads or 1
    size = model.head_size or (model.hidden or 1) // heads
    return heads * size, (model.key_heads or heads) * size


def _block_numbers(model: ModelConfig, length: int) -> int:
    """Numbers that one block keeps of a token until the backward pass, in a row of ``length``."""
    hidden = model.hidden or 1
    queries, keys = _heads(model)
    inner = model.intermediate or 4 * hidden
    fed = 4 * inner
    if model.experts_per_token:
        # Each chosen expert has the token's state on its own, in and out, and weighted.
        fed = 4 * (model.shared_width + model.experts_per_token * (model.expert_width + hidden))
    return 4 * hidden + 2 * queries + 2 * keys + fed + (model.heads or 1) * length
