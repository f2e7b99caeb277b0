"""What makes a model answer faster on the CPU without changing an answer.

Model (changed in place) -> :class:`Answering`: how many batches are decoded as one, by timing
(``joined.py``), and whether adapters are folded into the weights (``folding.py``). Neither touches
training, nor the speeds that are reported of a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.backend import nn
from harness.models.cpu import decode_batches, merged_adapters, spare
from harness.models.cpu.decode_batches import Joined
from harness.models.cpu.quantized import UnpackingLinear


@dataclass(frozen=True, slots=True)
class Answering:
    """The choices, and what they were made by. Memory is looked at again when it is needed."""

    joined: Joined
    """Batches decoded as one."""
    folded: bool
    """Whether adapters are added to float32 copies of their layers' weights while answering."""
    reason: str
    """Why ``folded`` is what it is."""

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Answering:
        """The record that ``dataclasses.asdict`` wrote."""
        return cls(**{**record, "joined": Joined.from_json(record["joined"])})


def apply(model: nn.Module, known: Answering | None, measured: bool) -> Answering | None:
    """Have ``model`` answer as ``known`` says; without it measure, or leave it as it is.

    Args:
        model: an mlx-lm model in evaluation mode, its quantized layers seen to.
        known: an earlier choice.
        measured: whether to choose where nothing is known; not in training.
    """
    if known is None and not measured:
        return None
    chosen = known or Answering(decode_batches.measure(model), *_folds(model))
    merged_adapters.allow(model, chosen.folded)
    decode_batches.use(model, chosen.joined)
    return chosen


def _folds(model: nn.Module) -> tuple[bool, str]:
    layers = [m for _, m in model.named_modules() if isinstance(m, UnpackingLinear)]
    if any(layer.dense is None for layer in layers):
        return False, "the weights stay packed"
    why_not = spare.lacking(merged_adapters.foldable_bytes(model))
    return why_not is None, why_not or "the copies fit, and take operations away"
