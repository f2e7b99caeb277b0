"""Why a prediction was not graded: the published list of failure kinds, explained.

The list itself is :data:`harness.schema.execution.FailureKind`. Every kind has a sentence and an
example here; docs/protocols.md prints the same table, and a test keeps the three equal. A
prediction that ran and gave another result than gold has no failure.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.schema.execution import FailureKind


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of one prediction; ``detail`` is written for people and is not stored."""

    kind: FailureKind
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a failure kind means, and a text that has it (for table ``1-1`` of Player, No.)."""

    meaning: str
    example: str


KINDS: dict[FailureKind, Explanation] = {
    "prediction_error": Explanation(
        "the predictions file holds an error in place of an answer", '{"id": 0, "error": "timeout"}'
    ),
    "malformed_query": Explanation(
        "a structured query that is no WikiSQL query of this table",
        '{"sel": 9, "agg": 0, "conds": []}',
    ),
    "no_query": Explanation("the text contains no SELECT statement", "The answer is 42."),
    "too_long": Explanation(
        "the statement is over the size limits of the reader", "SELECT ((((((((( …"
    ),
    "not_select": Explanation("the text is another statement than SELECT", "DROP TABLE 1-1"),
    "syntax": Explanation(
        "a SELECT that no reader can parse", "SELECT Player FROM 1-1 WHERE No. 3 ="
    ),
    "unknown_table": Explanation("the FROM names another table", "SELECT Player FROM 1-2"),
    "unknown_column": Explanation(
        "a name that is no column of the table", "SELECT Height FROM 1-1"
    ),
    "ambiguous_column": Explanation(
        "a name that could mean more than one column",
        "SELECT Score FROM 1-1 (two columns are called Score)",
    ),
    "ambiguous": Explanation(
        "two different readings of the text fit the schema",
        "SELECT max score FROM 1-1 (columns: Max score, Score)",
    ),
    "unsupported": Explanation(
        "valid SQL that the typed query does not express: joins, sub-queries, expressions, …",
        "SELECT Player FROM 1-1 UNION SELECT Player FROM 1-1",
    ),
    "type_mismatch": Explanation(
        "an operation that the column's type does not have",
        "SELECT Player FROM 1-1 WHERE No. LIKE '2%'",
    ),
    "execution_error": Explanation(
        "DuckDB refused the rendered query", "SELECT Player, COUNT(*) FROM 1-1"
    ),
    "timeout": Explanation("the rendered query ran over its time limit", "a limit of 2 s a query"),
    "memory": Explanation(
        "the rendered query ran over its memory or row limit", "a limit of 256 MB"
    ),
    "crash": Explanation("the worker died while running the rendered query", "a fault in DuckDB"),
}
