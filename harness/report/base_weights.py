"""What the variants' bases are, in words: a 4-bit file held as float32 is not an unquantized model.

Stored runs -> one sentence a report says wherever it sets variants of different base precision
side by side. LoRA on a base that was dequantized from 4 bits, beside QLoRA on the same base,
measures what a second rounding costs, not what quantization does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.compare.sides import RunVariant, sides_of
from harness.markdown import code, escape
from harness.runs.store import StoredRun
from harness.schema.results import Weights

SOURCE = "source"


def precision_note(runs: Sequence[StoredRun]) -> str:
    """How the weights under each variant came to their precision; empty where all of them are
    alike."""
    sides = sides_of(runs)
    known = {(side.variant, _precision(side)) for side in sides}
    alike = Counter(variant for variant, _ in known)
    by_precision: dict[str, dict[str, None]] = {}
    for side in sides:
        # Under one name everywhere the same: the run need not be told.
        run = f"{side.where}:" if side.where and alike[side.variant] > 1 else ""
        by_precision.setdefault(_precision(side), {})[code(f"{run}{side.variant}")] = None
    if len(by_precision) < 2:
        return ""
    parts = [f"{', '.join(names)}: {text}" for text, names in by_precision.items()]
    return f"Base weights: {'; '.join(parts)}"


def held(weights: Weights | None) -> str:
    """The base's own weights, before any variant's quantization."""
    if weights is None:
        return "as the model's files have them (how they were stored before is not recorded)"
    return escape(weights.note)


def _precision(side: RunVariant) -> str:
    """What the base of one variant is."""
    if (endpoint := side.result.config.get("endpoint")) is not None:
        return f"not known, behind {code(endpoint['url'])}"
    weights, asked = side.run.results.model.weights, side.result.config.get("quantize")
    if asked is None or (weights is not None and weights.source == "quantized checkpoint"):
        return held(weights)
    if asked == SOURCE:
        bits = weights.source_bits if weights else None
        return f"the {bits} bits of that file" if bits else "the bits of the model's own file"
    rounded = f"rounded to {asked['bits']} bits in groups of {asked['group_size']}"
    twice = weights is not None and weights.source_bits is not None
    return f"these low-bit values {rounded}, a second rounding" if twice else rounded
