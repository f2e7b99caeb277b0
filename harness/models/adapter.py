"""An adapter on a base model: whether it fits, and the model with it.

An mlx-lm adapter folder (``adapter_config.json``, ``adapters.safetensors``) and a base -> the
adapter's configuration, or one error with every mismatch (:func:`check_adapter`, from file headers
alone); a model in memory -> the same with the adapter's weights (:func:`apply_adapter`). What the
configuration makes of the model is compared with what the file holds: tensors that are missing, not
known, or of another shape or number type. mlx-lm reports the first two kinds apart from the last,
and silently leaves layers whose tensors are missing as they are. Only safetensors are read: a
pickled adapter (``.npz``, ``.bin``) could run code.

mlx is imported on use only: to apply an adapter, to make a model trainable, and to complete the
list of faults of an adapter that does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.models import peft
from harness.models.config import read_object
from harness.models.resolve import BaseModel
from harness.models.weights import (
    ADAPTER_CONFIG,
    ADAPTER_FILE,
    Tensor,
    check_weights,
    read_header,
)

if TYPE_CHECKING:
    from harness.backend import nn

_PICKLES = (".npz", ".bin", ".pt", ".pth", ".pkl", ".ckpt")
_FLOATS = ("F32", "F16", "BF16")
_LORA_LEAVES = ("lora_a", "lora_b", "m")
_LAYER = re.compile(r"\.(\d+)\.")

_Shape = tuple[int | None, ...]


def adapter_config(folder: Path) -> dict[str, Any]:
    """The ``adapter_config.json`` of ``folder``; that of a PEFT adapter in mlx-lm's keys.

    Raises:
        UserError: the folder, the file or the fields it must have are missing; or the adapter is
            PEFT's and cannot be one of mlx-lm's.
    """
    if not folder.is_dir():
        raise UserError(
            f"adapter {str(folder)!r} is not a directory. Give the folder that holds "
            f"{ADAPTER_CONFIG} and {ADAPTER_FILE}."
        )
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        raise UserError(
            f"adapter {folder} has no {ADAPTER_CONFIG}. mlx-lm writes it beside {ADAPTER_FILE}; "
            "copy it from the folder the adapter was trained into."
        )
    config = read_object(path)
    if "peft_type" in config:
        return peft.as_mlx_lm(folder, config)
    method = config.get("fine_tune_type", "lora")
    if method not in ("lora", "dora", "full"):
        raise UserError(f"{path}: fine_tune_type is {method!r}. Allowed: lora, dora, full.")
    needed = () if method == "full" else ("num_layers", "lora_parameters")
    missing = [key for key in needed if key not in config]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}.")
    parameters = config.get("lora_parameters") if needed else None
    if not isinstance(parameters, Mapping):
        return config
    for name in ("scale", "dropout", "rank"):
        if name not in parameters:
            raise UserError(f"{path} lacks lora_parameters.{name}.")
        if type(value := parameters[name]) not in (int, float):
            raise UserError(f"{path}: lora_parameters.{name} must be a number, got {value!r:.60}.")
    return config


def check_adapter(base: BaseModel, folder: Path) -> dict[str, Any]:
    """The adapter's configuration, after checking that it fits ``base``.

    Raises:
        UserError: a file is missing or damaged, or tensors do not fit: the message lists all of
            them, those that differ only in the number of their layer on one line.
    """
    config = adapter_config(folder)
    held = read_header(adapter_weights(folder))
    weights = check_weights(base.id, base.path)
    layers = [*_too_many_layers(config, base), *_other_layers(config, base, held)]
    faults = _faults(held, _shapes_in_file(held, weights, base, config))
    if layers or faults:
        # Only the model itself shows every fault, and the command ends here: build it now.
        whole = _differences(base, folder, config)
        raise _unfit(base, folder, config, [*layers, *(faults if whole is None else whole)])
    return config


def adapter_weights(folder: Path) -> Path:
    """The file of weights in an adapter's folder.

    Raises:
        UserError: there is none.
    """
    path = folder / ADAPTER_FILE
    if not path.is_file():
        others = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
        found = f" It holds {', '.join(others)}; only safetensors are read." if others else ""
        if saved := sorted(path.name for path in folder.glob(f"[0-9]*_{ADAPTER_FILE}")):
            found = (
                f" It holds the checkpoints {', '.join(saved)}: copy one of them, named "
                f"{ADAPTER_FILE}, and {ADAPTER_CONFIG} into a folder of its own."
            )
        raise UserError(f"adapter {folder} has no {ADAPTER_FILE}.{found}")
    return path


def apply_adapter(
    model: nn.Module, base: BaseModel, folder: Path, config: Mapping[str, Any]
) -> nn.Module:
    """``model`` with the adapter in ``folder`` on it, not yet evaluated.

    Raises:
        UserError: it does not fit; every difference.
    """
    from mlx_lm.tuner.utils import load_adapters

    from harness.models.reading import UNFIT

    try:
        model = load_adapters(model, str(folder))
    except UNFIT as error:
        faults = _differences(base, folder, config) or [str(error)]
        raise _unfit(base, folder, config, faults) from error
    faults = _compare(model, config, folder)
    if faults:
        raise _unfit(base, folder, config, faults)
    return model


def make_trainable(
    model: nn.Module, method: str, num_layers: int, lora_parameters: Mapping[str, Any] | None
) -> None:
    """Freeze ``model`` but for what ``method`` trains, as ``mlx_lm/lora.py`` does.

    Args:
        model: an mlx-lm model, changed in place.
        method: ``base`` (nothing), ``lora`` or ``dora`` (adapter layers are put in), ``full``.
        num_layers: the last N blocks; -1 is all.
        lora_parameters: ``rank``, ``scale``, ``dropout`` and perhaps ``keys``, of an adapter.
    """
    from mlx_lm.tuner.utils import linear_to_lora_layers

    model.freeze()
    if method == "full":
        for block in model.layers[-max(num_layers, 0) :]:
            block.unfreeze()
    elif method != "base":
        linear_to_lora_layers(model, num_layers, lora_parameters, use_dora=method == "dora")


def replace_modules(model: nn.Module, modules: Sequence[tuple[str, nn.Module]]) -> None:
    """Replace the modules of ``model`` with these names by these modules."""
    from mlx.utils import tree_unflatten

    if modules:
        model.update_modules(tree_unflatten(list(modules)))


def _too_many_layers(config: Mapping[str, Any], base: BaseModel) -> list[str]:
    """The fault of an adapter for more layers than the model has, if it is one."""
    layers = config.get("num_layers", -1)
    if isinstance(layers, int) and base.layers and layers > base.layers:
        return [f"it adapts {layers} layers, the model has {base.layers}"]
    return []


def _other_layers(
    config: Mapping[str, Any], base: BaseModel, held: Mapping[str, Tensor]
) -> list[str]:
    """The fault of an adapter whose file holds layers below the last that it is said to adapt."""
    layers = config.get("num_layers", -1)
    if not isinstance(layers, int) or layers < 0 or config.get("fine_tune_type") == "full":
        return []
    lowest = min((int(found[1]) for found in map(_LAYER.search, held) if found), default=layers)
    first = base.layers - layers
    return [f"it adapts layers from {first} on, and holds layer {lowest}"] if lowest < first else []


def _unfit(
    base: BaseModel, folder: Path, config: Mapping[str, Any], faults: Sequence[str]
) -> UserError:
    """The error that lists every fault of an adapter."""
    listed = "\n".join(f"  {line}" for line in _by_layer(faults))
    return UserError(
        f"adapter {folder} does not fit model {base.id!r} ({len(faults)} mismatches):\n{listed}\n"
        f"Use the base it was made for (its {ADAPTER_CONFIG} names "
        f"{config.get('model', 'none')!r}), and the {ADAPTER_CONFIG} that was written with it."
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


def _shapes_in_file(
    held: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    base: BaseModel,
    config: Mapping[str, Any],
) -> dict[str, _Shape | None]:
    """The shapes that the adapter's tensors ``held`` must have by ``weights``, the model's files.

    None where the model has no place for a tensor; its own shape where the files do not show one.
    Some architectures rename their weights on loading (``sanitize``); then a name that is absent
    from the files proves nothing, and mlx-lm's own check decides.
    """
    plain = any(re.match(r"model\.layers\.\d+\.", weight) for weight in weights)
    settings, packing = config.get("lora_parameters"), base.quantization or {}
    rank = settings.get("rank") if isinstance(settings, Mapping) else None
    rank = rank if isinstance(rank, int) else None
    wanted: dict[str, _Shape | None] = {}
    for name, tensor in held.items():
        module, _, leaf = name.rpartition(".")
        weight = weights.get(f"{module}.weight" if leaf in _LORA_LEAVES else name)
        if weight is None:
            absent = plain and name.startswith("model.layers.")
            wanted[name] = None if absent else tensor.shape
            continue
        wanted[name] = weight.shape
        if leaf in _LORA_LEAVES:
            outputs, inputs = weight.shape[-2:]
            if weight.dtype == "U32":
                own = packing.get(module)
                bits = (own if isinstance(own, Mapping) else packing).get("bits") or 4
                inputs = inputs * 32 // int(bits)
            first, last = (outputs, inputs) if "embed" in module else (inputs, outputs)
            shape = {"lora_a": (first, rank), "lora_b": (rank, last), "m": (outputs,)}[leaf]
            # Layers of experts have one more axis, and are not checked here.
            wanted[name] = shape if len(shape) == len(tensor.shape) else tensor.shape
    return wanted


def _faults(held: Mapping[str, Tensor], wanted: Mapping[str, _Shape | None]) -> list[str]:
    """One line for each tensor that an adapter lacks, or that does not fit the model.

    Args:
        held: the adapter's tensors.
        wanted: shapes by name; None where the model has no place for the tensor.
    """
    faults = []
    for name in sorted(wanted.keys() | held.keys()):
        shape, tensor = wanted.get(name), held.get(name)
        if tensor is None:
            faults.append(f"{name}: missing in {ADAPTER_FILE}")
        elif shape is None:
            faults.append(f"{name}: the model has no place for it")
        elif len(shape) != len(tensor.shape) or any(
            size not in (None, own) for size, own in zip(shape, tensor.shape, strict=True)
        ):
            faults.append(f"{name}: {_shape_text(tensor.shape)}, model {_shape_text(shape)}")
        elif tensor.dtype not in _FLOATS:
            faults.append(f"{name}: {tensor.dtype}, allowed are {', '.join(_FLOATS)}")
    return faults


def _shape_text(shape: _Shape) -> str:
    """A shape as people write it: `64x8`; `r` where the rank is not known."""
    return "x".join("r" if size is None else str(size) for size in shape)


def _differences(base: BaseModel, folder: Path, config: Mapping[str, Any]) -> list[str] | None:
    """Every difference between an adapter's tensors and those that its configuration makes of
    ``base``; None where mlx-lm cannot make them. Weights are not read."""
    from harness.models.reading import UNFIT, read_model

    try:
        model, _ = read_model(base)
        if _too_many_layers(config, base):
            config = {**config, "num_layers": base.layers}
        if (method := config.get("fine_tune_type", "lora")) != "full":
            make_trainable(model, method, config["num_layers"], config["lora_parameters"])
        return _compare(model, config, folder)
    except (UserError, *UNFIT):
        return None


def _required(model: nn.Module, config: Mapping[str, Any]) -> dict[str, _Shape]:
    """Shapes of the tensors that an adapter for ``model``, already converted, must hold."""
    if config.get("fine_tune_type", "lora") != "full":
        shapes = _shapes(model.parameters())
        return {n: s for n, s in shapes.items() if n.rsplit(".", 1)[-1] in _LORA_LEAVES}
    layers = config.get("num_layers")
    if not isinstance(layers, int):
        return {}
    make_trainable(model, "full", layers, None)  # mlx-lm saves all of each block
    return _shapes(model.trainable_parameters())


def _compare(model: nn.Module, config: Mapping[str, Any], folder: Path) -> list[str]:
    """One line a difference between a model, already converted, and an adapter's file."""
    held, required = read_header(folder / ADAPTER_FILE), _required(model, config)
    if config.get("fine_tune_type") != "full":
        return _faults(held, required)
    # A fully tuned model may keep more than its last blocks, e.g. its embedding.
    possible = _shapes(model.parameters())
    return _faults(held, required | {n: s for n, s in possible.items() if n in held})


def _shapes(tree: Any) -> dict[str, _Shape]:
    from mlx.utils import tree_flatten

    return {name: tuple(array.shape) for name, array in tree_flatten(tree)}
