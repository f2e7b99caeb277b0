"""Variants that are one thing on this base, so that none is trained and measured twice.

Leaving a base as it is and quantizing one that is quantized already give the same weights: on a
4-bit model from the hub `lora` and `qlora` differ in nothing but their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.disk.files import content_key
from harness.models.resolve import BaseModel
from harness.train.variant import NOTED, Variant


def same_variants(
    variants: Iterable[Variant], base: BaseModel, notify: Callable[[str], None]
) -> dict[str, str]:
    """By name: the variant named earlier that it is the same as; ``notify`` is told of each.

    ``quantize`` of every variant suits the base: others were refused before.
    """
    if base.quantization is None:
        return {}
    first: dict[str, str] = {}
    same = {}
    for variant in variants:
        decides = variant.model_dump(mode="json", exclude=NOTED | {"quantize"})
        name = first.setdefault(content_key(decides), variant.name)
        if name != variant.name:
            same[variant.name] = name
            notify(f"{reason(variant.name, name)}: trained and measured once, as {name}")
    return same


def reason(name: str, other: str) -> str:
    """Why ``name`` is not measured beside ``other``."""
    return f"the base is quantized already, so {name} is {other} here"
