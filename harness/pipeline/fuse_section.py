"""The `fuse` section of `results.json`: the stage's payload and a grader -> :class:`Fuse`.

What fusing does is in ``train``; which examples are asked, in ``sections``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.pipeline import grading
from harness.schema.stage_results import Fused, FusedForm
from harness.schema.variant_result import Flips, Fuse, FuseForm


def fuse_section(fused: Fused, grade: Callable[[Sequence[str]], float | None]) -> Fuse:
    """Quality of the adapter, the fused and the dequantized form, and the answers that changed.

    ``grade`` gives ``ex`` of the subset's answers; None where no query can be executed.
    """

    def form(one: FusedForm) -> FuseForm:
        return FuseForm(ppl=one.ppl, ex=grade(one.texts))

    beside, plain = fused.adapter, fused.dequantized
    return Fuse(
        adapter=form(beside),
        fused=form(fused.fused),
        dequantized=None if plain is None else form(plain),
        skipped=fused.skipped,
        flips=Flips(
            fused=grading.flips(beside.texts, fused.fused.texts),
            dequantized=None if plain is None else grading.flips(beside.texts, plain.texts),
            of=len(beside.texts),
        ),
    )
