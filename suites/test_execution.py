"""Do the generated queries return the right rows?"""

from __future__ import annotations

from collections.abc import Callable

from harness.schema.rows import PredictionRow
from harness.schema.stage_results import Answer
from harness.schema.variant_result import Execution


def test_every_question_is_answered(
    generations: list[Answer], predictions: list[PredictionRow]
) -> None:
    """No question is left out of the denominator."""
    assert [answer.id for answer in generations] == [row.id for row in predictions]


def test_execution_accuracy(
    execution: Execution,
    predictions: list[PredictionRow],
    record_property: Callable[[str, object], None],
) -> None:
    """Every metric is a rate over the questions asked."""
    for name in ("ex", "ex_hardened", "ex_strict", "ex_official", "lf", "valid"):
        record_property(name, getattr(execution, name))
    assert execution.n == len(predictions)
    for rate in (execution.ex, execution.ex_official, execution.ex_strict, execution.lf):
        assert rate is None or 0.0 <= rate <= 1.0
    if execution.ex is not None and execution.ex_strict is not None:
        assert execution.ex_strict <= execution.ex


def test_every_failure_has_a_kind(execution: Execution, predictions: list[PredictionRow]) -> None:
    """Failures by kind add up to the answers that failed."""
    assert sum(execution.failures.values()) == sum(row.failure is not None for row in predictions)
