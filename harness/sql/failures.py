"""Why a prediction was not graded, as a value that stands in place of a query or of rows.

The published kinds are :data:`harness.schema.execution.FailureKind`; docs/protocols.md explains
each with an example, and a test keeps the two equal. A prediction that ran and gave another result
than gold has no failure.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.schema.execution import FailureKind


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of one prediction; ``detail`` is written for people; of an unknown name
    it is stored."""

    kind: FailureKind
    detail: str = ""
