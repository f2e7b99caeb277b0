"""Does fusing keep what was learned? The same adapter in three forms -> perplexity and answers.

Rounding a fused adapter back into 4 bits can erase it (mlx-lm issue 1172), so the adapter beside
its base, the fused model and the fused model without quantization are scored on the same seeded
subset. Each form is loaded by a callable, measured and let go before the next, so that one is in
memory at a time. Whether an answer is right is `sql`'s business: it grades ``texts`` and hands
the verdicts to :func:`flips`. Fusing itself is ``train/fuse.py``.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.measure.generate import Generation, GenerationProtocol, generate
from harness.measure.loss import evaluate, full_text
from harness.models.backend import mx
from harness.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from harness.data.tokens import TokenizedExample
    from harness.models.load import LoadedModel

FORMS = ("adapter", "fused", "dequantized")
REFERENCE = "adapter"


@dataclass(frozen=True, slots=True)
class FormResult:
    """One form on the subset: ``full_text`` loss and perplexity, and its answers in order."""

    loss: float
    ppl: float
    tokens: int
    answers: tuple[Generation, ...]


@dataclass(frozen=True, slots=True)
class Parity:
    """The forms by name and, for each but the adapter, how many answers differ from its text."""

    forms: Mapping[str, FormResult]
    changed: Mapping[str, int]


def measure_form(
    loaded: LoadedModel,
    examples: Sequence[TokenizedExample],
    protocol: GenerationProtocol | None = None,
    batch_size: int = 16,
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


def parity(
    forms: Mapping[str, Callable[[], LoadedModel]],
    examples: Sequence[TokenizedExample],
    protocol: GenerationProtocol | None = None,
    batch_size: int = 16,
    progress: ProgressCallback = silent,
) -> Parity:
    """Measure every form given, one in memory at a time.

    Args:
        forms: how to load each, by a name of ``FORMS``; the adapter must be among them. A form
            that would not fit is left out by the caller, who says why.
        examples: the seeded subset.
        protocol: of generation.
        batch_size: of the loss.
        progress: told of each form's loss and answers under its name.

    Raises:
        ValueError: an unknown form, or no adapter to compare with.
    """
    strange = sorted(set(forms) - set(FORMS))
    if strange or REFERENCE not in forms:
        raise ValueError(f"forms must be {FORMS} with {REFERENCE!r} among them, got {list(forms)}")
    results: dict[str, FormResult] = {}
    for name in (form for form in FORMS if form in forms):

        def report(label: str, done: float, total: float, form: str = name) -> None:
            progress(f"{form} {label}", done, total)

        loaded = forms[name]()
        results[name] = measure_form(loaded, examples, protocol, batch_size, report)
        del loaded
        gc.collect()
        mx.clear_cache()
    reference = [answer.text for answer in results[REFERENCE].answers]
    changed = {
        name: flips(reference, [answer.text for answer in result.answers])
        for name, result in results.items()
        if name != REFERENCE
    }
    return Parity(results, changed)


def flips(reference: Sequence[object], other: Sequence[object]) -> int:
    """Positions at which two forms differ: in text, or in being right, whichever is given.

    Raises:
        ValueError: the two are not of one length.
    """
    return sum(one != two for one, two in zip(reference, other, strict=True))
