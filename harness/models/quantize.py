"""Quantizing a base model, with mlx-lm's own conversion, once per content.

:class:`~harness.models.resolve.BaseModel` and :class:`QuantizeSpec` -> another ``BaseModel`` in
the cache; or the bits of the file that the base was made of, as they are. The specification is
checked here without mlx; mlx is imported only when a model is really converted. Not covered:
learned quantizations (AWQ, DWQ), mixed-bit recipes.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel as Record
from pydantic import ConfigDict, model_validator

from harness.disk.cache import Cache
from harness.disk.files import content_key, require_space
from harness.errors import UserError
from harness.machine.chip import compute_device
from harness.models.config import ModelConfig
from harness.models.resolve import TEXT_FILES, BaseModel, files_in, inspect, no_low_bits
from harness.models.weights import weight_bytes
from harness.progress import ProgressCallback, print_message, silent

Mode = Literal["affine", "mxfp4", "nvfp4", "mxfp8"]

_ALLOWED: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "affine": ((4, 2, 3, 5, 6, 8), (64, 32, 128)),
    "mxfp4": ((4,), (32,)),
    "nvfp4": ((4,), (16,)),
    "mxfp8": ((8,), (32,)),
}
"""Bits and group sizes by mode; mlx-lm's conversion takes the first where none are given."""


class QuantizeSpec(Record):
    """How a base model's weights are quantized."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: int = 0
    """Bits a weight; 0 takes the mode's default."""
    group_size: int = 0
    """Weights that share a scale; 0 takes the mode's default."""
    mode: Mode = "affine"
    """mlx-lm's quantization mode."""
    embeddings: bool = True
    """Whether the token embedding (and an output layer tied to it) is quantized as well."""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        allowed = _ALLOWED.get(str(given.get("mode")), _ALLOWED["affine"])
        fields = zip(("bits", "group_size"), allowed, strict=True)
        return {**given, **{field: given.get(field) or first for field, (first, *_) in fields}}

    @model_validator(mode="after")
    def _allowed(self) -> Self:
        for field, allowed in zip(("bits", "group_size"), _ALLOWED[self.mode], strict=True):
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(f"{field} is {value}. Allowed for {self.mode}: {_list(allowed)}")
        return self


SOURCE: Literal["source"] = "source"
"""Instead of a specification: the bits and groups of the file that the base came from."""
Quantize = QuantizeSpec | Literal["source"]


def quantized(
    base: BaseModel, spec: Quantize | None, cache: Cache, progress: ProgressCallback = silent
) -> BaseModel:
    """``base`` quantized by ``spec``, from the cache or converted now.

    Without a ``spec`` the base itself is returned, and so it is where it already is quantized as
    ``spec`` demands (a 4-bit model from the hub).

    Raises:
        UserError: the base is quantized otherwise, or has no low-bit source, or a layer's width is
            no multiple of the group where a smaller group would do.
    """
    if spec is None:
        return base
    if spec == SOURCE:
        if base.packed is None:
            raise no_low_bits(base.id)
        same = base.packed == base.path
        return base if same else inspect(base.id, base.packed, cache, base.revision, base.trusted)
    if base.quantization is not None:
        require_quantized_so(base.id, base.config, spec)
        return base
    versions = (version("mlx"), version("mlx-lm"))
    # A GPU rounds scales otherwise than a CPU, whose models are float32.
    key = content_key(base.sha256, spec.model_dump(), *versions, compute_device())

    def make(folder: Path) -> None:
        # Of 16-bit weights, half a bit each for scales and biases; of float32 it is less.
        needed = int(weight_bytes(base.path) * (spec.bits + 0.5) / 16)
        remedy = "Use fewer bits (--set quantize.bits=N), or a model that is quantized already"
        require_space(folder, needed, f"model {base.id!r} in {spec.bits} bits", remedy)
        progress(f"quantize {base.id} to {spec.bits} bits", 0, 1)
        _convert(base, spec, folder)
        progress(f"quantize {base.id} to {spec.bits} bits", 1, 1)

    folder = cache.build("quantized", key, make)
    return inspect(base.id, folder, cache, base.revision, base.trusted)


def require_quantized_so(name: str, config: Mapping[str, Any], spec: QuantizeSpec) -> None:
    """Refuse a ``spec`` other than what the base of that ``config.json`` has, if it is quantized.

    Raises:
        UserError: the base's and the demanded bits and groups.
    """
    found = ModelConfig(config).quantization
    if found is None:
        return
    got = (found.get("bits"), found.get("group_size"), found.get("mode", "affine"))
    if got == (spec.bits, spec.group_size, spec.mode):
        return
    found_as = f"bits {got[0]}, group_size {got[1]}, mode {got[2]}"
    raise UserError(
        f"model {name!r} is already quantized ({found_as}); it cannot be quantized to bits "
        f"{spec.bits}, group_size {spec.group_size}, mode {spec.mode}. Use the unquantized model, "
        f"or --set quantize.bits={got[0]} --set quantize.group_size={got[1]}."
    )


def _convert(base: BaseModel, spec: QuantizeSpec, folder: Path) -> None:
    from harness.models.reading import read_model, weights_readable  # isort: skip  (the BLAS first)
    from mlx_lm.utils import quantize_model, save_config, save_model

    model, config = read_model(base)
    refused = _indivisible(model, spec)
    if refused:
        widths = set(refused.values())
        fitting = [g for g in _ALLOWED[spec.mode][1] if not any(w % g for w in widths)]
        fault = (
            f"model {base.id!r}: {len(refused)} layers of width {_list(widths)} cannot be "
            f"quantized in groups of {spec.group_size} (the first is {next(iter(refused))})"
        )
        if fitting:
            raise UserError(f"{fault}. Allowed: {_list(fitting)}.")
        # No group fits them (a state-space model's narrow projections), so they stay as they are.
        print_message(f"tunebench: {fault}, nor in smaller ones: left as they are")
    # mlx-lm prints; standard output may be one JSON object of ours.
    with contextlib.redirect_stdout(sys.stderr):
        model, config = quantize_model(
            model,
            config,
            spec.group_size,
            spec.bits,
            mode=spec.mode,
            quant_predicate=quantizable(model, spec.embeddings),
        )
    with weights_readable(base):
        save_model(folder, model, donate_model=True)
    save_config(config, config_path=folder / "config.json")
    for name, path in files_in(base.path, (*TEXT_FILES, "generation_config.json")).items():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(path, folder / name)


def quantizable(model: Any, embeddings: bool) -> Callable[[str, Any], bool | dict[str, Any]]:
    """Which modules of ``model`` are quantized, as mlx-lm's ``quant_predicate`` answers: all, or
    those the architecture names, with or without its embeddings."""
    from harness.backend import nn

    own = getattr(model, "quant_predicate", None)

    def predicate(path: str, module: Any) -> bool | dict[str, Any]:
        if not embeddings and isinstance(module, nn.Embedding):
            return False
        return own(path, module) if own is not None else True

    return predicate


def _indivisible(model: Any, spec: QuantizeSpec) -> dict[str, int]:
    """Widths of layers that would be quantized but that the group size does not divide; mlx-lm
    silently leaves such layers as they are."""
    from harness.backend import nn

    return {
        path: int(module.weight.shape[-1])
        for path, module in model.named_modules()
        if hasattr(module, "to_quantized")
        and (spec.embeddings or not isinstance(module, nn.Embedding))
        and module.weight.shape[-1] % spec.group_size
    }


def _list(numbers: Any) -> str:
    return ", ".join(map(str, sorted(numbers)))
