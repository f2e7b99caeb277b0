"""Adapters added to their layers' weights while a model answers on the CPU.

Model -> the same with plain linear layers inside of a ``with`` block. Beside the weights an adapter
costs a decoding step two small products and three more operations a layer; added to a float32
copy of the weights (Hu et al. 2021, section 4.2: no inference latency) it costs nothing. Not used
where the adapter's own speed is measured, and not the fusing of `train/fuse.py`, which is mlx-lm's
own, in the types that are stored. A copy that does not compute what its layer does is not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.backend import mx, nn
from harness.models.adapter import replace_modules
from harness.models.cpu.quantized import DequantizingLinear
from harness.models.cpu.rule import memory_shortfall

_TOLERANCE = 1e-4  # of the largest output; float32 sums in another order differ by some 1e-6
_PROBE_ROWS = 2


def merged_bytes(model: nn.Module) -> int:
    """Bytes of the copies if each linear layer of ``model`` had an adapter."""
    layers = (module for _, module in model.named_modules())
    return sum(
        4 * _weight_count(m) for m in layers if isinstance(m, nn.Linear | DequantizingLinear)
    )


def _weight_count(layer: Any) -> int:
    if isinstance(layer, nn.Linear):
        return int(layer.weight.size)
    return int(layer.weight.size) * 32 // int(layer.bits)


@contextmanager
def merged(model: nn.Module, enabled: bool = True) -> Iterator[int]:
    """``model`` with its LoRA and DoRA layers replaced inside of the block, if ``enabled``.

    Adapters of layers that have no float32 weight, or are not linear, stay; all of them
    stay where memory is too small for the copies.

    Yields:
        The number of layers replaced.
    """
    before = [(n, m) for n, m in model.named_modules() if enabled and hasattr(m, "lora_a")]
    needed = sum(4 * _weight_count(m.linear) for _, m in before if hasattr(m, "linear"))
    if memory_shortfall(needed) is not None:
        before = []
    copies = [(name, m, copy) for name, m in before if (copy := _merged(m)) is not None]
    try:
        replace_modules(model, [(name, copy) for name, _, copy in copies])
        yield len(copies)
    finally:
        replace_modules(model, [(name, layer) for name, layer, _ in copies])


def _merged(layer: Any) -> nn.Linear | None:
    """One linear layer that computes what ``layer`` does, or None."""
    from mlx_lm.tuner.dora import DoRALinear
    from mlx_lm.tuner.lora import LoRALinear

    if type(layer) not in (LoRALinear, DoRALinear) or (weight := _dense(layer.linear)) is None:
        return None
    weight = weight + (layer.scale * layer.lora_b.T) @ layer.lora_a.T
    if type(layer) is DoRALinear:  # Liu et al. 2024: the direction is learned apart from the length
        weight = (layer.m / mx.linalg.norm(weight, axis=1))[:, None] * weight
    copy = nn.Linear.__new__(nn.Linear)  # its __init__ would draw from the global random state
    nn.Module.__init__(copy)
    copy.weight = weight
    if "bias" in layer.linear:
        copy.bias = layer.linear.bias
    probe = mx.random.normal((_PROBE_ROWS, weight.shape[1]), key=mx.random.key(0))
    expected, got = layer(probe), copy(probe)
    largest = mx.abs(expected).max()
    return copy if bool(mx.abs(expected - got).max() <= _TOLERANCE * largest) else None


def _dense(linear: Any) -> mx.array | None:
    """The float32 weight of a layer, where there is one."""
    if isinstance(linear, DequantizingLinear):
        return linear.dense
    if isinstance(linear, nn.Linear) and linear.weight.dtype == mx.float32:
        weight: mx.array = linear.weight
        return weight
    return None
