"""The `execution` section of a variant, and the list of reasons for which an answer is not graded.

Input and output: pydantic models <-> JSON. Rates are 0..1. This file stands apart from
`variant_result.py` because `score`, which needs nothing else of the schema, starts faster so.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.schema.record import Record

FailureKind = Literal[
    "prediction_error",
    "malformed_query",
    "no_query",
    "too_long",
    "not_select",
    "syntax",
    "unknown_table",
    "unknown_column",
    "ambiguous_column",
    "ambiguous",
    "unsupported",
    "type_mismatch",
    "execution_error",
    "timeout",
    "memory",
    "crash",
]
"""Why an answer was not graded; `docs/protocols.md` explains each kind."""


class Counterexample(Record):
    """The smallest perturbed table on which an answer that is right by luck parts from gold.

    No row of it can be left out. Columns that neither query reads are.
    """

    columns: list[str] = Field(description="Headers of the columns.")
    rows: list[list[Any]] = Field(description="Cells by row.")
    gold: list[list[Any]] = Field(description="Gold's result on it.")
    answer: list[list[Any]] | None = Field(description="The answer's; null where it did not run.")


class GroupRate(Record):
    """Execution accuracy of a subgroup."""

    n: int = Field(ge=0, description="Graded examples (degenerate gold left out).")
    ex: float | None = Field(ge=0, le=1, description="Execution accuracy, 0..1; null when n is 0.")
    ci95: tuple[float, float] | None = Field(
        default=None, description="As that of the whole; null in runs that did not record it."
    )


class Execution(Record):
    """Execution accuracy on the test split."""

    n: int = Field(ge=0, description="Examples that were asked.")
    of: int = Field(ge=0, description="Examples in the split; n < of under --limit.")
    ex: float | None = Field(description="Share whose result multiset equals the gold's.")
    ex_official: float | None = Field(description="WikiSQL's official evaluator.")
    ex_strict: float | None = Field(description="As ex, the text needing no repair.")
    ex_hardened: float | None = Field(description="As ex, on perturbed tables too; null if K=0.")
    lf: float | None = Field(description="Official logical-form match.")
    valid: float | None = Field(description="Share that is read and runs.")
    ci95: tuple[float, float] | None = Field(
        description="As clustered_ci95 (Wilson's, examples taken as independent, in runs whose "
        "groups have no interval)."
    )
    clustered_ci95: tuple[float, float] | None = Field(
        description="95% interval of ex over tables, over questions where tables are fewer than "
        "six: Clopper-Pearson with n/deff (cluster bootstrap in runs of comparison@1)."
    )
    degenerate_gold: int = Field(ge=0, description="Examples left out of ex.")
    failures: dict[str, int] = Field(description="Failed answers by kind.")
    by_agg: dict[str, GroupRate] = Field(description="By gold aggregate ('' is none).")
    by_conditions: dict[str, GroupRate] = Field(description="By number of gold conditions.")
