"""A base with an adapter applied as mlx-lm does it, or every reason why that cannot be.

Model + adapter folder -> the model with the adapter's weights. What the configuration makes of the
model is held against what the file holds: missing, unknown, of another shape or number type, all
told at once. mlx-lm tells the first two kinds apart from the last and leaves layers whose tensors
are missing as they are, in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.backend import nn
from harness.errors import UserError
from harness.models.adapter import (
    FLOATS,
    UNFIT,
    WEIGHTS,
    shape_text,
    too_many_layers,
    unfit,
    wrong_type,
)
from harness.models.resolve import BaseModel
from harness.models.weights import read_header

_LEAVES = ("lora_a", "lora_b", "m")


def apply_adapter(
    model: nn.Module, base: BaseModel, folder: Path, config: Mapping[str, Any]
) -> nn.Module:
    """``model`` with the adapter in ``folder`` on it, not yet evaluated.

    Raises:
        UserError: it does not fit; every difference.
    """
    from mlx_lm.tuner.utils import load_adapters

    try:
        model = load_adapters(model, str(folder))
    except UNFIT as error:
        faults = differences(base, folder, config)
        if faults:
            raise unfit(base, folder, config, faults) from error
        raise UserError(f"adapter {folder} does not fit model {base.id!r}: {error}") from error
    faults = _compared(model, config, folder)
    if faults:
        raise unfit(base, folder, config, faults)
    return model


def differences(base: BaseModel, folder: Path, config: Mapping[str, Any]) -> list[str] | None:
    """Every difference between an adapter's tensors and those that its configuration makes of
    ``base``; None where mlx-lm cannot make them. Weights are not read."""
    from harness.models.load import read_model

    try:
        model, _ = read_model(base)
        if too_many_layers(config, base):
            config = {**config, "num_layers": base.layers}
        _convert(model, config)
        return _compared(model, config, folder)
    except (UserError, *UNFIT):
        return None


def _convert(model: nn.Module, config: Mapping[str, Any]) -> None:
    from mlx_lm.tuner.utils import linear_to_lora_layers

    method = config.get("fine_tune_type", "lora")
    if method != "full":
        settings, layers = config["lora_parameters"], config["num_layers"]
        linear_to_lora_layers(model, layers, settings, use_dora=method == "dora")


def _taken(model: nn.Module, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that an adapter for ``model``, already converted, must hold."""
    if config.get("fine_tune_type", "lora") != "full":
        shapes = _shapes(model.parameters())
        return {n: s for n, s in shapes.items() if n.rsplit(".", 1)[-1] in _LEAVES}
    layers = config.get("num_layers")
    if not isinstance(layers, int):
        return {}
    # mlx-lm trains whole blocks, and saves all of each.
    model.freeze()
    for block in model.layers[-max(layers, 0) :]:
        block.unfreeze()
    return _shapes(model.trainable_parameters())


def _compared(model: nn.Module, config: Mapping[str, Any], folder: Path) -> list[str]:
    """One line a difference between a model, already converted, and an adapter's file."""
    held, taken = read_header(folder / WEIGHTS), _taken(model, config)
    # A fully tuned model may keep more than its last blocks, e.g. its embedding.
    allowed = _shapes(model.parameters()) if config.get("fine_tune_type") == "full" else taken
    faults = []
    for name in sorted(taken.keys() | held.keys()):
        wanted, got = allowed.get(name), held.get(name)
        if got is None:
            faults.append(f"{name}: missing in {WEIGHTS}")
        elif wanted is None:
            faults.append(f"{name}: the model has no place for it")
        elif got.shape != wanted:
            faults.append(f"{name}: {shape_text(got.shape)}, model {shape_text(wanted)}")
        elif got.dtype not in FLOATS:
            faults.append(f"{name}: {wrong_type(got)}")
    return faults


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    from mlx.utils import tree_flatten

    return {name: tuple(array.shape) for name, array in tree_flatten(tree)}
