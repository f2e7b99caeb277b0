"""Rows of the files beside `results.json`: each line is one example or one speed trial.

Input and output: pydantic models <-> JSONL. `losses.<variant>.jsonl` and
`predictions.<variant>.jsonl` are what stored runs are compared on, example by example;
`answers.<variant>.jsonl` takes the place of the latter for data without tables,
`trials.<variant>.jsonl` is what speeds are compared on, `checkpoints.<variant>.jsonl` what saved
checkpoints are (--checkpoints).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.schema.execution import Counterexample, FailureKind
from harness.schema.record import Record

Finish = Literal["stop", "newline", "fence", "length"]
"""What ended an answer: a stop token, the first newline, the fence that closes a fenced query, or
the limit on new tokens."""


class LossRow(Record):
    """Summed negative log-likelihood of one test example."""

    id: int = Field(ge=0, description="0-based line of the split.")
    table_id: str = Field(description="The example's table: the cluster.")
    full_nll: float = Field(description="Summed over prompt, SQL and stop token.")
    full_tokens: int = Field(ge=0, description="Targets in full_nll.")
    completion_nll: float = Field(description="Summed over SQL and stop token.")
    completion_tokens: int = Field(ge=0, description="Targets in completion_nll.")


class PredictionRow(Record):
    """One graded answer: a row of `score --out` plus the text and the table."""

    id: int = Field(ge=0, description="0-based line of the split.")
    table_id: str = Field(description="The example's table: the cluster.")
    text: str | None = Field(description="What the model wrote.")
    finish: Finish | None = Field(
        default=None, description="What ended it; null in runs of generation@1."
    )
    ex_official: bool | None = Field(
        description="Official evaluator's decision; null if gold has no form."
    )
    lf: bool | None = Field(description="Logical-form match; null likewise.")
    ex: bool | None = Field(description="Result match; null on a degenerate gold.")
    ex_strict: bool | None = Field(description="ex without repair; null on a degenerate gold.")
    ex_hardened: bool | None = Field(description="ex on perturbed tables; null if not asked.")
    valid: bool = Field(description="Whether the text was read and ran.")
    failure: FailureKind | None = Field(description="Kind of failure.")
    query: dict[str, Any] | None = Field(description="The logical form that was read.")
    sql: str | None = Field(description="The single-query rendering for DuckDB.")
    read_as: str | None = Field(
        default=None, description="How the text was read, and out of what; null for a failure."
    )
    detail: str | None = Field(
        default=None,
        description="Which table or column is unknown; null in runs that did not keep it.",
    )
    counterexample: Counterexample | None = Field(
        default=None, description="Where an answer that passes ex by luck parts from gold."
    )


class AnswerRow(Record):
    """One answer to a prompt of data without tables, beside what the data answers."""

    id: int = Field(ge=0, description="0-based line of the split.")
    table_id: str = Field(description="The row's own name: each row stands for itself.")
    prompt: str = Field(description="What was asked, before the chat template.")
    reference: str | None = Field(description="The data's answer; null in whole texts.")
    text: str = Field(description="What the model wrote.")
    finish: Finish | None = Field(description="What ended it.")
    exact: bool | None = Field(description="Equal after stripping; null without a reference.")


class _OfCheckpoint(Record):
    """The first key of a row about a checkpoint (the last base class comes first in a file)."""

    iteration: int = Field(ge=0, description="Completed iterations of the checkpoint.")


class CheckpointRow(LossRow, _OfCheckpoint):
    """One test example under one saved checkpoint: its losses and its graded answer."""

    text: str | None = Field(description="What the model wrote; null where nothing was asked.")
    ex: bool | None = Field(description="Result match; null on a degenerate gold.")
    ex_hardened: bool | None = Field(description="ex on perturbed tables; null if not asked.")
    failure: FailureKind | None = Field(description="Kind of failure.")


class Rates(Record):
    """The speeds of one answer that was generated a token at a time."""

    prompt_tokens: int = Field(ge=0, description="Tokens of the prompt.")
    prompt_tokens_per_s: float = Field(ge=0, description="Prompt tokens / time to first token.")
    ttft_s: float = Field(ge=0, description="Time to first token.")
    generation_tokens_per_s: float = Field(ge=0, description="Rate after the first token.")


class _OfBlock(Record):
    """The first key of a row about a speed trial."""

    block: int = Field(ge=0, description="Round of the interleaved trials, shared by variants.")


class TrialRow(Rates, _OfBlock):
    """One timed round: a single stream, and a batch."""

    inter_token_s: list[float] | None = Field(
        default=None, description="Gaps between tokens; null in runs that did not record them."
    )
    batched_tokens_per_s: float | None = Field(
        default=None,
        description="Rate of the round's batch; null in runs that did not record it.",
    )
