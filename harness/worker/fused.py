"""The forms of a tuned model on the parity subset; what this process has computed is not again.

Losses and answers of the same rows by the same adapter -> the adapter's form without a second pass;
a dequantized model whose weights are the fused one's, byte for byte (the base is not quantized)
-> the fused form. What a form is: ``measure/parity.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.data.records import Example
from harness.disk.files import sha256_file
from harness.measure.generate import Generation
from harness.measure.loss import ExampleLoss, evaluate, full_text
from harness.models.load import LoadedModel
from harness.progress import ProgressCallback
from harness.worker.parity import measure_form
from harness.worker.state import Holdings

_Asked = tuple[str | None, tuple[int, ...]]
"""An adapter and the rows it was measured on."""


class Forms:
    """Measures forms, and remembers what other stages measured."""

    def __init__(self, holdings: Holdings, batch_size: int, progress: ProgressCallback) -> None:
        self._holdings = holdings
        self._batch_size = batch_size
        self._progress = progress
        self._losses: dict[_Asked, Sequence[ExampleLoss]] = {}
        self._answers: dict[_Asked, tuple[list[list[int]], Sequence[Generation]]] = {}

    def saw_losses(
        self, adapter: str | None, ids: Sequence[int], found: Sequence[ExampleLoss]
    ) -> None:
        """The losses of test rows ``ids``, in their order."""
        self._losses[adapter, tuple(ids)] = found

    def saw_answers(
        self,
        adapter: str | None,
        ids: Sequence[int],
        prompts: list[list[int]],
        found: Sequence[Generation],
    ) -> None:
        """The answers to test questions ``ids``, asked as ``prompts``."""
        self._answers[adapter, tuple(ids)] = (prompts, found)

    def adapter(self, adapter: str, examples: Sequence[Example]) -> dict[str, Any]:
        """The base with the adapter beside it."""
        asked = (adapter, tuple(example.id for example in examples))
        loaded = self._holdings.model(adapter)
        rows = self._holdings.rows(examples, loaded)
        prompts, answers = self._answers.get(asked, (None, ()))
        # A row cut at the maximum length has another prompt than the question asked whole.
        if prompts != [list(row.tokens[: row.prompt_length]) for row in rows]:
            return self.of(loaded, examples)
        losses = self._losses.get(asked)
        if losses is None:
            losses = evaluate(loaded.model, rows, self._batch_size, self._progress)
        return _form(full_text(losses).ppl, answers)

    def of(self, loaded: LoadedModel, examples: Sequence[Example]) -> dict[str, Any]:
        """A model's form: its perplexity and its answers."""
        rows = self._holdings.rows(examples, loaded)
        found = measure_form(loaded, rows, None, self._batch_size, self._progress)
        return _form(found.ppl, found.answers)


def _form(ppl: float, answers: Sequence[Generation]) -> dict[str, Any]:
    return {"ppl": ppl, "texts": [answer.text for answer in answers]}


def same_weights(one: Path, other: Path) -> bool:
    """Whether two model folders hold the same weights, byte for byte."""
    digests = [
        {file.name: sha256_file(file) for file in folder.glob("*.safetensors")}
        for folder in (one, other)
    ]
    return bool(digests[0]) and digests[0] == digests[1]
