"""Does fusing keep what was learned? The forms of a tuned model -> perplexity and answers of each.

Rounding a fused adapter back into 4 bits can erase it (mlx-lm issue 1172), so the adapter beside
its base, the fused model and the fused model without quantization are scored on the same seeded
subset. An unquantized base has no third form: dequantizing changes nothing (mlx-lm's
``LoRALinear.fuse`` and ``DoRALinear.fuse``). Whether an answer is right is decided by ``sql``;
fusing itself is ``train/fuse.py``.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from harness.measure.generate import GenerationProtocol, generate
from harness.measure.loss import evaluate, full_text
from harness.measure.memory import MemoryPhase
from harness.progress import ProgressCallback, silent
from harness.schema.stage_results import Fused, FusedForm, FuseRequest

if TYPE_CHECKING:
    from harness.data.tokens import TokenizedExample
    from harness.models.load import LoadedModel
    from harness.worker.state import ModelState

_COPIES = 2
"""How often a model is counted: once for itself, once for what writing and measuring it takes."""


def measure_form(
    loaded: LoadedModel,
    rows: Sequence[TokenizedExample],
    protocol: GenerationProtocol | None = None,
    progress: ProgressCallback = silent,
) -> FusedForm:
    """Perplexity and answers of one model on token rows; the prompts are the rows' own.

    Raises:
        UserError: the subset is empty, or a prompt does not fit the context.
    """
    value = full_text(evaluate(loaded.model, rows, progress=progress))
    prompts = [row.tokens[: row.prompt_length] for row in rows]
    answers = generate(loaded, prompts, protocol, progress)
    return FusedForm(ppl=value.ppl, texts=[answer.text for answer in answers])


def measure_forms(state: ModelState, request: FuseRequest, progress: ProgressCallback) -> Fused:
    """The tuned model as adapter, fused and dequantized.

    The models lie in the request's folder meanwhile, and stay there if they are to be kept.
    """
    examples = state.examples(request.ids)

    def form(loaded: LoadedModel) -> FusedForm:
        rows = state.tokenized(examples, loaded).examples
        return measure_form(loaded, rows, state.generation, progress)

    folder, adapter = request.folder, request.adapter
    beside = form(state.model(adapter))
    state.release()
    phase = MemoryPhase()
    with contextlib.ExitStack() as stack:
        stack.enter_context(phase)
        if not request.keep:
            shutil.rmtree(folder, ignore_errors=True)  # left by a killed process
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        size = state.write_fused(adapter, folder / "fused", dequantize=False)
        fused = form(state.fused(folder / "fused"))
        skipped, dequantized = None, fused
        if state.base.quantization is not None:
            skipped = no_space(state.counts().total, folder)
            dequantized = None
        if dequantized is None and skipped is None:
            state.write_fused(adapter, folder / "plain", dequantize=True)
            dequantized = form(state.fused(folder / "plain"))
        state.release()
    return Fused(
        adapter=beside,
        fused=fused,
        dequantized=dequantized,
        skipped=skipped,
        fused_bytes=size.bytes,
        fused_by_dtype=dict(size.by_dtype),
        memory=phase.measured,
    )


def no_space(weights: int, folder: Path) -> str | None:
    """Why a dequantized model of ``weights`` numbers is skipped; None where it fits."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = _COPIES * 4 * weights  # float32 at the most
    memory, disk = psutil.virtual_memory().available, shutil.disk_usage(folder).free
    for name, free in (("memory", memory), ("disk", disk)):
        if needed > free:
            return f"would need {needed / 1e9:.1f} GB of {name}, {free / 1e9:.1f} are free"
    return None
