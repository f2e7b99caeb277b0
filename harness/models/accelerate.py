"""CPU acceleration of a loaded model, chosen by measuring it.

Model (changed in place) -> :class:`Acceleration`, a JSON-able record of what was chosen and the
timings behind it; the same record applies the same choice again (a resumed run, another rank).
Half-precision parameters become float32 (MLX's CPU backend multiplies float16 at 3-4 GFLOP/s);
layers with quantized weights unpack before multiplying from the number of rows on at which that is
faster; outside training their float32 copies are kept if that is faster and fits (``generation``);
SiLU and softmax take a vectorized exponential (``vector_exp.py``), and the loss (``fast_loss.py``).
Never changes a number beyond rounding. Does nothing on Metal and CUDA.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from harness.models.backend import backend_name, mx, nn  # isort: skip  (the BLAS first)
from mlx.utils import tree_flatten

from harness.models import fast_llama, fast_loss
from harness.models.fast_loss import MLX_LOSS, LossKernel
from harness.models.stopwatch import shortest
from harness.models.unpack import (
    UNPACKERS,
    Format,
    UnpackingEmbedding,
    UnpackingLinear,
    product,
    unpackers,
)
from harness.models.vector_gain import VectorExp

STOCK, HELD, PACKED = "stock", "cached-dequantized", "packed"
_BATCH_ROWS = 16
_MEMORY_SHARE = 0.5  # of the free memory that float32 copies may take


@dataclass(frozen=True, slots=True)
class Kernel:
    """The choice for one shape and packing of weight, with what it was chosen by."""

    rows: int
    columns: int
    bits: int
    group_size: int
    mode: str
    layers: int
    """How many layers of the model have it."""
    unpacker: str
    """``bytes`` or ``mlx`` (``unpack.py``)."""
    min_rows: int
    """From this many rows of input on the weight is unpacked first."""
    packed_row_s: float
    """Seconds of MLX's quantized product, one row."""
    unpack_s: float
    """Seconds of unpacking and multiplying 16 rows."""
    dense_s: float
    """Seconds of multiplying 16 rows with the weight already in float32."""

    @property
    def key(self) -> tuple[int, int, Format]:
        """What the choice depends on."""
        return (self.rows, self.columns, Format(self.bits, self.group_size, self.mode))


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

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; :meth:`from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Acceleration:
        """The record that :meth:`to_json` (or ``dataclasses.asdict``) wrote."""
        kernels = tuple(Kernel(**kernel) for kernel in record.get("kernels", ()))
        known = record.get("exponential")
        exponential = VectorExp.from_json(known) if known else None
        loss = LossKernel(**record["loss"]) if record.get("loss") else None
        return cls(**{**record, "kernels": kernels, "exponential": exponential, "loss": loss})


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
    exponential = fast_llama.apply(model, known.exponential if known else None)
    loss = fast_loss.apply(model, known.loss or MLX_LOSS if known else None)
    layers = [
        module
        for _, module in model.named_modules()
        if isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding)
    ]
    if not layers:
        return Acceleration(backend, widened, exponential=exponential, loss=loss)
    groups: dict[tuple[int, int, Format], list[Any]] = {}
    for layer in layers:
        groups.setdefault(_key(layer), []).append(layer)
    recorded = {kernel.key: kernel for kernel in known.kernels} if known else {}
    kernels = []
    for key, members in groups.items():
        kernel = recorded.get(key) or _measure(members[0], len(members))
        kernels.append(kernel)
        for layer in members:
            _replace(layer, kernel)
    wanted = known.generation == HELD if hold is None and known else hold
    generation, held, reason = _generation(model, kernels, wanted)
    if generation == HELD:
        for layer in layers:
            layer.hold()
    return Acceleration(
        backend, widened, tuple(kernels), generation, held, reason, exponential, loss
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


def _key(layer: Any) -> tuple[int, int, Format]:
    rows, packed = layer["weight"].shape
    form = Format(layer.bits, layer.group_size, layer.mode)
    return rows, packed * 32 // layer.bits, form


def _replace(layer: Any, kernel: Kernel) -> None:
    """Change the layer's class in place: whoever holds it (a LoRA layer, a tied head) keeps it."""
    embedding = isinstance(layer, nn.QuantizedEmbedding)
    layer.__class__ = UnpackingEmbedding if embedding else UnpackingLinear
    layer.configure(kernel.unpacker, kernel.min_rows)


def _measure(layer: Any, count: int) -> Kernel:
    """Time the ways to multiply with ``layer``'s own weight."""
    rows, columns, form = _key(layer)
    weight, scales, biases = layer["weight"], layer["scales"], layer.get("biases")
    packed = [weight, scales] + ([] if biases is None else [biases])
    one = mx.random.normal((1, columns), key=mx.random.key(0))
    batch = mx.random.normal((_BATCH_ROWS, columns), key=mx.random.key(1))

    def quantized_product() -> mx.array:
        result: mx.array = mx.quantized_matmul(
            one,
            weight,
            scales=scales,
            biases=biases,
            transpose=True,
            group_size=form.group_size,
            bits=form.bits,
            mode=form.mode,
        )
        return result

    packed_row_s = shortest(quantized_product)
    timed = {
        name: shortest(lambda name=name: product(form, name, biases is not None)(batch, *packed))  # type: ignore[misc]
        for name in unpackers(form)
    }
    unpacker = min(timed, key=lambda name: timed[name])
    dense = UNPACKERS[unpacker](weight, scales, biases, form)
    dense_s = shortest(lambda: batch @ dense.T)
    return Kernel(
        rows=rows,
        columns=columns,
        bits=form.bits,
        group_size=form.group_size,
        mode=form.mode,
        layers=count,
        unpacker=unpacker,
        # The quantized product's time is proportional to its rows, unpacking's hardly grows.
        min_rows=max(1, math.ceil(timed[unpacker] / packed_row_s)),
        packed_row_s=packed_row_s,
        unpack_s=timed[unpacker],
        dense_s=dense_s,
    )


def _generation(
    model: nn.Module, kernels: list[Kernel], wanted: bool | None
) -> tuple[str, int, str]:
    """Whether float32 copies are kept: ``(generation, their bytes, why)``."""
    needed = sum(4 * kernel.rows * kernel.columns * kernel.layers for kernel in kernels)
    if wanted is False or model.training:
        why = "the model is being trained" if model.training else "asked for"
        return PACKED, 0, why
    share = int(psutil.virtual_memory().available * _MEMORY_SHARE)
    if needed > share:
        why = f"float32 copies need {needed / 1e9:.1f} GB, {share / 1e9:.1f} GB may be taken"
        return PACKED, 0, why
    packed = sum(k.layers * min(k.unpack_s, _BATCH_ROWS * k.packed_row_s) for k in kernels)
    dense = sum(k.layers * k.dense_s for k in kernels)
    if wanted or dense < packed:
        why = (
            f"{_BATCH_ROWS} rows take {dense * 1e3:.0f} ms with float32 copies, "
            f"{packed * 1e3:.0f} ms with packed weights"
        )
        return HELD, needed, why
    return PACKED, 0, "packed weights are as fast"
