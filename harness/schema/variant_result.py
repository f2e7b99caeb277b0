"""What `results.json` holds for one variant (DESIGN §4, `variants.<name>`).

Input and output: pydantic models <-> JSON. A section is null when its suite was not selected or
when it cannot exist (a `base` variant has no adapter and no fine-tuning curve). Units are in the
names; rates are 0..1.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import ConfigDict, Field

from harness.schema.execution import Execution as Execution
from harness.schema.execution import FailureKind
from harness.schema.execution import GroupRate as GroupRate
from harness.schema.power import Power
from harness.schema.record import Record as Record

Cell = str | float | int | bool | None
"""A value in a result row."""


class Adapter(Record):
    """The adapter that was measured."""

    path: str = Field(description="Where it lies; for information, may be gone.")
    sha256: str = Field(description="Digest of its weights.")
    iterations: int | None = Field(description="Completed iterations; null when not known.")
    source: Literal["trained", "cached", "given"] = Field(
        description="Trained by this run, taken from the cache, or given by --adapter-path."
    )


class Parameters(Record):
    """Parameter counts; the adapter is included in both totals."""

    trainable: int = Field(ge=0, description="Weights that fine-tuning changes.")
    total: int = Field(ge=0, description="Logical weights.")
    per_ten_thousand: float = Field(ge=0, description="trainable / total * 10000.")
    packed_total: int = Field(ge=0, description="Stored elements, quantized ones packed.")
    packed_per_ten_thousand: float = Field(ge=0, description="trainable / packed_total * 10000.")


class CurvePoint(Record):
    """One row of the fine-tuning curve."""

    iteration: int = Field(ge=0, description="Micro-batches done; 0 is before training.")
    updates: int = Field(ge=0, description="Optimizer updates done.")
    train_loss: float | None = Field(description="Token-weighted mean since the previous row.")
    val_loss: float | None = Field(description="full_text loss of the weights at this point.")
    tokens_per_s: float | None = Field(description="Real tokens trained on per second.")
    supervised_tokens_per_s: float | None = Field(description="Scored targets per second.")


class Finetune(Record):
    """Fine-tuning."""

    curve: list[CurvePoint] = Field(description="Rows in order of iteration.")
    wall_s: float = Field(ge=0, description="Wall time of training, validation included.")
    resumed_from: int | None = Field(description="Iteration resumed from; null from scratch.")
    contended: bool = Field(description="Whether others kept the machine busy while training.")
    measured_at: str = Field(description="When (UTC, ISO 8601) and on which chip.")
    cached: bool = Field(description="Whether the timing comes from an earlier run's cache.")
    ranks: int = Field(default=1, ge=1, description="Processes that shared the training.")
    truncated: int | None = Field(
        default=None, ge=0, description="Training rows cut at the maximum length."
    )


class CheckpointResult(Record):
    """A saved checkpoint's quality."""

    iteration: int = Field(ge=0, description="Completed iterations.")
    loss: float | None = Field(description="full_text test loss.")
    ex: float | None = Field(description="Execution accuracy, 0..1.")


class LossValue(Record):
    """A mean negative log-likelihood in nats a token."""

    loss: float = Field(ge=0, description="Token-weighted mean negative log-likelihood.")
    ppl: float | None = Field(
        ge=0, description="exp(loss); null where that leaves the range of a float (709 nats)."
    )
    tokens: int = Field(ge=0, description="Scored targets.")
    ci95: tuple[float, float] | None = Field(description="Bootstrap over tables, of the loss.")

    @classmethod
    def of_sum(cls, nll: float, tokens: int, ci95: tuple[float, float] | None = None) -> LossValue:
        """The mean of ``nll``, summed in nats over ``tokens`` targets, with its perplexity."""
        loss = nll / tokens
        return cls(loss=loss, ppl=perplexity(loss), tokens=tokens, ci95=ci95)


def perplexity(loss: float) -> float | None:
    """``exp(loss)``; None where that leaves the range of a float."""
    return math.exp(loss) if loss < 709.0 else None


class Loss(Record):
    """Test loss by three definitions, from one forward pass."""

    n: int = Field(ge=0, description="Examples that were scored.")
    of: int = Field(ge=0, description="Examples in the split; n < of under --limit.")
    full_text: LossValue = Field(description="Prompt, SQL and stop token.")
    completion: LossValue | None = Field(
        description="SQL and stop token only; null where texts do not mark the answer."
    )
    mlx_lm_compat: LossValue | None = Field(description="What `mlx_lm.lora --test` reports.")
    truncated: int | None = Field(
        default=None, ge=0, description="Test rows cut at the maximum length."
    )


class PhaseMemory(Record):
    """Memory of one phase."""

    mlx_peak_bytes: int = Field(ge=0, description="MLX's peak since the phase began.")
    rss_start_bytes: int = Field(ge=0, description="Process RSS when the phase began.")
    rss_peak_bytes: int = Field(ge=0, description="Largest sampled RSS.")
    shared_process: bool = Field(description="Whether another variant ran in the same process.")


class Memory(Record):
    """Memory by phase; null for a phase that did not run."""

    load: PhaseMemory | None = Field(description="Loading the base, weights evaluated.")
    train: PhaseMemory | None = Field(description="Fine-tuning.")
    validate_: PhaseMemory | None = Field(
        alias="validate", description="Validation during fine-tuning."
    )
    test: PhaseMemory | None = Field(description="Test loss.")
    generate: PhaseMemory | None = Field(description="Generating the answers.")
    fuse: PhaseMemory | None = Field(
        default=None,
        description="Writing and measuring the fused forms; null in runs that did not record it.",
    )

    # `validate` itself is taken by pydantic's deprecated classmethod; the file keeps the name.
    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    def phase(self, name: str) -> PhaseMemory | None:
        """The phase called ``name`` in the file; None when it did not run."""
        value: PhaseMemory | None = getattr(self, "validate_" if name == "validate" else name)
        return value


_FLOAT_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def in_bfloat16(by_dtype: dict[str, int]) -> int:
    """Bytes of weights whose floats would be stored in bfloat16, as models usually are; packed
    ones as they are."""
    return sum(n * 2 // _FLOAT_BYTES.get(dtype, 2) for dtype, n in by_dtype.items())


class Size(Record):
    """Bytes on disk."""

    base_bytes: int = Field(ge=0, description="Weights of the base as this variant uses it.")
    base_by_dtype: dict[str, int] | None = Field(
        default=None,
        description="Its tensors' bytes by dtype; null in runs that did not record it.",
    )
    adapter_bytes: int = Field(ge=0, description="The adapter's weights; 0 without one.")
    fused_bytes: int | None = Field(description="The fused model's weights; null if not fused.")
    fused_by_dtype: dict[str, int] | None = Field(description="fused_bytes split by dtype.")


class ExactMatch(Record):
    """Answers to data without tables that equal the data's own, both ends stripped."""

    n: int = Field(ge=0, description="Prompts that were answered.")
    of: int = Field(ge=0, description="Examples of the whole split.")
    rate: float | None = Field(description="Share that is equal; null in whole texts.")
    ci95: tuple[float, float] | None = Field(description="Clopper-Pearson over rows.")


class Throughput(Record):
    """Speed of single-stream generation and of batches: medians over trials."""

    prompt_tokens_per_s: float | None = Field(description="Prompt tokens / time to first token.")
    generation_tokens_per_s: float | None = Field(description="(n-1)/(t_last - t_first).")
    ttft_s: float | None = Field(description="Time to first token.")
    inter_token_p50_s: float | None = Field(description="Median gap between tokens.")
    inter_token_p95_s: float | None = Field(description="95th percentile of that gap.")
    batched_tokens_per_s: float | None = Field(description="Generated tokens per second, batched.")
    trials: int = Field(ge=0, description="Timed trials, warm-up excluded.")
    measured_at: str = Field(description="When (UTC, ISO 8601) and on which chip.")
    cached: bool = Field(description="Whether the timing comes from an earlier run's cache.")
    interleaving: str | None = Field(
        default=None,
        description="How the variants' trials were interleaved: 'all loaded' at once, or "
        "'reloaded each round'; null in runs that did not record it.",
    )
    power: Power | None = Field(
        default=None,
        description="The machine's power state meanwhile; null in runs that did not record it.",
    )


class FuseForm(Record):
    """Quality of one form of the tuned model."""

    ppl: float | None = Field(description="full_text PPL on the parity subset; null as in `loss`.")
    ex: float | None = Field(description="Execution accuracy on the parity subset, 0..1.")


class Flips(Record):
    """Answers that fusing changed, against the unfused adapter."""

    fused: int | None = Field(description="Flipped answers of the fused model.")
    dequantized: int | None = Field(description="Flipped answers of the dequantized one.")
    of: int = Field(ge=0, description="Answers compared: size of the parity subset.")


class Fuse(Record):
    """Parity of the fused forms; null for a form that was skipped."""

    adapter: FuseForm | None = Field(description="Base with the adapter beside it.")
    fused: FuseForm | None = Field(description="Fused, quantized as the base is.")
    dequantized: FuseForm | None = Field(description="Fused into a dequantized base.")
    flips: Flips | None = Field(description="Changed answers.")
    skipped: str | None = Field(description="Why the dequantized form was skipped; null if not.")


class QuestionResult(Record):
    """A question on the students table."""

    question: str = Field(description="The question, with its hint if any.")
    prompt: str = Field(description="The prompt's text.")
    text: str = Field(description="What the model wrote.")
    sql: str | None = Field(description="The rendered query that ran; null if unreadable.")
    rows: list[list[Cell]] | None = Field(description="Rows it returned; null if none ran.")
    gold_sql: str = Field(description="The gold query.")
    gold_rows: list[list[Cell]] = Field(description="The gold's rows.")
    correct: bool = Field(description="Whether the rows agree.")
    failure: FailureKind | None = Field(description="Kind of failure; null when it ran.")
    prompt_tokens_per_s: float | None = Field(description="Prompt speed of this answer.")
    generation_tokens_per_s: float | None = Field(description="Generation speed of this answer.")


class VariantResult(Record):
    """Everything measured on one variant."""

    config: dict[str, Any] = Field(description="The effective variant file.")
    adapter: Adapter | None = Field(description="The adapter; null for the base.")
    parameters: Parameters | None = Field(description="Parameter counts.")
    finetune: Finetune | None = Field(description="Curve and wall time.")
    checkpoints: list[CheckpointResult] | None = Field(description="Saved checkpoints, graded.")
    loss: Loss | None = Field(description="Test loss and PPL.")
    memory: Memory | None = Field(description="Memory by phase.")
    size: Size | None = Field(description="Bytes on disk.")
    throughput: Throughput | None = Field(description="Speed.")
    execution: Execution | None = Field(description="Execution accuracy.")
    fuse: Fuse | None = Field(description="Fuse parity.")
    questions: list[QuestionResult] | None = Field(
        description="The students questions; null for data without tables."
    )
    exact_match: ExactMatch | None = Field(
        default=None, description="Answers beside the data's own; null for data with tables."
    )
    acceleration: dict[str, Any] | None = Field(
        default=None,
        description="What computed the model on a CPU, by rule; in older runs chosen by timing.",
    )
