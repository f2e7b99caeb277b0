"""Parameter counts and predicted sizes of a variant, from the model's configuration alone.

``config.json`` + method, layers, LoRA parameters and quantization -> :class:`Parameters` and
:class:`Sizes`. The model is built with mlx-lm's own classes out of lazy arrays that are never
evaluated, so that a 7-billion-parameter model is counted in seconds and megabytes. Two counts:
``total`` counts logical weights; ``packed_total`` counts stored numbers, as old MLX tools printed
them (eight 4-bit weights in one uint32, plus scales and biases). Both include the adapter.

Not covered: models whose architecture is their own Python code. mlx is imported on use only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from harness.errors import UserError, unknown
from harness.models.adapter import make_trainable
from harness.models.config import ModelConfig
from harness.models.quantize import QuantizeSpec, quantizable
from harness.models.resolve import architecture_of
from harness.schema.variant_result import Parameters, Record, in_bfloat16

METHODS = ("base", "lora", "dora", "full")


class Sizes(Record):
    """Predicted bytes of tensors on disk, without the files' headers."""

    base_bytes: int
    base_bfloat16_bytes: int
    """The base with its floats in bfloat16, as models usually are stored."""
    base_by_dtype: dict[str, int]
    """``base_bytes`` by number format; packed weights are ``uint32``."""
    adapter_bytes: int
    fused_bytes: int


def predict(
    config: Mapping[str, Any],
    fine_tune_type: str = "base",
    num_layers: int = 16,
    lora_parameters: Mapping[str, Any] | None = None,
    quantize: QuantizeSpec | None = None,
) -> tuple[Parameters, Sizes]:
    """Parameters and predicted sizes of a variant of the model that ``config`` describes.

    Args:
        config: the model's ``config.json``; a quantization in it is honoured.
        fine_tune_type: ``base``, ``lora``, ``dora`` or ``full``.
        num_layers: the last N blocks are adapted; -1 is all.
        lora_parameters: ``rank``, ``scale``, ``dropout`` and perhaps ``keys``, as in mlx-lm;
            ``lora`` and ``dora`` need them.
        quantize: quantization of the base before adapting.

    Raises:
        UserError: the architecture or the method is not known, or the combination is impossible.
    """
    if fine_tune_type not in METHODS:
        raise unknown("fine_tune_type", fine_tune_type, METHODS)
    model = _build(config)
    _, logical = _size(model.parameters())
    _quantize(model, config, quantize)
    base_bytes, base_packed = _size(model.parameters())
    base_by_dtype = dict(_bytes_by_dtype(model.parameters()))
    quantized = quantize is not None or ModelConfig(config).mlx_quantization
    if fine_tune_type == "full" and quantized:
        raise UserError(
            "fine_tune_type full needs an unquantized base: packed weights have no gradient. "
            "Allowed with quantize: base, lora, dora."
        )
    make_trainable(model, fine_tune_type, num_layers, lora_parameters)
    adapter_bytes, trainable = _size(model.trainable_parameters())
    _, packed = _size(model.parameters())
    total = logical + packed - base_packed
    counts = Parameters(
        trainable=trainable,
        total=total,
        packed_total=packed,
        per_ten_thousand=1e4 * trainable / total,
        packed_per_ten_thousand=1e4 * trainable / packed,
    )
    sizes = Sizes(
        base_bytes=base_bytes,
        base_bfloat16_bytes=in_bfloat16(base_by_dtype),
        base_by_dtype=base_by_dtype,
        adapter_bytes=adapter_bytes,
        fused_bytes=base_bytes + _fused_growth(model),
    )
    return counts, sizes


def _build(config: Mapping[str, Any]) -> Any:
    """The model with lazy random weights in its configuration's number type."""
    from harness.backend import mx
    from harness.models.reading import UNFIT

    architecture_of("from the configuration", config, trust_remote_code=False)
    from mlx_lm.utils import _get_classes  # mlx-lm's own lookup, aliases included

    try:
        model_class, arguments_class = _get_classes(dict(config))
        model = model_class(arguments_class.from_dict(dict(config)))
    except UNFIT as error:
        raise UserError(
            f"the configuration does not describe a {config['model_type']} model: {error}"
        ) from error
    if (dtype := ModelConfig(config).dtype) in ("float16", "bfloat16"):
        model.set_dtype(getattr(mx, dtype))
    return model


def _quantize(model: Any, config: Mapping[str, Any], spec: QuantizeSpec | None) -> None:
    """Quantize lazily: as the weights are by the configuration, else by ``spec``."""
    from harness.backend import nn

    stored = ModelConfig(config).mlx_quantization
    if stored is not None:
        given = {key: stored[key] for key in ("bits", "group_size", "mode") if key in stored}
        form, embeddings = {"mode": "affine"} | given, True
    elif spec is not None:
        form = spec.model_dump(include={"bits", "group_size", "mode"})
        embeddings, stored = spec.embeddings, {}
    else:
        return
    predicate = quantizable(model, embeddings)

    def as_stored(path: str, module: Any) -> bool | dict[str, Any]:
        if not hasattr(module, "to_quantized"):
            return False
        if path in stored:
            recorded: bool | dict[str, Any] = stored[path]
            return recorded
        if module.weight.shape[-1] % form["group_size"]:
            return False
        return predicate(path, module)

    nn.quantize(model, **form, class_predicate=as_stored)


def _fused_growth(model: Any) -> int:
    """Bytes by which fused DoRA layers exceed the base's: mlx-lm leaves them in float32."""
    from mlx_lm.tuner.dora import DoRALinear

    growth = 0
    for _, module in model.named_modules():
        if isinstance(module, DoRALinear):
            linear = module.linear
            kept = [linear.scales, linear.biases] if "scales" in linear else [linear.weight]
            growth += sum(4 * array.size - array.nbytes for array in kept if array is not None)
    return growth


def _bytes_by_dtype(tree: Any) -> dict[str, int]:
    """Bytes of all arrays in ``tree`` by number format."""
    from mlx.utils import tree_flatten

    found: Counter[str] = Counter()
    for _, array in tree_flatten(tree):
        found[str(array.dtype).rpartition(".")[2]] += array.nbytes
    return found


def _size(tree: Any) -> tuple[int, int]:
    """Bytes and elements of all arrays in ``tree``."""
    from mlx.utils import tree_flatten

    arrays = [array for _, array in tree_flatten(tree)]
    return sum(array.nbytes for array in arrays), sum(array.size for array in arrays)
