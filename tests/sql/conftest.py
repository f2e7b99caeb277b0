"""What the tests of the sql stage share: a small table and a way to grade texts on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from harness.data.records import Condition, Example, LogicalForm, Table
from harness.sql.grade.predictions import Prediction
from harness.sql.grade.score import Score, score

SQUAD = Table(
    "1-1",
    ("Player", "No.", "Team", "Points"),
    ("text", "text", "text", "real"),
    (
        ("Ann", "3", "Red", 1),
        ("Bob", "7", "Red", 4),
        ("Cy", "8", "Blue", 9),
        ("Dee", None, "Blue", 9),
    ),
)
OVER_3 = LogicalForm(0, 0, (Condition(3, 1, 3),))
"""Players with more than 3 points: Bob, Cy, Dee."""

Grade = Callable[..., list[Score]]


@pytest.fixture
def squad() -> Table:
    return SQUAD


@pytest.fixture
def grade() -> Grade:
    """Grade texts (or structured queries) on one gold query."""

    def run(
        answers: Sequence[object],
        gold: LogicalForm = OVER_3,
        hardened: int = 0,
        table: Table = SQUAD,
    ) -> list[Score]:
        examples = [Example(i, table.id, "q", gold) for i in range(len(answers))]
        predictions = [
            Prediction(i, text=answer)
            if isinstance(answer, str)
            else Prediction(i, query=answer, structured=True)
            for i, answer in enumerate(answers)
        ]
        return score({table.id: table}, examples, predictions, hardened)

    return run
