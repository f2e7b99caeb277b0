"""Do batched answers agree with single ones? A seeded sample of prompts -> the ones that differ.

In float32 the two are the same text; in low precision sums are rounded in another order and a
near tie may fall the other way (mlx-lm's issues report it), which is why the protocol fixes the
batch. An audit says how much that matters for a model, it does not change an answer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.measure.generate import Generation, GenerationProtocol, generate
from harness.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from harness.models.load import LoadedModel


@dataclass(frozen=True, slots=True)
class Audit:
    """``differing`` are positions, among the ``asked`` ones, whose single answer is another."""

    asked: tuple[int, ...]
    differing: tuple[int, ...]


def audit(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Generation],
    protocol: GenerationProtocol | None = None,
    sample: int = 8,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> Audit:
    """Answer a seeded sample of ``prompts`` one at a time and compare with ``answers``.

    Args:
        loaded: the model that gave the answers.
        prompts: all prompts.
        answers: one for each prompt, in order.
        protocol: the one they were given by.
        sample: prompts to ask again; all of them if there are fewer.
        seed: of the choice.
        progress: told the answers finished.
    """
    alone = replace(protocol or GenerationProtocol(), batch_size=1)
    asked = sorted(random.Random(seed).sample(range(len(prompts)), min(sample, len(prompts))))
    differing = []
    for done, position in enumerate(asked, start=1):
        # One call each: a call with several prompts would share their beginnings.
        [single] = generate(loaded, [prompts[position]], alone)
        if single.text != answers[position].text:
            differing.append(position)
        progress("audit", done, len(asked))
    return Audit(tuple(asked), tuple(differing))
