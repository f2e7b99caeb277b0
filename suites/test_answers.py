"""What is written where the data has no tables to run queries on?"""

from __future__ import annotations

from collections.abc import Callable

from harness.schema.rows import AnswerRow
from harness.schema.variant_result import ExactMatch


def test_every_prompt_is_answered(answers: list[AnswerRow], exact_match: ExactMatch) -> None:
    """No prompt is left out of the denominator."""
    assert len(answers) == exact_match.n <= exact_match.of


def test_exact_match(
    exact_match: ExactMatch, record_property: Callable[[str, object], None]
) -> None:
    """A rate over the prompts; whole texts have no answer of their own to equal."""
    record_property("exact_match", exact_match.rate)
    assert exact_match.rate is None or 0.0 <= exact_match.rate <= 1.0
