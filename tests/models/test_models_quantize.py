"""Quantization is mlx-lm's own, done once, and refused where it would be half done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.backend import mx, nn
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.models.load import load
from harness.models.parameters import predict
from harness.models.quantize import QuantizeSpec, quantized
from harness.models.resolve import BaseModel, inspect


def test_no_specification_leaves_the_base_alone(tiny: BaseModel, cache: Cache) -> None:
    assert quantized(tiny, None, cache) is tiny


@pytest.mark.parametrize(("mode", "expected"), [("affine", (4, 64)), ("mxfp8", (8, 32))])
def test_defaults_are_those_of_the_mode(mode: Any, expected: tuple[int, int]) -> None:
    spec = QuantizeSpec(mode=mode)
    assert (spec.bits, spec.group_size) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bits": 7}, "bits is 7. Allowed for affine: 2, 3, 4, 5, 6, 8"),
        ({"group_size": 48}, "group_size is 48. Allowed for affine: 32, 64, 128"),
        ({"mode": "mxfp4", "bits": 8}, "bits is 8. Allowed for mxfp4: 4"),
        ({"bit": 4}, "Extra inputs"),
    ],
)
def test_what_mlx_cannot_pack_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        QuantizeSpec(**given)


@pytest.mark.parametrize("group_size", [32, 64])
@pytest.mark.parametrize("bits", [4, 8])
def test_packed_weights_are_those_of_mlx(
    tiny: BaseModel, cache: Cache, bits: int, group_size: int
) -> None:
    made = load(quantized(tiny, QuantizeSpec(bits=bits, group_size=group_size), cache)).model
    layer = made.model.layers[3].mlp.up_proj
    original = load(tiny).model.model.layers[3].mlp.up_proj.weight
    packed, scales, biases = mx.quantize(original, group_size, bits)
    assert isinstance(layer, nn.QuantizedLinear)
    assert mx.array_equal(layer.weight, packed)
    assert mx.array_equal(layer.scales, scales)
    assert mx.array_equal(layer.biases, biases)


def test_embeddings_false_leaves_the_embedding_and_the_tied_output(
    tiny: BaseModel, cache: Cache
) -> None:
    made = quantized(tiny, QuantizeSpec(embeddings=False), cache)
    model = load(made).model
    assert isinstance(model.model.embed_tokens, nn.Embedding)
    assert isinstance(model.model.layers[0].self_attn.q_proj, nn.QuantizedLinear)
    assert made.config["quantization"]["model.embed_tokens"] is False


@pytest.mark.parametrize("embeddings", [True, False])
def test_a_quantized_base_is_counted_as_its_specification(
    tiny: BaseModel, cache: Cache, embeddings: bool
) -> None:
    spec = QuantizeSpec(embeddings=embeddings)
    made = quantized(tiny, spec, cache)
    assert predict(made.config)[0] == predict(tiny.config, quantize=spec)[0]
    from mlx.utils import tree_flatten

    stored = sum(a.size for _, a in tree_flatten(load(made).model.parameters()))
    assert predict(made.config)[0].packed_total == stored


def test_the_conversion_is_done_once_and_keeps_the_tokenizer(
    tiny: BaseModel, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = quantized(tiny, QuantizeSpec(), cache)
    monkeypatch.setattr("harness.models.quantize._convert", None)
    assert quantized(tiny, QuantizeSpec(), cache) == first
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (first.path / name).read_bytes() == (tiny.path / name).read_bytes()


def test_a_base_that_already_is_so_is_used_as_it_is(tiny: BaseModel, cache: Cache) -> None:
    base = quantized(tiny, QuantizeSpec(), cache)
    assert quantized(base, QuantizeSpec(), cache) is base
    with pytest.raises(UserError, match=r"already quantized \(bits 4.*--set quantize.bits=4"):
        quantized(base, QuantizeSpec(bits=8), cache)


def test_a_group_that_does_not_divide_the_width_is_refused(tiny: BaseModel, cache: Cache) -> None:
    with pytest.raises(UserError, match=r"width 64 .* groups of 128 .*Allowed: 32, 64"):
        quantized(tiny, QuantizeSpec(group_size=128), cache)


def test_layers_that_no_group_fits_are_named_also_from_a_model_process(
    tiny: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model process passes messages on to its parent; what it prints stays in its log."""
    sent: list[str] = []
    monkeypatch.setattr("harness.progress._receivers", [sent.append])
    monkeypatch.setattr("harness.models.quantize._indivisible", lambda *_: {"narrow": 24})
    quantized(tiny, QuantizeSpec(), Cache(tmp_path))  # the message belongs to the making
    assert [m for m in sent if "1 layers of width 24" in m and "left as they are" in m]


def test_a_half_precision_base_is_quantized_from_its_own_numbers(copy: Path, cache: Cache) -> None:
    weights = mx.load(str(copy / "model.safetensors"))
    halves = {name: array.astype(mx.float16) for name, array in weights.items()}
    mx.save_safetensors(str(copy / "model.safetensors"), halves, metadata={"format": "mlx"})
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "torch_dtype": "float16"}))
    base = inspect("half", copy, cache, None)
    made = load(quantized(base, QuantizeSpec(), cache)).model
    assert made.model.layers[0].mlp.up_proj.scales.dtype == mx.float16
    assert replace(base, id="other").sha256 == base.sha256
    assert np.isfinite(np.array(made(mx.array([[1, 2, 3]])))).all()
