"""The fast path gives the numbers of the stock path, and leaves parameters and names alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlx.utils import tree_flatten

from harness.backend import backend_name, blas, mx, nn
from harness.disk.cache import Cache
from harness.models.cpu import accelerate as stage
from harness.models.cpu import rule
from harness.models.cpu.accelerate import Acceleration, accelerate
from harness.models.cpu.quantized import Format, blocks, dequantize_bytes, dequantizer, multiplier
from harness.models.cpu.rule import GPU_RULE, Rule, this_rule
from harness.models.embedded.tiny import VOCABULARY, WIDTH
from harness.models.load import load
from harness.models.quantize import QuantizeSpec, quantized
from harness.models.resolve import BaseModel
from tests.rounding import assert_as_exact, in_float64, names_of, paths_apart, rounded

pytestmark = pytest.mark.skipif(backend_name() != "cpu", reason="CPU only: no-op on a GPU")

SPECS = [
    {"bits": 4, "group_size": 64},
    {"bits": 4, "group_size": 32, "embeddings": False},
    {"bits": 8},
    {"bits": 2, "group_size": 32},
    {"bits": 3},
    {"mode": "mxfp4"},
]


def _base(base: BaseModel, cache: Cache, spec: dict[str, Any]) -> BaseModel:
    return quantized(base, QuantizeSpec(**spec), cache)


def _adapted(base: BaseModel) -> nn.Module:
    from mlx_lm.tuner.utils import linear_to_lora_layers

    model = load(base).model
    model.freeze()
    mx.random.seed(3)
    linear_to_lora_layers(model, 16, {"rank": 4, "scale": 20.0, "dropout": 0.0})
    for _, module in model.named_modules():
        if "lora_b" in module:
            module.lora_b = mx.random.normal(module.lora_b.shape) * 0.01
    return model


TOKENS = mx.array(np.random.default_rng(0).integers(0, 256, (3, 24)))


def _loss(model: Any) -> mx.array:
    logits = model(TOKENS[:, :-1])
    return nn.losses.cross_entropy(logits, TOKENS[:, 1:], reduction="mean")


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_loss_and_gradients_are_the_stock_ones(
    shallow: BaseModel, cache: Cache, spec: dict[str, Any]
) -> None:
    base = _base(shallow, cache, spec)
    stock, fast, wide = _adapted(base), _adapted(base), in_float64(_adapted(base))
    chosen = accelerate(fast)
    for model in (stock, fast, wide):
        model.train()
    _, exact = nn.value_and_grad(wide, _loss)(wide)
    expected, expected_gradients = nn.value_and_grad(stock, _loss)(stock)
    got, gradients = nn.value_and_grad(fast, _loss)(fast)
    assert chosen.kernels
    apart = paths_apart(stock, wide, TOKENS, WIDTH) + rounded(TOKENS.size) * expected.item()
    assert abs(got.item() - expected.item()) <= apart
    slopes, stock_slopes = names_of(gradients), names_of(expected_gradients)
    assert slopes.keys() == stock_slopes.keys()
    for name, slope in names_of(exact).items():
        assert_as_exact(slopes[name], stock_slopes[name], slope, VOCABULARY, name=name)


@pytest.mark.parametrize("hold", [True, False])
def test_answers_without_training_are_the_stock_ones(
    shallow: BaseModel, cache: Cache, hold: bool
) -> None:
    base = _base(shallow, cache, SPECS[0])
    stock, fast = load(base).model, load(base).model
    chosen = accelerate(fast, hold=hold)
    assert chosen.generation == ("cached-dequantized" if hold else "packed")
    exact = in_float64(load(base).model)
    for rows in (TOKENS[:1, :1], TOKENS[:1, :2], TOKENS):
        assert_as_exact(fast(rows), stock(rows), exact(rows), WIDTH)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_bytewise_unpacking_equals_mlx_to_the_bit(bits: int) -> None:
    packed, scales, biases = mx.quantize(mx.random.normal((32, 128)), 64, bits)
    form = Format(bits, 64, "affine")
    assert mx.array_equal(
        dequantize_bytes(form, packed, scales, biases),
        mx.dequantize(packed, scales, biases, 64, bits),
    )


def test_blocks_cover_every_row_once() -> None:
    rows, columns = 49152, 576
    parts = blocks(rows, columns)
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert (parts[0].start, parts[-1].stop) == (0, rows)
    assert all((part.stop - part.start) * columns <= 2**18 for part in parts)
    assert blocks(1536, 576) == [slice(0, 1536)]


def test_a_product_in_blocks_is_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = mx.random.normal((50, 64), key=mx.random.key(7))
    packed = mx.quantize(weight, 64, 4)
    x = mx.random.normal((3, 5, 64), key=mx.random.key(8))
    multiply = multiplier(Format(4, 64, "affine"), "bytes")

    def both() -> list[mx.array]:
        gradient = mx.grad(lambda x: (multiply(x, *packed) ** 2).sum())(x)
        return [multiply(x, *packed), gradient]

    whole = both()
    dense, wide = mx.dequantize(*packed, 64, 4).astype(mx.float64), x.astype(mx.float64)
    exact = [wide @ dense.T, 2 * (wide @ dense.T) @ dense]
    monkeypatch.setattr("harness.models.cpu.quantized.BLOCK_WEIGHTS", 7 * 64)
    for expected, got, true in zip(whole, both(), exact, strict=True):
        assert expected.shape == got.shape
        assert_as_exact(got, expected, true, 64)


def test_the_gradient_adds_up_the_products_of_its_blocks_as_they_come() -> None:
    """To the bit as they are added in their order; never is a half of them there at once."""
    rows, columns, tokens = 4096, 2048, 128
    packed = mx.quantize(mx.random.normal((rows, columns), key=mx.random.key(0)), 64, 4)
    cotangent = mx.random.normal((tokens, rows), key=mx.random.key(1))
    multiply = multiplier(Format(4, 64, "affine"), "bytes")
    mx.eval(*packed, cotangent)
    held = mx.get_active_memory()
    mx.reset_peak_memory()
    (slope,) = mx.vjp(lambda x: multiply(x, *packed), [mx.zeros((tokens, columns))], [cotangent])[1]
    mx.eval(slope)
    parts = blocks(rows, columns)
    assert mx.get_peak_memory() - held < slope.nbytes * len(parts) / 2
    dense = mx.dequantize(*packed, 64, 4)
    expected = sum(cotangent[:, part] @ dense[part] for part in parts)
    assert mx.array_equal(slope, expected)


def test_odd_bits_are_left_to_mlx() -> None:
    assert dequantizer(Format(3, 64, "affine")) == "mlx"
    assert dequantizer(Format(4, 32, "mxfp4")) == "mlx"


def test_the_gradient_of_a_packed_product_is_that_of_the_dense_one() -> None:
    weight = mx.random.normal((8, 64), key=mx.random.key(5))
    packed, scales, biases = mx.quantize(weight, 64, 8)
    dense = mx.dequantize(packed, scales, biases, 64, 8)
    x = mx.random.normal((5, 64), key=mx.random.key(6))
    multiply = multiplier(Format(8, 64, "affine"), "bytes")
    got = mx.grad(lambda x: (multiply(x, packed, scales, biases) ** 2).sum())(x)
    wide, plain = x.astype(mx.float64), dense.astype(mx.float64)
    exact = 2 * (wide @ plain.T) @ plain
    assert_as_exact(got, 2 * (x @ dense.T) @ dense, exact, 64)


def test_parameters_and_their_names_do_not_change(shallow: BaseModel, cache: Cache) -> None:
    model = _adapted(_base(shallow, cache, SPECS[0]))
    before = dict(tree_flatten(model.parameters()))
    trainable = [name for name, _ in tree_flatten(model.trainable_parameters())]
    accelerate(model, hold=True)
    after = dict(tree_flatten(model.parameters()))
    assert after.keys() == before.keys()
    assert all(mx.array_equal(before[name], after[name]) for name in before)
    assert [name for name, _ in tree_flatten(model.trainable_parameters())] == trainable


def test_an_adapter_trained_fast_loads_in_stock_mlx_lm(
    shallow: BaseModel, cache: Cache, tmp_path: Path
) -> None:
    from mlx_lm import load as stock_load

    base = _base(shallow, cache, SPECS[0])
    model = _adapted(base)
    accelerate(model)
    mx.save_safetensors(
        str(tmp_path / "adapters.safetensors"), dict(tree_flatten(model.trainable_parameters()))
    )
    settings = {"rank": 4, "scale": 20.0, "dropout": 0.0}
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"fine_tune_type": "lora", "num_layers": 16, "lora_parameters": settings})
    )
    stock, _ = stock_load(str(base.path), adapter_path=str(tmp_path))
    got, expected = model(TOKENS), stock(TOKENS)
    assert_as_exact(got, expected, in_float64(stock)(TOKENS), WIDTH)


def test_the_record_is_json_and_the_same_each_time(shallow: BaseModel, cache: Cache) -> None:
    base = _base(shallow, cache, SPECS[0])
    first = accelerate(load(base).model)
    record = first.to_json()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["rule"] == asdict(this_rule(blas.name))
    rows = {kernel["min_rows"] for kernel in record["kernels"]}
    assert rows == {this_rule(blas.name).bytes_min_rows}
    assert accelerate(load(base).model) == first


def test_float32_copies_are_given_up_when_training_begins(shallow: BaseModel, cache: Cache) -> None:
    model = load(_base(shallow, cache, SPECS[0])).model
    accelerate(model, hold=True)
    layer = model.model.layers[0].mlp.up_proj
    assert layer.dense is not None
    model.train()
    assert layer.dense is None
    model.eval()
    assert layer.dense is None


def test_float32_copies_that_do_not_fit_are_not_made(
    shallow: BaseModel, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule, "COPIES_SHARE", 0.0)
    chosen = accelerate(load(_base(shallow, cache, SPECS[0])).model)
    assert (chosen.generation, chosen.held_bytes) == ("packed", 0)
    assert "may be taken" in chosen.reason


def test_half_precision_is_widened_on_the_cpu(shallow: BaseModel) -> None:
    model = load(shallow).model
    model.set_dtype(mx.float16)
    chosen = accelerate(model)
    assert (chosen.widened, chosen.kernels) == ("float16", ())
    assert {a.dtype for _, a in tree_flatten(model.parameters())} == {mx.float32}


def test_a_float32_model_has_no_kernels_of_packed_weights(shallow: BaseModel) -> None:
    chosen = accelerate(load(shallow).model)
    assert chosen == Acceleration(
        "cpu", this_rule(blas.name), known_modules=True, answering=chosen.answering
    )


def test_on_a_gpu_only_the_loss_is_chunked(
    shallow: BaseModel, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "backend_name", lambda: "metal")
    model = load(_base(shallow, cache, SPECS[0])).model
    assert accelerate(model) == Acceleration("metal", GPU_RULE)
    assert Rule("chunked loss@1", chunked_loss=True) == GPU_RULE
    assert type(model.model.layers[0].mlp.up_proj) is nn.QuantizedLinear
