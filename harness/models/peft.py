"""Adapters of PEFT and Unsloth as mlx-lm's: another layout, the same product of matrices.

``adapter_config.json`` with ``peft_type: LORA`` and ``adapter_model.safetensors`` -> the keys of
mlx-lm's configuration (:func:`as_mlx_lm`) and a folder in its layout (:func:`convert`), float32.
PEFT's matrices are transposed; a module's own rank is padded with zeros to the largest, its own
factor (alpha / r, or alpha / sqrt(r) where rank-stabilised) goes into its second matrix, and a
module that some layers lack gets zeros there: each changes no product. A setting of which mlx-lm
has no equal is refused by name, so that no adapter is measured as something else. Reference:
huggingface/peft, ``tuners/lora/{config,layer,dora}.py`` (0.17).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.disk.files import write_json
from harness.errors import UserError
from harness.models.weights import ADAPTER_CONFIG, ADAPTER_FILE, Tensor, read_header

PEFT_FILE = "adapter_model.safetensors"

_READ = ("r", "lora_alpha", "use_rslora", "alpha_pattern", "use_dora")
# What decides nothing of an answer once the matrices are there; shapes show ranks and modules.
_DECIDES_NOTHING = {
    *("peft_type", "peft_version", "task_type", "auto_mapping", "inference_mode", "revision"),
    *("base_model_name_or_path", "lora_dropout", "rank_pattern", "target_modules", "loftq_config"),
    *("exclude_modules", "layers_to_transform", "layers_pattern", "megatron_core", "eva_config"),
    *("corda_config", "qalora_group_size", "runtime_config", "unsloth_fixed", "unsloth_version"),
}
# These initialisations leave the base as it is; others (pissa, olora, loftq) change its weights.
_PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal")
_NAME = re.compile(r"base_model\.model\.(.+)\.lora_(A|B|magnitude_vector)(?:\.weight)?")
_LAYER = re.compile(r"(.*\blayers\.)(\d+)\.(.+)")
_QUICK = re.compile(r"[^*+?{}()\[\]]*(?:\.\*[^*+?{}()\[\]]*){0,2}")
"""A regular expression of ``alpha_pattern`` that no module's name holds for long."""
_MOST = float(np.finfo(np.float32).max)
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class _Adapter:
    """A PEFT adapter: its file, its tensors by module, and what they are multiplied by."""

    file: Path
    dora: bool
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """By module, e.g. ``model.layers.0.self_attn.q_proj``, and by part: A, B, magnitude_vector."""
    scales: dict[str, float] = field(default_factory=dict)
    """By module: what its product is multiplied by."""

    @property
    def rank(self) -> int:
        """The largest rank."""
        return max(parts["A"].shape[0] for parts in self.tensors.values())

    @property
    def scale(self) -> float:
        """The factor of the most modules."""
        every = list(self.scales.values())
        return max(every, key=every.count)

    @property
    def keys(self) -> list[str]:
        """Modules as mlx-lm names them: inside a block, else from the top of the model."""
        return sorted({_key(module) for module in self.tensors})


def as_mlx_lm(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration ``config`` of the PEFT adapter in ``folder`` in mlx-lm's keys.

    ``num_layers`` is -1: how many the model has is not known here.

    Raises:
        UserError: a file is missing or damaged, or something cannot be represented.
    """
    adapter = _read(folder, config)
    return _configuration(adapter, config, -1)


def convert(folder: Path, config: Mapping[str, Any], layers: int, out: Path) -> None:
    """Write the PEFT adapter in ``folder`` into folder ``out`` in mlx-lm's layout.

    Args:
        config: its ``adapter_config.json``.
        layers: the number of blocks of the base.

    Raises:
        UserError: as :func:`as_mlx_lm`; or the adapter is DoRA and leaves out modules of some
            layers, whose magnitudes are the base's and not in the file.
    """
    from safetensors.numpy import save_file

    adapter = _read(folder, config)
    arrays = {
        f"{module}.{name}": array
        for module in adapter.tensors
        for name, array in _mlx_arrays(adapter, module).items()
    }
    first = min(int(found[2]) for found in map(_LAYER.fullmatch, adapter.tensors) if found)
    lacking = sorted(_lacking(adapter.tensors, range(first, layers)).items())
    if lacking and adapter.dora:
        raise _refused(folder, f"use_dora without {lacking[0][0]} (layers_to_transform)")
    for module, like in lacking:
        for name in ("lora_a", "lora_b"):
            arrays[f"{module}.{name}"] = np.zeros_like(arrays[f"{like}.{name}"])
    save_file(arrays, out / ADAPTER_FILE)
    write_json(out / ADAPTER_CONFIG, _configuration(adapter, config, layers - first))


def _configuration(adapter: _Adapter, config: Mapping[str, Any], num_layers: int) -> dict[str, Any]:
    return {
        "fine_tune_type": "dora" if adapter.dora else "lora",
        "model": config.get("base_model_name_or_path"),
        "num_layers": num_layers,
        "lora_parameters": {
            "rank": adapter.rank,
            "scale": adapter.scale,
            "dropout": 0.0,
            "keys": adapter.keys,
        },
    }


def _read(folder: Path, config: Mapping[str, Any]) -> _Adapter:
    """The adapter in ``folder``, everything in it known to be representable."""
    if config.get("peft_type") != "LORA":
        raise _refused(folder, f"peft_type {config.get('peft_type')}")
    _refuse_settings(folder, config)
    file = folder / PEFT_FILE
    if not file.is_file():
        raise UserError(
            f"adapter {folder} has no {PEFT_FILE}; pickled weights (.bin) are not read. Save it "
            "with safe_serialization=True."
        )
    adapter = _Adapter(file, bool(config.get("use_dora")))
    for name, tensor in read_header(file).items():
        if name.endswith(".base_layer.weight"):
            continue  # of an adapted output layer PEFT stores the base's weights too, unchanged
        found = _NAME.fullmatch(name)
        if found is None or tensor.dtype not in _DTYPES:
            raise _refused(folder, f"tensor {name} ({tensor.dtype})")
        adapter.tensors.setdefault(found[1], {})[found[2]] = tensor
    wanted = {"A", "B", "magnitude_vector"} if adapter.dora else {"A", "B"}
    for module, parts in adapter.tensors.items():
        if parts.keys() != wanted or len(parts["A"].shape) != 2:
            raise _refused(folder, f"module {module} with {', '.join(sorted(parts))}")
        adapter.scales[module] = _scale(folder, config, module, parts["A"].shape[0])
    if not any(map(_LAYER.fullmatch, adapter.tensors)):
        raise _refused(folder, f"modules {', '.join(adapter.tensors) or 'none'}")
    return adapter


def _refuse_settings(folder: Path, config: Mapping[str, Any]) -> None:
    known = {*_READ, *_DECIDES_NOTHING, "bias", "init_lora_weights"}
    refused = [key for key, value in config.items() if key not in known and value]
    if config.get("bias", "none") != "none":
        refused.append("bias")
    if config.get("init_lora_weights", True) not in _PLAIN_INITS:
        refused.append("init_lora_weights")
    if refused:
        raise _refused(folder, ", ".join(f"{key}: {config[key]!r:.60}" for key in sorted(refused)))


def _refused(folder: Path, what: str) -> UserError:
    return UserError(
        f"adapter {folder} is PEFT's and cannot be converted: mlx-lm has no equal of {what}. Merge "
        "it into its base (merge_and_unload), and give the result as --model."
    )


def _scale(folder: Path, config: Mapping[str, Any], module: str, rank: int) -> float:
    """What PEFT multiplies the product of ``module`` by (``get_pattern_key``: the first match)."""
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, Mapping) or not all(map(_QUICK.fullmatch, patterns)):
        raise _refused(folder, f"alpha_pattern {patterns!r:.60}")
    try:
        matching = [patterns[key] for key in patterns if re.match(rf"(.*\.)?({key})$", module)]
    except re.error as error:
        raise _refused(folder, f"alpha_pattern {patterns!r:.60} ({error})") from error
    alpha = next(iter(matching), config.get("lora_alpha"))
    if not isinstance(alpha, int | float) or not 0 < alpha < _MOST or not rank:
        raise _refused(folder, f"lora_alpha {alpha!r:.60} and rank {rank} of {module}")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _mlx_arrays(adapter: _Adapter, module: str) -> dict[str, Matrix]:
    """The module's tensors as mlx-lm holds them: lora_a (inputs, rank), lora_b (rank, outputs)."""
    parts = {name: _array(adapter.file, tensor) for name, tensor in adapter.tensors[module].items()}
    a, b = parts["A"].T, parts["B"].T
    missing = adapter.rank - a.shape[1]
    arrays = {
        "lora_a": np.pad(a, ((0, 0), (0, missing))),
        "lora_b": np.pad(
            b * np.float32(adapter.scales[module] / adapter.scale), ((0, missing), (0, 0))
        ),
    }
    if adapter.dora:
        arrays["m"] = parts["magnitude_vector"].reshape(-1)
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _array(file: Path, tensor: Tensor) -> Matrix:
    count = math.prod(tensor.shape)
    raw = np.fromfile(file, _DTYPES[tensor.dtype], count, offset=tensor.start)
    if tensor.dtype == "BF16":  # the upper half of a float32
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32).reshape(tensor.shape)


def _key(module: str) -> str:
    found = _LAYER.fullmatch(module)
    return found[3] if found else module


def _lacking(modules: Iterable[str], layers: Iterable[int]) -> dict[str, str]:
    """Modules of ``layers`` that are not adapted and whose like in another layer is: by name, that
    other. mlx-lm adapts one set of modules in all of the last layers."""
    like: dict[tuple[str, str], str] = {}
    for module in modules:
        if found := _LAYER.fullmatch(module):
            like.setdefault((found[1], found[3]), module)
    wanted = {
        f"{above}{layer}.{inner}": module
        for (above, inner), module in like.items()
        for layer in layers
    }
    return {module: other for module, other in wanted.items() if module not in set(modules)}
