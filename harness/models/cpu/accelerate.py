"""CPU acceleration of a loaded model, chosen by measuring it.

Model (changed in place) -> :class:`Acceleration`, a JSON-able record of what was chosen and the
timings behind it; the same record applies the same choice again (a resumed run, another rank).
Half-precision parameters become float32 (MLX's CPU backend multiplies float16 at 3-4 GFLOP/s);
layers with quantized weights unpack before multiplying from the number of rows on at which that is
faster; outside training their float32 copies are kept if that is faster and fits (``generation``);
SiLU and softmax take a vectorized exponential (``vector_exp.py``), and the loss (``fast_loss.py``);
answers are sped up by what ``answering.py`` lists.
Never changes a number beyond rounding. Does nothing on Metal and CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.backend import backend_name, mx, nn  # isort: skip  (the BLAS first)
from mlx.utils import tree_flatten

from harness.models.cpu import answering, cross_entropy, kernels, llama, spare
from harness.models.cpu.answering import Answering
from harness.models.cpu.cross_entropy import MLX_LOSS, LossKernel
from harness.models.cpu.kernels import Kernel, layer_key
from harness.models.cpu.quantized import Format, UnpackingEmbedding, UnpackingLinear
from harness.models.cpu.vector_gain import VectorExp
from harness.protocols import BATCH_ROWS

STOCK, HELD, PACKED = "stock", "cached-dequantized", "packed"


@dataclass(frozen=True, slots=True)
class Acceleration:
    """What :func:`accelerate` did to a model."""

    backend: str
    widened: str | None = None
    """Type of the parameters that were turned into float32, or None."""
    kernels: tuple[Kernel, ...] = field(default=())
    generation: str = STOCK
    """Quantized products outside training: ``stock``, ``packed`` (by threshold of rows) or
    ``cached-dequantized`` (float32 copies beside the packed weights)."""
    held_bytes: int = 0
    """Bytes of the float32 copies."""
    reason: str = ""
    """Why ``generation`` is what it is."""
    exponential: VectorExp | None = None
    """SiLU and attention, where the model has modules that are known; None where it has none."""
    loss: LossKernel | None = None
    """Training's cross-entropy; None in records of trainings that took MLX's."""
    answering: Answering | None = None
    """What answers are sped up by; None where nothing was chosen, and in older records."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; :meth:`from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Acceleration:
        """The record that :meth:`to_json` (or ``dataclasses.asdict``) wrote."""
        read: dict[str, Any] = {
            "kernels": tuple(Kernel(**kernel) for kernel in record.get("kernels", ()))
        }
        parts: dict[str, Callable[[Any], Any]] = {
            "exponential": VectorExp.from_json,
            "loss": lambda timed: LossKernel(**timed),
            "answering": Answering.from_json,
        }
        for name, part in parts.items():
            if record.get(name):
                read[name] = part(record[name])
        return cls(**{**record, **read})


def accelerate(
    model: nn.Module,
    choice: Acceleration | Mapping[str, Any] | None = None,
    hold: bool | None = None,
) -> Acceleration:
    """Make ``model`` as fast as this backend allows, in place; also after adapters were added.

    Args:
        model: a loaded mlx-lm model.
        choice: a record of an earlier call, to compute the same way again. Layers that it does
            not know are measured.
        hold: whether float32 copies of quantized weights are kept until ``model.train()``; None
            decides by speed and free memory (or as ``choice`` says), and never in training mode.
    """
    backend = backend_name()
    if backend != "cpu":
        return Acceleration(backend)
    known = Acceleration.from_json(choice) if isinstance(choice, Mapping) else choice
    widened = _widen(model)
    exponential = llama.apply(model, known.exponential if known else None)
    loss = cross_entropy.apply(model, known.loss or MLX_LOSS if known else None)
    chosen, generation, held, reason = _unpacking(model, known, hold)
    measured = known is None and hold is not False and not model.training
    answers = answering.apply(model, known.answering if known else None, measured)
    return Acceleration(
        backend, widened, chosen, generation, held, reason, exponential, loss, answers
    )


def _widen(model: nn.Module) -> str | None:
    """Turn half-precision parameters into float32; the type they had, or None."""
    halves = {mx.float16: "float16", mx.bfloat16: "bfloat16"}
    leaves = (array for _, array in tree_flatten(model.parameters()))
    found = sorted({halves[a.dtype] for a in leaves if a.dtype in halves})
    if not found:
        return None
    model.set_dtype(mx.float32, lambda dtype: dtype in halves)
    mx.eval(model.parameters())
    return "+".join(found)


def _unpacking(
    model: nn.Module, known: Acceleration | None, hold: bool | None
) -> tuple[tuple[Kernel, ...], str, int, str]:
    """Quantized layers: ``kernels``, ``generation``, ``held_bytes`` and ``reason``."""
    groups: dict[tuple[int, int, Format], list[Any]] = {}
    for _, layer in model.named_modules():
        if isinstance(layer, nn.QuantizedLinear | nn.QuantizedEmbedding):
            groups.setdefault(layer_key(layer), []).append(layer)
    if not groups:
        return (), STOCK, 0, ""
    recorded = {kernel.key: kernel for kernel in known.kernels} if known else {}
    chosen = []
    for key, members in groups.items():
        kernel = recorded.get(key) or kernels.measure(members[0], len(members))
        chosen.append(kernel)
        for layer in members:
            _replace(layer, kernel)
    wanted = known.generation == HELD if hold is None and known else hold
    generation, held, reason = _generation(model, chosen, wanted)
    if generation == HELD:
        for members in groups.values():
            for layer in members:
                layer.hold()
    return tuple(chosen), generation, held, reason


def _replace(layer: Any, kernel: Kernel) -> None:
    """Change the layer's class in place: whoever holds it (a LoRA layer, a tied head) keeps it."""
    embedding = isinstance(layer, nn.QuantizedEmbedding)
    layer.__class__ = UnpackingEmbedding if embedding else UnpackingLinear
    layer.configure(kernel.unpacker, kernel.min_rows)


def _generation(
    model: nn.Module, chosen: list[Kernel], wanted: bool | None
) -> tuple[str, int, str]:
    """Whether float32 copies are kept: ``(generation, their bytes, why)``."""
    needed = sum(4 * kernel.rows * kernel.columns * kernel.layers for kernel in chosen)
    if wanted is False or model.training:
        why = "the model is being trained" if model.training else "asked for"
        return PACKED, 0, why
    if (why_not := spare.lacking(needed)) is not None:
        return PACKED, 0, why_not
    packed = sum(k.layers * min(k.unpack_s, BATCH_ROWS * k.packed_row_s) for k in chosen)
    dense = sum(k.layers * k.dense_s for k in chosen)
    if wanted or dense < packed:
        why = (
            f"{BATCH_ROWS} rows take {dense * 1e3:.0f} ms with float32 copies, "
            f"{packed * 1e3:.0f} ms with packed weights"
        )
        return HELD, needed, why
    return PACKED, 0, "packed weights are as fast"
