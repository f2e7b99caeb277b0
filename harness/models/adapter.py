"""Checking an adapter against a base model before anything is loaded.

An mlx-lm adapter directory (``adapter_config.json``, ``adapters.safetensors``) and a base ->
nothing, or one error with every mismatch. Only safetensors are read: a pickled adapter (``.npz``,
``.bin``) could run code. Never imports mlx.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.models.resolve import BaseModel
from harness.models.weights import Tensor, check_weights, read_header

CONFIG = "adapter_config.json"
WEIGHTS = "adapters.safetensors"

_PICKLES = (".npz", ".bin", ".pt", ".pth", ".pkl", ".ckpt")
FLOATS = ("F32", "F16", "BF16")

UNFIT = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError),
    *(RecursionError, TypeError, ValueError),
)
"""What mlx-lm raises where a configuration asks for what is not there."""

_LAYER = re.compile(r"\.(\d+)\.")


def adapter_config(folder: Path) -> dict[str, Any]:
    """The ``adapter_config.json`` of ``folder``.

    Raises:
        UserError: the folder, the file or the fields it must have are missing.
    """
    if not folder.is_dir():
        raise UserError(
            f"adapter {str(folder)!r} is not a directory. Give the folder that holds {CONFIG} "
            f"and {WEIGHTS}."
        )
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(
            f"adapter {folder} has no {CONFIG}. mlx-lm writes it beside {WEIGHTS}; copy it from "
            "the folder the adapter was trained into."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a JSON object.")
    method = config.get("fine_tune_type", "lora")
    if method not in ("lora", "dora", "full"):
        raise UserError(
            f"{path}: fine_tune_type is {method!r}. Allowed: lora, dora, full. Adapters of other "
            "tools (PEFT) must be converted first."
        )
    needed = () if method == "full" else ("num_layers", "lora_parameters")
    missing = [key for key in needed if key not in config]
    if missing:
        hint = " It looks like a PEFT adapter, which mlx-lm does not read." * (
            "peft_type" in config
        )
        raise UserError(f"{path} lacks {', '.join(missing)}.{hint}")
    return config


def check_adapter(base: BaseModel, folder: Path) -> dict[str, Any]:
    """The adapter's configuration, after checking that it fits ``base``.

    Raises:
        UserError: a file is missing or damaged, or tensors do not fit: all of them are told, those
            that differ in the number of the layer only on one line.
    """
    config = adapter_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        others = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
        found = f" It holds {', '.join(others)}; only safetensors are read." if others else ""
        raise UserError(f"adapter {folder} has no {WEIGHTS}.{found}")
    held, weights = read_header(path), check_weights(base.id, base.path)
    layers = too_many_layers(config, base)
    faults = _mismatches(held, weights, base.quantization, _rank(config))
    if layers or faults:
        # The list is whole only with what the model would take: it is worth a look at it now.
        from harness.models.adapted import differences

        whole = differences(base, folder, config)
        raise unfit(base, folder, config, [*layers, *(faults if whole is None else whole)])
    return config


def too_many_layers(config: Mapping[str, Any], base: BaseModel) -> list[str]:
    """The fault of an adapter for more layers than the model has, if it is one."""
    layers = config.get("num_layers", -1)
    if isinstance(layers, int) and base.layers and layers > base.layers:
        return [f"it adapts {layers} layers, the model has {base.layers}"]
    return []


def unfit(
    base: BaseModel, folder: Path, config: Mapping[str, Any], faults: Sequence[str]
) -> UserError:
    """The error that tells every fault of an adapter."""
    listed = "\n".join(f"  {line}" for line in _by_layer(faults))
    return UserError(
        f"adapter {folder} does not fit model {base.id!r} ({len(faults)} mismatches):\n{listed}\n"
        f"Use the base it was made for (its {CONFIG} names "
        f"{config.get('model', 'none')!r}), and the {CONFIG} that was written with it."
    )


def _by_layer(faults: Sequence[str]) -> list[str]:
    """The faults, those that differ in their first number only as one line with all numbers."""
    groups: dict[str, list[str]] = {}
    for fault in faults:
        found = _LAYER.search(fault)
        key = _LAYER.sub(".{}.", fault, count=1) if found else fault
        groups.setdefault(key, []).extend([found[1]] if found else [])
    lines = []
    for key, layers in groups.items():
        shown = layers[0] if len(layers) == 1 else "{" + ",".join(sorted(layers, key=int)) + "}"
        lines.append(key.replace(".{}.", f".{shown}.", 1) if layers else key)
    return lines


def _mismatches(
    adapter: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    quantization: Mapping[str, Any] | None,
    rank: int | None,
) -> list[str]:
    """One line for every adapter tensor that has no place, or another size, in the model."""
    faults = []
    for name, tensor in sorted(adapter.items()):
        if tensor.dtype not in FLOATS:
            faults.append(f"{name}: {wrong_type(tensor)}")
            continue
        module, _, leaf = name.rpartition(".")
        if leaf not in ("lora_a", "lora_b", "m"):
            target = weights.get(name)
            if target is not None and target.shape != tensor.shape:
                told = f"{shape_text(tensor.shape)}, model {shape_text(target.shape)}"
                faults.append(f"{name}: {told}")
            elif target is None and _named_alike(name, weights):
                faults.append(f"{name}: the model has no such weight")
            continue
        base = weights.get(f"{module}.weight")
        if base is None:
            if _named_alike(module, weights):
                faults.append(f"{name}: the model has no {module}")
            continue
        outputs, inputs = base.shape[-2:]
        if base.dtype == "U32":
            inputs = inputs * 32 // _bits(module, quantization)
        expected = _expected(leaf, tensor, outputs, inputs, "embed" in module, rank)
        if expected is not None:
            faults.append(f"{name}: {expected}")
    return faults


def _expected(
    leaf: str, tensor: Tensor, outputs: int, inputs: int, embedding: bool, rank: int | None
) -> str | None:
    """What is wrong with a LoRA or DoRA tensor's size, or None. Expert layers are not checked."""
    if len(tensor.shape) != (1 if leaf == "m" else 2):
        return None
    first, last = (outputs, inputs) if embedding else (inputs, outputs)
    wanted = {"lora_a": (first, rank), "lora_b": (rank, last), "m": (outputs,)}[leaf]
    fits = all(w in (None, got) for got, w in zip(tensor.shape, wanted, strict=True))
    return None if fits else f"{shape_text(tensor.shape)}, model {shape_text(wanted)}"


def _rank(config: Mapping[str, Any]) -> int | None:
    """The rank that the configuration promises, if it is a number."""
    settings = config.get("lora_parameters")
    rank = settings.get("rank") if isinstance(settings, Mapping) else None
    return rank if isinstance(rank, int) else None


def _bits(module: str, quantization: Mapping[str, Any] | None) -> int:
    own = (quantization or {}).get(module)
    bits = own.get("bits") if isinstance(own, Mapping) else (quantization or {}).get("bits", 4)
    return int(bits or 4)


def _named_alike(name: str, weights: Mapping[str, Tensor]) -> bool:
    """Whether ``name`` would stand in the file under the same name if the model had it.

    Some architectures rename their weights on loading (``sanitize``); then a name that is absent
    from the file proves nothing, and mlx-lm's own check decides.
    """
    plain = any(re.match(r"model\.layers\.\d+\.", weight) for weight in weights)
    return plain and name.startswith("model.layers.")


def shape_text(shape: Sequence[int | None]) -> str:
    """A shape as people write it: `64x8`; `r` where the rank is not known."""
    return "x".join("r" if size is None else str(size) for size in shape)


def wrong_type(tensor: Tensor) -> str:
    """The fault of a tensor that is no number with a fraction."""
    return f"{tensor.dtype}, allowed are {', '.join(FLOATS)}"
