"""The vectorized exponential gives MLX's numbers, both ways, and only where it is known."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from mlx.utils import tree_flatten

from harness.backend import backend_name, mx, nn
from harness.models.cpu.accelerate import accelerate
from harness.models.cpu.rule import Rule, VectorExp
from harness.models.cpu.vector_exp import attention, exponential, softmax, swiglu
from harness.models.embedded.tiny import VOCABULARY, WIDTH
from harness.models.load import load
from harness.models.resolve import BaseModel
from tests.rounding import (
    EXPONENTIAL,
    U,
    assert_as_exact,
    error,
    gamma,
    in_float64,
    names_of,
    paths_apart,
    rounded,
    uncompiled,
)

pytestmark = pytest.mark.skipif(backend_name() != "cpu", reason="CPU only: no-op on a GPU")

NAN, INF = float("nan"), float("inf")
ALWAYS = VectorExp(0, 0, 0)
NEVER = VectorExp(None, None, None)
TOKENS = mx.array(np.random.default_rng(0).integers(0, 256, (3, 24)))


def _normal(*shape: int, seed: int = 0) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed))


def test_exp_is_right_to_a_millionth_of_its_value() -> None:
    """The promise of `vector_exp.py`; a polynomial of seven fused or separate steps rounds less."""
    x = np.linspace(-87.3, 88, 200_001, dtype=np.float32)
    got = np.array(exponential(mx.array(x)), np.float64)
    assert np.max(np.abs(got / np.exp(x.astype(np.float64)) - 1)) < EXPONENTIAL


def test_exp_of_what_is_no_ordinary_number() -> None:
    got = np.array(exponential(mx.array([NAN, -INF, -1e30, -89.0, 0.0, 89.0, INF])))
    assert np.isnan(got[0])
    assert got[1:5].tolist() == [0, 0, 0, 1]
    assert np.all(got[5:] > 1e38)


EXP_ROUNDINGS = 4 + EXPONENTIAL / U
"""What the exponential promises, as roundings, beside the usual few."""


def assert_stock(ours: Any, stock: Any, *inputs: mx.array, terms: int = 1, first: int = 0) -> None:
    """From row ``first`` on, values and gradients of their squares are as near float64 as the
    stock way's; rows before it, masked whole, are the stock way's own mean."""
    widened = [array.astype(mx.float64) for array in inputs]
    with uncompiled():
        exact = stock(*widened)
    got, expected = ours(*inputs), stock(*inputs)
    assert_as_exact(
        got[..., first:, :], expected[..., first:, :], exact[..., first:, :], terms, EXP_ROUNDINGS
    )
    scale = float(mx.abs(expected).max())
    assert error(got, expected) <= 2 * rounded(terms + EXP_ROUNDINGS) * scale
    every = tuple(range(len(inputs)))

    def slopes(f: Any, arrays: Any) -> Any:
        return mx.grad(lambda *a: (f(*a)[..., first:, :] ** 2).sum(), every)(*arrays)

    with uncompiled():
        true_slopes = slopes(stock, widened)
    for got, expected, true in zip(
        slopes(ours, inputs), slopes(stock, inputs), true_slopes, strict=True
    ):
        assert_as_exact(got, expected, true, terms, 2 * EXP_ROUNDINGS)


def test_swiglu_and_its_gradients_are_the_stock_ones() -> None:
    gate, up = _normal(7, 33) * 20, _normal(7, 33, seed=1)

    def stock(gate: mx.array, up: mx.array) -> mx.array:
        return nn.silu(gate) * up

    assert_stock(swiglu, stock, gate, up)


def test_swiglu_far_from_zero_and_of_nan() -> None:
    gate, one = mx.array([-500.0, -100.0, 500.0, NAN]), mx.ones(4)
    got = np.array(swiglu(gate, one))
    gradient = np.array(mx.grad(lambda g: swiglu(g, one)[:3].sum())(gate))
    assert np.abs(got[:2]).max() < 1e-30
    assert got[2] == 500
    assert np.isnan(got[3])
    assert gradient[:3] == pytest.approx([0, 0, 1], abs=gamma(EXP_ROUNDINGS))


def test_softmax_and_its_gradient_are_the_stock_ones() -> None:
    scores, weights = _normal(4, 5, 60) * 30, _normal(4, 5, 60, seed=2)
    assert_stock(
        lambda s, w: softmax(s) * w, lambda s, w: mx.softmax(s, axis=-1) * w, scores, weights,
        terms=60,
    )  # fmt: skip


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

    # The first three queries are masked whole in some: nothing may be learned from those.
    assert_stock(ours, stock, *inputs, terms=16, first=3)


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

    assert_stock(ours, stock, *inputs, terms=span)


def _loss(model: Any) -> mx.array:
    logits = model(TOKENS[:, :-1])
    return nn.losses.cross_entropy(logits, TOKENS[:, 1:], reduction="mean")


@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_s_loss_and_gradients_are_the_stock_ones(
    shallow: BaseModel, compiled: bool
) -> None:
    found = []
    wide = in_float64(load(shallow).model)
    wide.train()
    _, exact = nn.value_and_grad(wide, _loss)(wide)
    for choice in (NEVER, ALWAYS):
        model = load(shallow).model
        accelerate(model, rule=Rule(exponential=choice))
        model.train()
        step: Any = partial(nn.value_and_grad(model, _loss), model)
        if compiled:
            step = mx.compile(step, inputs=model.state)
        found.append(step())
    (expected, expected_gradients), (got, gradients) = found
    apart = paths_apart(load(shallow).model, wide, TOKENS, WIDTH)
    apart += rounded(TOKENS.size) * expected.item()
    assert abs(got.item() - expected.item()) <= apart
    slopes, stock_slopes = names_of(gradients), names_of(expected_gradients)
    assert slopes.keys() == stock_slopes.keys()
    for name, slope in names_of(exact).items():
        assert_as_exact(slopes[name], stock_slopes[name], slope, VOCABULARY, EXP_ROUNDINGS, name)


def test_decoding_with_caches_gives_the_stock_logits(shallow: BaseModel) -> None:
    from mlx_lm.models.cache import BatchKVCache, KVCache, QuantizedKVCache

    makers: tuple[Any, ...] = (
        KVCache,
        lambda: BatchKVCache([0, 4, 9]),
        lambda: QuantizedKVCache(group_size=32),
    )

    def answers(model: Any, make: Any) -> list[mx.array]:
        cache = [make() for _ in model.layers]
        first = model(TOKENS, cache=cache)[:, -1]
        return [first, *(model(TOKENS[:, :1], cache=cache)[:, -1] for _ in range(3))]

    stock, ours, wide = (load(shallow).model for _ in range(3))
    accelerate(stock, rule=Rule(exponential=NEVER))
    accelerate(ours, rule=Rule(exponential=ALWAYS))
    exact = answers(in_float64(wide), KVCache)
    for make in makers:
        padded = answers(wide, make) if make is makers[1] else exact
        for got, expected, true in zip(
            answers(ours, make), answers(stock, make), padded, strict=True
        ):
            if make is makers[2]:
                # A last digit can take a key to the next of 8 bits' steps: some keys by one step,
                # when all of them are half a step off at most. That all together make is the bound.
                assert error(got, expected) <= error(expected, true)
            else:
                assert_as_exact(got, expected, true, WIDTH, EXP_ROUNDINGS)


def test_a_diverged_model_s_loss_stays_nan(shallow: BaseModel) -> None:
    model = load(shallow).model
    accelerate(model, rule=Rule(exponential=ALWAYS))
    model.model.layers[1].mlp.gate_proj.weight *= NAN
    assert np.isnan(_loss(model).item())


def test_names_parameters_and_ancestors_stay(shallow: BaseModel) -> None:
    from mlx_lm.models.llama import MLP, Attention

    model = load(shallow).model
    before = [name for name, _ in tree_flatten(model.parameters())]
    accelerate(model, rule=Rule(exponential=ALWAYS))
    layer = model.model.layers[0]
    assert isinstance(layer.mlp, MLP)
    assert isinstance(layer.self_attn, Attention)
    assert type(layer.mlp) is not MLP
    assert [name for name, _ in tree_flatten(model.parameters())] == before


def test_what_the_rule_leaves_stays_stock(shallow: BaseModel) -> None:
    model = load(shallow).model
    classes = [type(module) for _, module in model.named_modules()]
    accelerate(model, rule=Rule(exponential=NEVER))
    assert [type(module) for _, module in model.named_modules()] == classes


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
    wide = module.Model(module.ModelArgs.from_dict(settings))
    wide.update(model.parameters())
    exact = in_float64(wide)(TOKENS)
    chosen = accelerate(model, rule=Rule(exponential=ALWAYS))
    assert chosen.known_modules is known
    assert_as_exact(model(TOKENS), expected, exact, 96, EXP_ROUNDINGS)
