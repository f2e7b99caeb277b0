"""CPU acceleration of a loaded model, by a rule.

Model (changed in place) -> :class:`Acceleration`, a JSON-able record of what computes it. The rule
(`rule.py`) and the shapes decide, never a stopwatch: another kernel rounds otherwise, so the same
model on the same machine is always computed the same way.

Half-precision parameters become float32: MLX's CPU backend multiplies float16 at 3-4 GFLOP/s. What
else is faster lies in the other files of this folder: quantized layers, outside training perhaps
with float32 copies of their weights; SiLU, attention and training's loss; answers, in ways that
change neither training nor the speeds that are reported. Never changes a number beyond rounding.
On Metal and CUDA only training's loss differs from MLX's own (`models/chunked_loss.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from harness.backend import backend_name, blas, mx, nn  # isort: skip  (the BLAS first)
from mlx.utils import tree_flatten

from harness.models.cpu.decode_batches import joinable
from harness.models.cpu.llama import use_vector_exp
from harness.models.cpu.merged_adapters import merged_bytes
from harness.models.cpu.quantized import (
    DequantizingLinear,
    Format,
    Product,
    dequantize,
    layer_key,
    product_of,
)
from harness.models.cpu.rule import GPU_RULE, MLX_RULE, Rule, memory_shortfall, this_rule

STOCK, HELD, PACKED = "stock", "cached-dequantized", "packed"


@dataclass(frozen=True, slots=True)
class Answering:
    """What makes a model answer faster."""

    batches: int = 1
    """How many batches are decoded as one."""
    folded: bool = False
    """Whether adapters are merged into float32 copies of their layers' weights while answering."""
    reason: str = ""
    """Why ``folded`` is what it is."""


MLX_ANSWERING = Answering()
"""As mlx-lm answers."""


@dataclass(frozen=True, slots=True)
class Acceleration:
    """What :func:`accelerate` did to a model. Its field names are stored: they stay."""

    backend: str
    rule: Rule = MLX_RULE
    """From what size on which kernel computes."""
    widened: str | None = None
    """Type of the parameters that were turned into float32, or None."""
    kernels: tuple[Product, ...] = ()
    """One for each shape and packing of quantized weight."""
    generation: str = STOCK
    """Quantized products outside training: ``stock``, ``packed`` (by threshold of rows) or
    ``cached-dequantized`` (float32 copies beside the packed weights)."""
    held_bytes: int = 0
    """Bytes of the float32 copies."""
    reason: str = ""
    """Why ``generation`` is what it is."""
    known_modules: bool = False
    """Whether the model has modules that take the rule's exponential."""
    answering: Answering = MLX_ANSWERING
    """What answers are sped up by."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        record = asdict(self)
        return record | {"kernels": list(record["kernels"])}


def accelerate(model: nn.Module, hold: bool = True, rule: Rule | None = None) -> Acceleration:
    """Make ``model`` as fast as this backend allows, in place; also after adapters were added.

    Training's loss and answering are up to their callers, which follow the record.

    Args:
        model: a loaded mlx-lm model.
        hold: whether float32 copies of quantized weights are kept until ``model.train()``, where
            memory is large enough; never in training mode.
        rule: from what size on which kernel computes; None is this machine's rule.
    """
    backend = backend_name()
    if backend != "cpu":
        return Acceleration(backend, GPU_RULE)
    rule = rule or this_rule(blas.name)
    # MKL reads its kernels at the first product, and ends the process where memory is too short:
    # now, not when training has filled it, which has a message of its own.
    mx.eval(mx.ones((8, 8)) @ mx.ones((8, 8)))
    widened = _widen(model)
    known = use_vector_exp(model, rule.exponential)
    products, generation, held, reason = _products(model, rule, hold)
    answering = MLX_ANSWERING
    if hold and not model.training:
        answering = _answering(model, rule)
    return Acceleration(
        backend, rule, widened, products, generation, held, reason, known, answering
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
    model: nn.Module, rule: Rule, hold: bool
) -> tuple[tuple[Product, ...], str, int, str]:
    """Quantized layers: ``kernels``, ``generation``, ``held_bytes`` and ``reason``."""
    groups: dict[tuple[int, int, Format], list[Any]] = {}
    for _, layer in model.named_modules():
        if isinstance(layer, nn.QuantizedLinear | nn.QuantizedEmbedding):
            groups.setdefault(layer_key(layer), []).append(layer)
    if not groups:
        return (), STOCK, 0, ""
    products = tuple(product_of(alike[0], len(alike), rule) for alike in groups.values())
    for product, alike in zip(products, groups.values(), strict=True):
        for layer in alike:  # in place: a LoRA layer or a tied head that holds one keeps it
            dequantize(layer, product)
    needed = sum(product.dense_bytes for product in products)
    if model.training or not hold:
        return products, PACKED, 0, "the model is trained" if model.training else "asked for"
    if (shortfall := memory_shortfall(needed)) is not None:
        return products, PACKED, 0, shortfall
    for layer in chain(*groups.values()):
        layer.hold()
    return products, HELD, needed, "the copies fit"


def _answering(model: nn.Module, rule: Rule) -> Answering:
    """How ``model``, its quantized layers replaced, answers."""
    batches = rule.batches if joinable(model) else 1
    layers = (m for _, m in model.named_modules() if isinstance(m, DequantizingLinear))
    if any(layer.dense is None for layer in layers):
        return Answering(batches, False, "the weights stay packed")
    shortfall = memory_shortfall(merged_bytes(model))
    reason = shortfall or "the copies fit, and take operations away"
    return Answering(batches, shortfall is None, reason)
