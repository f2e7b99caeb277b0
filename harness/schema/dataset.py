"""The `dataset` section of results.json: what the data is, and what in it is shared or repeated.

Input and output: pydantic models <-> JSON. `harness.data` counts these records; they have a file of
their own so that `score`, which needs nothing else of the schema, starts faster.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.schema.record import Record

DatasetFormat = Literal["tables", "text", "completions", "chat"]
"""WikiSQL's questions on tables, or one of mlx-lm's own formats: whole texts, prompts with their
completions, conversations."""


class SplitCounts(Record):
    """Examples in each split."""

    train: int = Field(ge=0, description="Training examples.")
    valid: int = Field(ge=0, description="Validation examples.")
    test: int = Field(ge=0, description="Test examples.")


class Leakage(Record):
    """What any two splits have in common."""

    shared_tables: int = Field(ge=0, description="Tables that stand in more than one split.")
    shared_questions: int = Field(ge=0, description="Questions that stand in more than one split.")


class Repeats(Record):
    """Questions asked more than once on one table of the same split."""

    equal: int = Field(ge=0, description="Asked before with the same gold query.")
    conflicting: int = Field(ge=0, description="Asked before with another gold query.")


class DatasetInfo(Record):
    """The data."""

    name: str = Field(description="`mini`, `wikisql`, the directory's name or the id.")
    sha256: str = Field(description="Digest over every file read.")
    revision: str | None = Field(
        default=None,
        description="Of data by a Hugging Face id: the commit there, or the fingerprint.",
    )
    splits: SplitCounts = Field(description="Counts by split.")
    tables: int = Field(ge=0, description="Tables over all splits.")
    leakage: Leakage = Field(description="Overlap of the splits.")
    form: DatasetFormat = Field(
        default="tables", description="WikiSQL's tables, or a format of mlx-lm's without tables."
    )
    repeats: Repeats | None = Field(
        default=None, description="Repeated questions; null in runs that did not count them."
    )
