"""Does fusing keep what was learned? One form of a tuned model -> its perplexity and answers.

Rounding a fused adapter back into 4 bits can erase it (mlx-lm issue 1172), so the adapter beside
its base, the fused model and the fused model without quantization are scored on the same seeded
subset. Whether an answer is right is `sql`'s business; fusing itself is ``train/fuse.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.measure.generate import Generation, GenerationProtocol, generate
from harness.measure.loss import evaluate, full_text
from harness.progress import ProgressCallback, silent
from harness.protocols import BATCH_ROWS

if TYPE_CHECKING:
    from harness.data.tokens import TokenizedExample
    from harness.models.load import LoadedModel


@dataclass(frozen=True, slots=True)
class FormResult:
    """One form on the subset: ``full_text`` loss and perplexity, and its answers in order."""

    loss: float
    ppl: float
    tokens: int
    answers: tuple[Generation, ...]


def measure_form(
    loaded: LoadedModel,
    examples: Sequence[TokenizedExample],
    protocol: GenerationProtocol | None = None,
    batch_size: int = BATCH_ROWS,
    progress: ProgressCallback = silent,
) -> FormResult:
    """Perplexity and answers of one model on the subset; prompts are the examples' own.

    Raises:
        UserError: the subset is empty, or a prompt does not fit the context.
    """
    value = full_text(evaluate(loaded.model, examples, batch_size, progress))
    prompts = [example.tokens[: example.prompt_length] for example in examples]
    answers = generate(loaded, prompts, protocol, progress)
    return FormResult(value.loss, value.ppl, value.tokens, tuple(answers))
