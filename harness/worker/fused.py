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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.measure.generate import GenerationProtocol, generate
from harness.measure.loss import evaluate, full_text
from harness.measure.memory import MemoryPhase
from harness.models.device import device_memory
from harness.progress import ProgressCallback, silent
from harness.schema.stage_results import DeviceMemory, Fused, FusedForm, FuseRequest

if TYPE_CHECKING:
    from harness.data.tokens import TokenizedExample
    from harness.models.load import LoadedModel
    from harness.train.fuse import FusedSize
    from harness.worker.state import ModelState

_CPU_COPIES = 2
"""How often a float32 model counts on a CPU: once for itself, once for its merged copies."""
_MEASURING = 1.25
"""The same on a GPU, where measuring takes activations and logits alone."""
_FLOAT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


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
        dequantized: FusedForm | None = fused
        skipped: str | None = None
        if state.base.quantization is not None:
            dequantized, skipped = _dequantized(state, request, size, form)
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


def _dequantized(
    state: ModelState,
    request: FuseRequest,
    size: FusedSize,
    form: Callable[[LoadedModel], FusedForm],
) -> tuple[FusedForm | None, str | None]:
    """The third form of a quantized base, or why it is skipped; ``size`` is the fused model's."""
    floats = [_FLOAT_BYTES[dtype] for dtype in size.by_dtype if dtype in _FLOAT_BYTES]
    weights = state.counts().total
    skipped = no_space(weights, max(floats, default=2), request.folder, device_memory())
    if skipped is not None:
        return None, skipped
    state.write_fused(request.adapter, request.folder / "plain", dequantize=True)
    return form(state.fused(request.folder / "plain")), None


def no_space(weights: int, float_bytes: int, folder: Path, memory: DeviceMemory) -> str | None:
    """Why a dequantized model of ``weights`` numbers of ``float_bytes`` is skipped; None where it
    fits. On a CPU it is loaded in float32, and merged copies of it may answer."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = weights * float_bytes
    loaded = weights * 4 * _CPU_COPIES if memory.backend == "cpu" else stored * _MEASURING
    wanted = (
        ("memory", loaded, memory.reachable_bytes),
        ("disk", stored, shutil.disk_usage(folder).free),
    )
    for name, needed, free in wanted:
        if needed > free:
            return f"would need {needed / 1e9:.1f} GB of {name}, {free / 1e9:.1f} are free"
    return None
