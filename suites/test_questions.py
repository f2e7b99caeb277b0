"""The published comparison's questions about a `students` table."""

from __future__ import annotations

from harness.schema.variant_result import QuestionResult


def test_the_questions_are_asked(questions: list[QuestionResult]) -> None:
    """Eight prompts, each with a gold answer; right or wrong is a result, not a failure."""
    assert len(questions) == 8
    assert all(question.gold_rows for question in questions)
    assert all(not question.correct or question.rows is not None for question in questions)
