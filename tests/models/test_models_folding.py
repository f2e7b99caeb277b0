"""Adapters merged into float32 weights: the same logits, the model afterwards as before."""

from __future__ import annotations

from typing import Any

import pytest
from mlx.utils import tree_flatten

from harness.backend import backend_name, mx, nn
from harness.disk.cache import Cache
from harness.models.cpu.accelerate import accelerate
from harness.models.cpu.merged_adapters import merged, merged_bytes
from harness.models.embedded.tiny import WIDTH
from harness.models.load import load
from harness.models.quantize import QuantizeSpec, quantized
from harness.models.resolve import BaseModel
from tests.rounding import assert_as_exact, error, in_float64, reordered

pytestmark = pytest.mark.skipif(backend_name() != "cpu", reason="CPU only")

TOKENS = mx.array([[3, 1, 4, 1, 5, 9, 2, 6]])


def adapted(base: BaseModel, dora: bool = False) -> nn.Module:
    from mlx_lm.tuner.utils import linear_to_lora_layers

    model = load(base).model
    model.freeze()
    mx.random.seed(3)
    settings = {"rank": 4, "scale": 20.0, "dropout": 0.0}
    linear_to_lora_layers(model, 16, settings, use_dora=dora)
    for _, module in model.named_modules():
        if "lora_b" in module:
            module.lora_b = mx.random.normal(module.lora_b.shape) * 0.05
    model.eval()
    return model


def kinds(model: nn.Module) -> set[str]:
    return {type(module).__name__ for _, module in model.named_modules()}


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("bits", [None, 4])
def test_a_merged_model_computes_what_the_adapter_does(
    shallow: BaseModel, cache: Cache, dora: bool, bits: int | None
) -> None:
    base = shallow if bits is None else quantized(shallow, QuantizeSpec(bits=bits), cache)
    model = adapted(base, dora)
    accelerate(model, hold=True)
    expected, before = model(TOKENS), dict(tree_flatten(model.parameters()))
    with merged(model) as count:
        assert count == sum("lora_a" in name for name in before)
        assert not kinds(model) & {"LoRALinear", "DoRALinear"}
        got = model(TOKENS)
    wide = in_float64(adapted(base, dora))
    # A merged weight is rounded once itself, as each of its products is: twice the error.
    exact = wide(TOKENS)
    assert error(got, exact) <= 2 * reordered(expected, exact, WIDTH)
    assert mx.abs(got - load(base).model(TOKENS)).max() > 1e-2 * mx.abs(expected).max()
    after = dict(tree_flatten(model.parameters()))
    assert after.keys() == before.keys()
    assert all(mx.array_equal(before[name], after[name]) for name in before)
    assert mx.array_equal(model(TOKENS), expected)


def test_nothing_is_merged_unless_it_is_enabled(shallow: BaseModel) -> None:
    model = adapted(shallow)
    with merged(model, enabled=False) as count:
        assert count == 0
        assert "LoRALinear" in kinds(model)


def test_packed_weights_without_a_copy_keep_their_adapters(
    shallow: BaseModel, cache: Cache
) -> None:
    model = adapted(quantized(shallow, QuantizeSpec(bits=4), cache))
    chosen = accelerate(model, hold=False)
    assert not chosen.answering.folded
    with merged(model) as count:
        assert count == 0


def test_copies_that_lack_memory_are_not_made(
    shallow: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = adapted(shallow)
    monkeypatch.setattr("harness.models.cpu.rule.COPIES_SHARE", 0.0)
    with merged(model) as count:
        assert count == 0


def test_folding_draws_no_random_numbers(shallow: BaseModel) -> None:
    model = adapted(shallow)
    mx.random.seed(7)
    expected = mx.random.uniform()
    mx.random.seed(7)
    with merged(model):
        assert mx.random.uniform() == expected


def test_the_adapters_come_back_after_an_error(shallow: BaseModel) -> None:
    model = adapted(shallow)
    with pytest.raises(KeyboardInterrupt), merged(model):
        raise KeyboardInterrupt
    assert "LoRALinear" in kinds(model)


def test_a_copy_that_computes_something_else_is_not_used(
    shallow: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlx_lm.tuner.lora import LoRALinear

    model = adapted(shallow)
    stock: Any = LoRALinear.__call__
    monkeypatch.setattr(LoRALinear, "__call__", lambda self, x: 1.01 * stock(self, x))
    with merged(model) as count:
        assert count == 0


def test_a_bias_stays(shallow: BaseModel) -> None:
    from mlx_lm.tuner.lora import LoRALinear

    layer = LoRALinear.from_base(nn.Linear(8, 4, bias=True), r=2)
    layer.lora_b = mx.random.normal(layer.lora_b.shape)
    model = nn.Sequential(layer)
    x = mx.random.normal((3, 8))
    expected = model(x)
    with merged(model) as count:
        assert count == 1
        got = model(x)
    assert_as_exact(got, expected, in_float64(model)(x.astype(mx.float64)), 8)


def test_bytes_are_those_of_each_linear_layer_in_float32(shallow: BaseModel, cache: Cache) -> None:
    plain = load(shallow).model
    layers = [m for _, m in plain.named_modules() if isinstance(m, nn.Linear)]
    assert merged_bytes(plain) == sum(m.weight.nbytes for m in layers) > 0
    packed = load(quantized(shallow, QuantizeSpec(bits=4), cache)).model
    accelerate(packed, hold=False)
    assert merged_bytes(packed) == merged_bytes(plain)
