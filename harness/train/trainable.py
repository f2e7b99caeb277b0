"""What a variant changes in a model before training, and what it leaves on disk after.

Variant + model in memory -> the same model with mlx-lm's adapter layers (or unfrozen blocks for
``full``), its optimizer, and an adapter folder that ``mlx_lm.generate --adapter-path`` loads.
Follows ``mlx_lm/lora.py: train_model`` (0.32.2) step by step; training itself is ``finetune.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.backend import mx, nn, optim
from harness.disk.files import replacing, write_json
from harness.errors import UserError
from harness.models.adapter import make_trainable
from harness.models.weights import ADAPTER_CONFIG, ADAPTER_FILE
from harness.train.variant import Variant

_OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "muon": optim.Muon,
    "sgd": optim.SGD,
    "adafactor": optim.Adafactor,
}


def apply_variant(model: nn.Module, variant: Variant) -> None:
    """Freeze the base and add what the variant trains; a ``base`` variant only freezes.

    Seeds MLX's generator first, so that adapters start from the same values in every run.

    Raises:
        UserError: ``lora_parameters.keys`` match no layer, or ``resume_adapter_file`` does not fit.
    """
    mx.random.seed(variant.seed)
    parameters = variant.lora_parameters.model_dump()
    try:
        make_trainable(model, variant.fine_tune_type, variant.num_layers, parameters)
    except ValueError as error:  # a kind of layer that has no such adapter, e.g. experts
        raise UserError(
            f"variant {variant.name!r} does not suit this model: {error} Use fine_tune_type: "
            f"lora, or name plain layers in lora_parameters.keys ({_linear(model)})."
        ) from error
    if not variant.trains:
        return
    keys = variant.lora_parameters.keys or ()
    blocks = model.layers[-max(variant.num_layers, 0) :]
    known = {name for part in (model, *blocks) for name, _ in part.named_modules()}
    absent = [key for key in keys if key not in known and variant.fine_tune_type != "full"]
    if absent or not trainable(model):
        named = ", ".join(absent or keys or ("(all linear layers)",))
        raise UserError(
            f"variant {variant.name!r}: lora_parameters.keys {named} match no layer of "
            f"this model. Its blocks hold: {_linear(model)}."
        )
    if variant.resume_adapter_file is not None:
        _start_from(model, Path(variant.resume_adapter_file))
    mx.eval(model.parameters())


def trainable(model: nn.Module) -> dict[str, mx.array]:
    """Name -> array of everything the optimizer updates; that is the adapter."""
    from mlx.utils import tree_flatten

    return dict(tree_flatten(model.trainable_parameters()))


def _linear(model: nn.Module) -> str:
    names = {
        name
        for block in model.layers
        for name, module in block.named_modules()
        if isinstance(module, (nn.Linear, nn.QuantizedLinear))
    }
    return ", ".join(sorted(names))


def _start_from(model: nn.Module, path: Path) -> None:
    """Load ``resume_adapter_file`` into the adapter layers, naming every mismatch at once."""
    weights: dict[str, mx.array] = mx.load(str(path))  # type: ignore[assignment]
    known = trainable(model)
    faults = [
        f"{name}: {'not trained by this variant' if name not in known else tuple(array.shape)}"
        for name, array in sorted(weights.items())
        if name not in known or known[name].shape != array.shape
    ]
    faults += [f"{name}: missing" for name in sorted(set(known) - set(weights))]
    if faults:
        raise UserError(
            f"resume_adapter_file {path} does not fit this model and variant "
            f"({len(faults)} tensors): {'; '.join(faults)}."
        )
    model.load_weights(list(weights.items()), strict=False)


def build_optimizer(variant: Variant, model: nn.Module) -> Any:
    """The optimizer as ``mlx_lm.lora`` builds it, its state made for the model's trainables."""
    from mlx_lm.tuner.utils import build_schedule

    rate: Any = variant.learning_rate
    if variant.lr_schedule is not None:
        rate = build_schedule(variant.lr_schedule.model_dump())
    options = variant.optimizer_config.get(variant.optimizer, {})
    try:
        optimizer = _OPTIMIZERS[variant.optimizer](learning_rate=rate, **options)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"variant {variant.name!r}: optimizer_config.{variant.optimizer} {options}: {error}"
        ) from error
    optimizer.init(model.trainable_parameters())
    return optimizer


def save_adapter(model: nn.Module, variant: Variant, base: str, folder: Path) -> None:
    """Write the adapter files into ``folder`` (atomically each, the configuration last)."""
    save_arrays(folder / ADAPTER_FILE, trainable(model))
    # `quantize` is ours: which base the adapter fits, since mlx-lm writes only the model's name.
    quantize = variant.config()["quantize"]
    config = variant.mlx_lm_config() | {"model": base, "quantize": quantize}
    if variant.fine_tune_type == "full":
        config["lora_parameters"] = None
    write_json(folder / ADAPTER_CONFIG, config)


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed training was writing; the caller holds the training's lock."""
    for file in folder.rglob(".*"):
        if file.is_file():
            file.unlink()


def save_arrays(
    path: Path, arrays: dict[str, mx.array], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file, whole or absent.

    Raises:
        UserError: the folder cannot be written or the disk is full; an older file stays as it was.
    """
    # mx.save_safetensors insists on the suffix.
    with replacing(path, suffix=".safetensors") as temporary:
        try:
            mx.save_safetensors(str(temporary), arrays, metadata or {})
        except RuntimeError as error:
            raise UserError(f"cannot write {path}: {error}") from error
