"""The adapter merged into its base, as `mlx_lm.fuse` does it, and what that weighs.

A loaded model with an adapter -> a model folder that ``models/load.py`` reads, fused (quantized
layers are quantized again) or dequantized, and its size by number format. The loaded model is used
up: each array is computed by itself and takes its parts' place, so that fusing holds the larger of
the two models and one layer more. ``mlx_lm/fuse.py`` (0.32.2) writes the same bytes, but computes a
whole file at once beside the base. Whether the fused model still answers alike is measured in
`worker/fused.py`: 4-bit rounding can erase a small adapter (ml-explore/mlx-lm#1172).
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from harness.backend import mx, nn
from harness.errors import UserError
from harness.models.adapter import replace_modules
from harness.models.load import LoadedModel
from harness.models.weights import read_header, weight_bytes, weight_files

_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "U32": "uint32", "U8": "uint8"}


@dataclass(frozen=True, slots=True)
class FusedSize:
    """What a model folder's weights weigh."""

    bytes: int
    """Of all safetensors files, headers included."""
    by_dtype: dict[str, int]
    """Tensor bytes by number format; packed quantized weights are ``uint32``."""


def fuse(loaded: LoadedModel, out: Path, dequantize: bool) -> FusedSize:
    """Write the fused model to ``out`` and return its size.

    Args:
        loaded: the base with an adapter applied (for ``full`` the weights are the model's own);
            afterwards its model holds no weights.
        out: a new folder.
        dequantize: turn every quantized layer back into plain weights, as
            ``mlx_lm.fuse --dequantize``.

    Raises:
        UserError: the folder cannot be written.
    """
    from mlx.utils import tree_flatten
    from mlx_lm.utils import dequantize_model, save

    model = loaded.model
    config = deepcopy(dict(loaded.base.config))
    try:
        replace_modules(model, _fused(model, dequantize))
        if dequantize:
            dequantize_model(model)
            config.pop("quantization", None)
            config.pop("quantization_config", None)
        for _, array in tree_flatten(model.parameters()):
            mx.eval(array)  # frees what it is made of, before the next one is made
        out.mkdir(parents=True, exist_ok=True)
        save(out, str(loaded.base.path), model, loaded.tokenizer, config, donate_model=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot write the fused model to {out}: {error}") from error
    return weigh(out)


def weigh(folder: Path) -> FusedSize:
    """Size of the safetensors in ``folder``: of a base, an adapter or a fused model."""
    by_dtype: Counter[str] = Counter()
    for file in weight_files(folder):
        for tensor in read_header(file).values():
            by_dtype[_DTYPES.get(tensor.dtype, tensor.dtype.lower())] += tensor.bytes
    return FusedSize(weight_bytes(folder), dict(sorted(by_dtype.items())))


def _fused(model: nn.Module, dequantize: bool) -> list[tuple[str, nn.Module]]:
    """The fused layer of every adapter by name, not computed yet; none for ``full``."""
    return [
        (name, module.fuse(dequantize=dequantize))
        for name, module in model.named_modules()
        if hasattr(module, "fuse")
    ]
