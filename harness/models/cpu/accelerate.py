"""CPU acceleration of a loaded model, chosen by measuring it.

Model (changed in place) -> :class:`Acceleration`, a JSON-able record of what was chosen and the
timings behind it; the same record applies the same choice again (a resumed run, another rank).

Half-precision parameters become float32: MLX's CPU backend multiplies float16 at 3-4 GFLOP/s. What
else is faster lies in the other files of this folder: quantized layers, outside training perhaps
with float32 copies of their weights; SiLU, attention and training's loss; answers, in ways that
change neither training nor the speeds that are reported. Never changes a number beyond rounding.
Does nothing on Metal and CUDA.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pydantic import TypeAdapter

from harness.backend import backend_name, mx, nn  # isort: skip  (the BLAS first)
from mlx.utils import tree_flatten

from harness.models.cpu.cross_entropy import MLX_LOSS, LossChoice, choose_loss
from harness.models.cpu.decode_batches import DecodeBatches, choose_batches
from harness.models.cpu.llama import VectorExp, use_vector_exp
from harness.models.cpu.merged_adapters import merged_bytes
from harness.models.cpu.probes import memory_shortfall
from harness.models.cpu.quantized import (
    DequantizingLinear,
    Format,
    ProductChoice,
    choose_product,
    dequantize,
    layer_key,
)
from harness.protocols import BATCH_ROWS

STOCK, HELD, PACKED = "stock", "cached-dequantized", "packed"


@dataclass(frozen=True, slots=True)
class Answering:
    """What makes a model answer faster. Free memory is looked at again when it is needed."""

    joined: DecodeBatches
    """How many batches are decoded as one."""
    folded: bool
    """Whether adapters are merged into float32 copies of their layers' weights while answering."""
    reason: str
    """Why ``folded`` is what it is."""


@dataclass(frozen=True, slots=True)
class Acceleration:
    """What :func:`accelerate` did to a model. Its field names are stored: they stay."""

    backend: str
    widened: str | None = None
    """Type of the parameters that were turned into float32, or None."""
    kernels: tuple[ProductChoice, ...] = ()
    """One choice for each shape and packing of quantized weight."""
    generation: str = STOCK
    """Quantized products outside training: ``stock``, ``packed`` (by threshold of rows) or
    ``cached-dequantized`` (float32 copies beside the packed weights)."""
    held_bytes: int = 0
    """Bytes of the float32 copies."""
    reason: str = ""
    """Why ``generation`` is what it is."""
    exponential: VectorExp | None = None
    """SiLU and attention, where the model has modules that are known; None where it has none."""
    loss: LossChoice | None = None
    """Training's cross-entropy; None in records of trainings that took MLX's."""
    answering: Answering | None = None
    """What answers are sped up by; None where nothing was chosen, and in older records."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; :meth:`from_json` reads it back."""
        record: dict[str, Any] = _RECORD.dump_python(self, mode="json")
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Acceleration:
        """The record that :meth:`to_json` wrote, also of an earlier version."""
        return _RECORD.validate_python(record)


_RECORD = TypeAdapter(Acceleration)


def accelerate(
    model: nn.Module,
    choice: Acceleration | Mapping[str, Any] | None = None,
    hold: bool | None = None,
) -> Acceleration:
    """Make ``model`` as fast as this backend allows, in place; also after adapters were added.

    Training's loss and answering are up to their callers, which follow the record.

    Args:
        model: a loaded mlx-lm model.
        choice: a record of an earlier call, to compute the same way again. Layers that it does
            not know are measured.
        hold: whether float32 copies of quantized weights are kept until ``model.train()``; None
            decides by speed and free memory (or as ``choice`` did), and never in training mode.
    """
    backend = backend_name()
    if backend != "cpu":
        return Acceleration(backend)
    known = Acceleration.from_json(choice) if isinstance(choice, Mapping) else choice
    widened = _widen(model)
    exponential = use_vector_exp(model, known.exponential if known else None)
    loss = (known.loss or MLX_LOSS) if known else choose_loss()
    products, generation, held, reason = _products(model, known, hold)
    answering = known.answering if known else None
    if known is None and hold is not False and not model.training:
        answering = _choose_answering(model)
    return Acceleration(
        backend, widened, products, generation, held, reason, exponential, loss, answering
    )


def _widen(model: nn.Module) -> str | None:
    """Turn half-precision parameters into float32; the type they had, or None."""
    half_types = {mx.float16: "float16", mx.bfloat16: "bfloat16"}
    leaves = (array for _, array in tree_flatten(model.parameters()))
    found = sorted({half_types[a.dtype] for a in leaves if a.dtype in half_types})
    if not found:
        return None
    model.set_dtype(mx.float32, lambda dtype: dtype in half_types)
    mx.eval(model.parameters())
    return "+".join(found)


def _products(
    model: nn.Module, known: Acceleration | None, hold: bool | None
) -> tuple[tuple[ProductChoice, ...], str, int, str]:
    """Quantized layers: ``kernels``, ``generation``, ``held_bytes`` and ``reason``."""
    groups: dict[tuple[int, int, Format], list[Any]] = {}
    for _, layer in model.named_modules():
        if isinstance(layer, nn.QuantizedLinear | nn.QuantizedEmbedding):
            groups.setdefault(layer_key(layer), []).append(layer)
    if not groups:
        return (), STOCK, 0, ""
    recorded = {product.key: product for product in known.kernels} if known else {}
    chosen = []
    for key, members in groups.items():
        product = recorded.get(key) or choose_product(members[0], len(members))
        chosen.append(product)
        for layer in members:  # in place: a LoRA layer or a tied head that holds one keeps it
            dequantize(layer, product)
    wanted = known.generation == HELD if hold is None and known else hold
    generation, held, reason = _generation(model, chosen, wanted)
    for layer in chain(*groups.values()) if generation == HELD else ():
        layer.hold()
    return tuple(chosen), generation, held, reason


def _generation(
    model: nn.Module, chosen: list[ProductChoice], wanted: bool | None
) -> tuple[str, int, str]:
    """Whether float32 copies are kept: ``(generation, their bytes, the reason)``."""
    needed = sum(4 * product.rows * product.columns * product.layers for product in chosen)
    packed = sum(k.layers * min(k.unpack_s, BATCH_ROWS * k.packed_row_s) for k in chosen)
    dense = sum(k.layers * k.dense_s for k in chosen)
    if model.training:
        reason = "the model is being trained"
    elif wanted is False:
        reason = "asked for"
    elif (shortfall := memory_shortfall(needed)) is not None:
        reason = shortfall
    elif not wanted and dense >= packed:
        reason = "packed weights are as fast"
    else:
        reason = (
            f"{BATCH_ROWS} rows take {dense * 1e3:.0f} ms with float32 copies, "
            f"{packed * 1e3:.0f} ms with packed weights"
        )
        return HELD, needed, reason
    return PACKED, 0, reason


def _choose_answering(model: nn.Module) -> Answering:
    """Measure how ``model``, its quantized layers replaced, answers fastest."""
    joined = choose_batches(model)
    layers = (m for _, m in model.named_modules() if isinstance(m, DequantizingLinear))
    if any(layer.dense is None for layer in layers):
        return Answering(joined, False, "the weights stay packed")
    shortfall = memory_shortfall(merged_bytes(model))
    reason = shortfall or "the copies fit, and take operations away"
    return Answering(joined, shortfall is None, reason)
