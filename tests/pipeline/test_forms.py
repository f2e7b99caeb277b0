"""The adapter's form reuses what was answered; equal weights are one form."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.data.tokens import TokenizedExample
from harness.measure.generate import Generation
from harness.measure.loss import ExampleLoss
from harness.progress import silent
from harness.worker import fused
from harness.worker.fused import Forms, same_weights
from harness.worker.parity import FormResult

ROWS = (TokenizedExample(3, "t", (1, 2, 3, 4), 2), TokenizedExample(5, "t", (1, 5, 6), 2))
EXAMPLES: list[Any] = [SimpleNamespace(id=row.id) for row in ROWS]
PROMPTS = [[1, 2], [1, 5]]
ANSWERS = [Generation("a", 2, "stop"), Generation("b", 2, "stop")]
LOSSES = [
    ExampleLoss(
        id=row.id,
        table_id="t",
        full_nll=0.0,
        full_tokens=2,
        completion_nll=0.0,
        completion_tokens=1,
        mlx_lm_nll=0.0,
        after_end_nll=0.0,
    )
    for row in ROWS
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was computed: ``measured`` both, ``evaluated`` losses alone."""
    made: list[str] = []

    def measured(*_: Any) -> FormResult:
        made.append("measured")
        return FormResult(1.0, 2.0, 4, (Generation("new", 2, "stop"),) * 2)

    def evaluated(*_: Any) -> list[ExampleLoss]:
        made.append("evaluated")
        return LOSSES

    monkeypatch.setattr(fused, "measure_form", measured)
    monkeypatch.setattr(fused, "evaluate", evaluated)
    return made


@pytest.fixture
def seen() -> Forms:
    model = SimpleNamespace(model=None)
    holdings: Any = SimpleNamespace(model=lambda _: model, rows=lambda *_: ROWS)
    return Forms(holdings, 16, silent)


def test_answers_and_losses_of_the_same_rows_are_not_computed_again(
    calls: list[str], seen: Forms
) -> None:
    seen.saw_answers("adapter", [3, 5], PROMPTS, ANSWERS)
    assert seen.adapter("adapter", EXAMPLES) == {"ppl": 1.0, "texts": ["a", "b"]}
    assert calls == ["evaluated"]
    seen.saw_losses("adapter", [3, 5], LOSSES)
    assert seen.adapter("adapter", EXAMPLES) == {"ppl": 1.0, "texts": ["a", "b"]}
    assert calls == ["evaluated"]


@pytest.mark.parametrize(
    ("adapter", "ids", "prompts"),
    [
        ("other", [3, 5], PROMPTS),  # another adapter
        ("adapter", [3, 5, 7], PROMPTS),  # in other company: batches differ
        ("adapter", [3, 5], [[9, 1, 2], [1, 5]]),  # a row cut at the maximum length
    ],
)
def test_anything_else_is_measured(
    calls: list[str], seen: Forms, adapter: str, ids: list[int], prompts: list[list[int]]
) -> None:
    seen.saw_answers(adapter, ids, prompts, ANSWERS)
    assert seen.adapter("adapter", EXAMPLES)["texts"] == ["new", "new"]
    assert calls == ["measured"]


def test_equal_weights_are_told_by_their_bytes(tmp_path: Path) -> None:
    for name, text in (("one", "w"), ("two", "w"), ("three", "v")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(text)
    (tmp_path / "empty").mkdir()
    assert same_weights(tmp_path / "one", tmp_path / "two")
    assert not same_weights(tmp_path / "one", tmp_path / "three")
    assert not same_weights(tmp_path / "empty", tmp_path / "empty")
