"""The vectorized exponential gives MLX's numbers, both ways, and only where it is known."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pytest
from mlx.utils import tree_flatten

from harness.backend import backend_name, mx, nn
from harness.models.cpu import llama as stage
from harness.models.cpu.accelerate import Acceleration, accelerate
from harness.models.cpu.llama import Timing, VectorExp
from harness.models.cpu.vector_exp import attention, exponential, softmax, swiglu
from harness.models.load import load
from harness.models.resolve import BaseModel

pytestmark = pytest.mark.skipif(backend_name() != "cpu", reason="CPU only: no-op on a GPU")

NAN, INF = float("nan"), float("inf")
ALWAYS = VectorExp(0, 0, 0)
NEVER = VectorExp(None, None, None)
TOKENS = mx.array(np.random.default_rng(0).integers(0, 256, (3, 24)))


def _normal(*shape: int, seed: int = 0) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed))


def test_exp_is_right_to_a_millionth_of_its_value() -> None:
    x = np.linspace(-87.3, 88, 200_001, dtype=np.float32)
    got = np.array(exponential(mx.array(x)), np.float64)
    assert np.max(np.abs(got / np.exp(x.astype(np.float64)) - 1)) < 1e-6


def test_exp_of_what_is_no_ordinary_number() -> None:
    got = np.array(exponential(mx.array([NAN, -INF, -1e30, -89.0, 0.0, 89.0, INF])))
    assert np.isnan(got[0])
    assert got[1:5].tolist() == [0, 0, 0, 1]
    assert np.all(got[5:] > 1e38)


def test_swiglu_and_its_gradients_are_the_stock_ones() -> None:
    gate, up = _normal(7, 33) * 20, _normal(7, 33, seed=1)

    def stock(gate: mx.array, up: mx.array) -> mx.array:
        return nn.silu(gate) * up

    assert mx.allclose(swiglu(gate, up), stock(gate, up), rtol=1e-5, atol=1e-6)
    for expected, got in zip(
        *(
            mx.grad(lambda g, u, f=f: (f(g, u) ** 2).sum(), argnums=(0, 1))(gate, up)
            for f in (stock, swiglu)
        ),
        strict=True,
    ):
        assert mx.allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_swiglu_far_from_zero_and_of_nan() -> None:
    gate, one = mx.array([-500.0, -100.0, 500.0, NAN]), mx.ones(4)
    got = np.array(swiglu(gate, one))
    gradient = np.array(mx.grad(lambda g: swiglu(g, one)[:3].sum())(gate))
    assert np.abs(got[:2]).max() < 1e-30
    assert got[2] == 500
    assert np.isnan(got[3])
    assert gradient[:3] == pytest.approx([0, 0, 1], abs=1e-6)


def test_softmax_and_its_gradient_are_the_stock_ones() -> None:
    scores, weights = _normal(4, 5, 60) * 30, _normal(4, 5, 60, seed=2)
    assert mx.allclose(softmax(scores), mx.softmax(scores, axis=-1), rtol=1e-5, atol=1e-7)
    expected = mx.grad(lambda s: (mx.softmax(s, axis=-1) * weights).sum())(scores)
    got = mx.grad(lambda s: (softmax(s) * weights).sum())(scores)
    assert mx.allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_masked_scores_weigh_nothing_at_all() -> None:
    assert softmax(mx.array([[0.0, -INF, -3e38, -200.0]])).tolist() == [[1, 0, 0, 0]]
    assert np.all(np.isnan(np.array(softmax(mx.array([[0.0, NAN]])))))


LEFT_PADDED = (mx.arange(9)[:, None] >= mx.arange(9)) & (mx.arange(9) >= 3)


@pytest.mark.parametrize(
    "mask",
    [
        None,
        "causal",
        LEFT_PADDED,
        mx.broadcast_to(LEFT_PADDED, (2, 1, 9, 9)),
        mx.where(LEFT_PADDED, 0.0, -1e9),
        mx.broadcast_to(mx.where(LEFT_PADDED, 0.0, -1e9), (2, 6, 9, 9)),
        mx.array([[[[True] * 8 + [False]]]] * 2),
    ],
    ids=["none", "causal", "rows masked whole", "a row's own", "additive", "a head's own", "keys"],
)
@pytest.mark.parametrize("softmax_min", [None, 0])
def test_attention_and_its_gradients_are_the_stock_ones(mask: Any, softmax_min: int | None) -> None:
    inputs = _normal(2, 6, 9, 16), _normal(2, 3, 9, 16, seed=1), _normal(2, 3, 9, 16, seed=2)

    def stock(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        result: mx.array = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.25, mask=mask)
        return result

    def ours(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return attention(q, k, v, 0.25, mask, softmax_min)

    assert mx.allclose(ours(*inputs), stock(*inputs), rtol=1e-4, atol=1e-6)
    # The first three queries are masked whole in some: nothing may be learned from those.
    gradients = (
        mx.grad(lambda *a, f=f: (f(*a)[:, :, 3:] ** 2).sum(), (0, 1, 2))(*inputs)
        for f in (stock, ours)
    )
    for expected, got in zip(*gradients, strict=True):
        assert mx.allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("length", "span"), [(65, 65), (200, 200), (500, 517)])
def test_causal_attention_in_blocks_is_the_stock_one(length: int, span: int) -> None:
    inputs = _normal(2, 6, length, 16), _normal(2, 3, span, 16, seed=1), _normal(2, 3, span, 16)

    def stock(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        last = mx.arange(span - length, span).reshape(-1, 1)
        mask = last >= mx.arange(span)
        result: mx.array = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.25, mask=mask)
        return result

    def ours(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return attention(q, k, v, 0.25, "causal", 0)

    assert mx.allclose(ours(*inputs), stock(*inputs), rtol=1e-4, atol=1e-5)
    gradients = (
        mx.grad(lambda *a, f=f: (f(*a) ** 2).sum(), (0, 1, 2))(*inputs) for f in (stock, ours)
    )
    for expected, got in zip(*gradients, strict=True):
        assert mx.allclose(got, expected, rtol=1e-4, atol=1e-4)


def _loss(model: Any) -> mx.array:
    logits = model(TOKENS[:, :-1])
    return nn.losses.cross_entropy(logits, TOKENS[:, 1:], reduction="mean")


@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_s_loss_and_gradients_are_the_stock_ones(tiny: BaseModel, compiled: bool) -> None:
    found = []
    for choice in (NEVER, ALWAYS):
        model = load(tiny).model
        accelerate(model, Acceleration("cpu", exponential=choice))
        model.train()
        step: Any = partial(nn.value_and_grad(model, _loss), model)
        if compiled:
            step = mx.compile(step, inputs=model.state)
        found.append(step())
    (expected, expected_gradients), (got, gradients) = found
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)
    for (name, a), (other, b) in zip(
        tree_flatten(expected_gradients), tree_flatten(gradients), strict=True
    ):
        assert name == other
        assert float(mx.abs(a - b).max()) / (float(mx.abs(a).max()) + 1e-12) < 1e-3, name


def test_decoding_with_caches_gives_the_stock_logits(tiny: BaseModel) -> None:
    from mlx_lm.models.cache import BatchKVCache, KVCache, QuantizedKVCache

    makers: tuple[Any, ...] = (
        KVCache,
        lambda: BatchKVCache([0, 4, 9]),
        lambda: QuantizedKVCache(group_size=32),
    )
    # Rounding the keys to 8 bits turns a difference in the last digit into one of a step.
    for make, tolerance in zip(makers, (1e-4, 1e-4, 1e-2), strict=True):
        answers = []
        for choice in (NEVER, ALWAYS):
            model = load(tiny).model
            accelerate(model, Acceleration("cpu", exponential=choice))
            cache = [make() for _ in model.layers]
            first = model(TOKENS, cache=cache)[:, -1]
            answers.append([first, *(model(TOKENS[:, :1], cache=cache)[:, -1] for _ in range(3))])
        for expected, got in zip(*answers, strict=True):
            assert mx.allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_a_diverged_model_s_loss_stays_nan(tiny: BaseModel) -> None:
    model = load(tiny).model
    accelerate(model, Acceleration("cpu", exponential=ALWAYS))
    model.model.layers[3].mlp.gate_proj.weight *= NAN
    assert np.isnan(_loss(model).item())


def test_names_parameters_and_ancestors_stay(tiny: BaseModel) -> None:
    from mlx_lm.models.llama import MLP, Attention

    model = load(tiny).model
    before = [name for name, _ in tree_flatten(model.parameters())]
    accelerate(model, Acceleration("cpu", exponential=ALWAYS))
    layer = model.model.layers[0]
    assert isinstance(layer.mlp, MLP)
    assert isinstance(layer.self_attn, Attention)
    assert type(layer.mlp) is not MLP
    assert [name for name, _ in tree_flatten(model.parameters())] == before


def test_the_record_applies_the_same_choice_without_measuring(
    tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = accelerate(load(tiny).model)
    assert first.exponential is not None
    record = json.loads(json.dumps(first.to_json(), allow_nan=False))
    assert Acceleration.from_json(record) == first
    monkeypatch.setattr("harness.models.cpu.llama.choose_exponential", None)
    assert accelerate(load(tiny).model, choice=record) == first


def test_what_does_not_win_stays_stock(tiny: BaseModel) -> None:
    model = load(tiny).model
    classes = [type(module) for _, module in model.named_modules()]
    accelerate(model, Acceleration("cpu", exponential=NEVER))
    assert [type(module) for _, module in model.named_modules()] == classes


def test_the_threshold_is_where_the_measured_lines_cross() -> None:
    few = Timing(1_000, stock_s=1.0, ours_s=3.0)
    assert stage._crossing(few, Timing(11_000, stock_s=11.0, ours_s=3.0)) == 3_000
    assert stage._crossing(few, Timing(11_000, stock_s=11.0, ours_s=10.0)) is None
    assert stage._crossing(Timing(1_000, 2.0, 1.0), Timing(11_000, 11.0, 3.0)) == 0


OTHERS: dict[str, tuple[dict[str, Any], bool]] = {
    "qwen3": ({"head_dim": 16, "rope_theta": 1e4, "max_position_embeddings": 64}, True),
    "qwen2": ({}, True),
    "gemma3_text": ({"head_dim": 16}, False),
    "phi3": ({"rope_theta": 1e4}, False),
}


@pytest.mark.parametrize("name", OTHERS)
def test_of_other_architectures_only_known_code_is_changed(name: str) -> None:
    from importlib import import_module

    changes, known = OTHERS[name]
    module = import_module(f"mlx_lm.models.{name}")
    settings = {
        "model_type": name,
        "hidden_size": 64,
        "num_hidden_layers": 6,  # Gemma 3 looks at its sixth
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "vocab_size": 258,
        "tie_word_embeddings": True,
        **changes,
    }
    model = module.Model(module.ModelArgs.from_dict(settings))
    expected = model(TOKENS)
    mx.eval(expected)
    chosen = accelerate(model, Acceleration("cpu", exponential=ALWAYS))
    assert (chosen.exponential is not None) is known
    assert mx.allclose(model(TOKENS), expected, rtol=1e-4, atol=1e-4)
