"""What the model process sends back, one record a stage: JSON <-> pydantic.

These are the cached results of stages; `pipeline/variant_run.py` makes `results.json` of them.
They reuse the stored records where those are the same thing. Times are seconds, sizes bytes.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from harness.schema.results import Device
from harness.schema.rows import LossRow, Rates
from harness.schema.variant_result import (
    CurvePoint,
    LossValue,
    Parameters,
    PhaseMemory,
    Record,
)


class Description(Record):
    """The base as a variant uses it, before any adapter."""

    device: Device = Field(description="The machine that loaded it.")
    base_bytes: int = Field(description="Weights on disk, quantized as the variant asks.")
    parameters: Parameters = Field(description="Counts with the variant's adapter.")
    acceleration: dict[str, Any] = Field(description="Kernels chosen by measuring.")
    load: PhaseMemory = Field(description="Memory of loading, weights evaluated.")


class Training(Record):
    """What a training measured of itself, over all the processes that took part in turn."""

    curve: list[CurvePoint] = Field(description="Rows in order of iteration.")
    wall_s: float = Field(description="Wall time, validation included.")
    resumed_from: int | None = Field(description="Iteration it was resumed from.")
    checkpoints: list[int] = Field(description="Iterations with a saved checkpoint.")
    train: PhaseMemory | None = Field(description="Memory of training; null if nothing trained.")
    validation: PhaseMemory | None = Field(description="Memory of validation.")
    notes: list[str] = Field(description="What a user should know, e.g. a damaged state.")


class Finetuned(Training):
    """A finished fine-tuning."""

    iterations: int = Field(description="Completed micro-batches.")
    truncated: int = Field(description="Training rows cut at max_seq_length.")
    contended: bool = Field(description="Whether others kept the machine busy.")
    measured_at: str = Field(description="When (UTC) it ended and on which machine.")
    ranks: int = Field(default=1, description="Processes that shared the training.")


class Losses(Record):
    """Loss of a split or of a part of it."""

    rows: list[LossRow] = Field(description="One an example, in the order asked.")
    truncated: int = Field(default=0, description="Rows cut at the maximum length.")
    mlx_lm_compat: LossValue | None = Field(description="Null where mlx-lm refuses the file.")
    memory: PhaseMemory = Field(description="Memory of the pass.")


class Answer(Record):
    """A generated answer, without its stop token."""

    id: int = Field(description="0-based line of the split.")
    text: str = Field(description="What the model wrote.")
    tokens: int = Field(description="Tokens generated, the stop included.")


class Answers(Record):
    """Answers to a split or to a part of it."""

    rows: list[Answer] = Field(description="In the order asked.")
    memory: PhaseMemory = Field(description="Memory of generating.")


class FusedForm(Record):
    """One form of the tuned model on the parity subset."""

    ppl: float = Field(description="full_text perplexity.")
    texts: list[str] = Field(description="Answers in the subset's order.")


class Fused(Record):
    """The tuned model in three forms."""

    adapter: FusedForm = Field(description="Base with the adapter beside it.")
    fused: FusedForm = Field(description="Fused, quantized as the base is.")
    dequantized: FusedForm | None = Field(description="Fused and dequantized; null if skipped.")
    skipped: str | None = Field(description="Why the dequantized form was skipped.")
    fused_bytes: int = Field(description="Weights of the fused model on disk.")
    fused_by_dtype: dict[str, int] = Field(description="The same by dtype.")


class Trial(Rates):
    """One timed single-stream generation."""

    inter_token_s: list[float] = Field(description="Gaps between tokens.")
    wall_s: float = Field(description="The whole trial.")


class Speeds(Record):
    """Every timing of one variant, taken in interleaved rounds."""

    trials: list[Trial] = Field(description="Single-stream trials, warm-up excluded.")
    batched_tokens_per_s: list[float] = Field(description="One a round.")
    questions: list[Trial] = Field(description="One a students question.")
    interleaving: str = Field(description="How the variants took turns.")
    measured_at: str = Field(description="When (UTC) and on which machine.")
    contended: bool = Field(description="Whether others kept the machine busy.")
