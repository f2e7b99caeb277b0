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

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
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


def adapter_config(folder: Path) -> dict[str, Any]:
    """The ``adapter_config.json`` of ``folder``.

    Raises:
        UserError: the folder, the file or the fields it must have are missing.
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
        UserError: a file is missing or damaged, or tensors do not fit: the message lists all of
            them, those that differ only in the number of their layer on one line.
    """
    config = adapter_config(folder)
    held = read_header(adapter_weights(folder))
    weights = check_weights(base.id, base.path)
    layers = _too_many_layers(config, base)
    faults = _mismatches(held, weights, base.quantization, _rank(config))
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
        faults = _differences(base, folder, config)
        if faults:
            raise _unfit(base, folder, config, faults) from error
        raise UserError(f"adapter {folder} does not fit model {base.id!r}: {error}") from error
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
    """Put each module in the place of the one of its name."""
    from mlx.utils import tree_unflatten

    if modules:
        model.update_modules(tree_unflatten(list(modules)))


def _too_many_layers(config: Mapping[str, Any], base: BaseModel) -> list[str]:
    """The fault of an adapter for more layers than the model has, if it is one."""
    layers = config.get("num_layers", -1)
    if isinstance(layers, int) and base.layers and layers > base.layers:
        return [f"it adapts {layers} layers, the model has {base.layers}"]
    return []


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


def _mismatches(
    adapter: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    quantization: Mapping[str, Any] | None,
    rank: int | None,
) -> list[str]:
    """One line for every adapter tensor that has no place, or another size, in the model."""
    faults = []
    for name, tensor in sorted(adapter.items()):
        if tensor.dtype not in _FLOATS:
            faults.append(f"{name}: {_wrong_type(tensor)}")
            continue
        module, _, leaf = name.rpartition(".")
        if leaf not in _LORA_LEAVES:
            target = weights.get(name)
            if target is not None and target.shape != tensor.shape:
                faults.append(f"{name}: {_other_shape(tensor.shape, target.shape)}")
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
    return None if fits else _other_shape(tensor.shape, wanted)


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


def _other_shape(found: Sequence[int], wanted: Sequence[int | None]) -> str:
    """The fault of a tensor of another shape than the model's."""
    return f"{_shape_text(found)}, model {_shape_text(wanted)}"


def _shape_text(shape: Sequence[int | None]) -> str:
    """A shape as people write it: `64x8`; `r` where the rank is not known."""
    return "x".join("r" if size is None else str(size) for size in shape)


def _wrong_type(tensor: Tensor) -> str:
    """The fault of a tensor that is no number with a fraction."""
    return f"{tensor.dtype}, allowed are {', '.join(_FLOATS)}"


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


def _required(model: nn.Module, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
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
    # A fully tuned model may keep more than its last blocks, e.g. its embedding.
    allowed = _shapes(model.parameters()) if config.get("fine_tune_type") == "full" else required
    faults = []
    for name in sorted(required.keys() | held.keys()):
        wanted, got = allowed.get(name), held.get(name)
        if got is None:
            faults.append(f"{name}: missing in {ADAPTER_FILE}")
        elif wanted is None:
            faults.append(f"{name}: the model has no place for it")
        elif got.shape != wanted:
            faults.append(f"{name}: {_other_shape(got.shape, wanted)}")
        elif got.dtype not in _FLOATS:
            faults.append(f"{name}: {_wrong_type(got)}")
    return faults


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    from mlx.utils import tree_flatten

    return {name: tuple(array.shape) for name, array in tree_flatten(tree)}
