"""The chunked loss gives the numbers of float64 and of MLX's own, with a chunk's memory."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from mlx.utils import tree_flatten

from harness.backend import backend_name, mx, nn
from harness.models.cpu import cross_entropy
from harness.models.cpu.accelerate import Acceleration, accelerate
from harness.models.cpu.cross_entropy import MLX_LOSS, LossChoice, token_losses, trained_losses
from harness.models.load import load
from harness.models.resolve import BaseModel
from harness.train.loss_function import scored_nats, training_loss

pytestmark = pytest.mark.skipif(backend_name() != "cpu", reason="CPU only: no-op on a GPU")

OURS = LossChoice(True, 1.0, 0.5)
TOKENS = mx.array(np.random.default_rng(0).integers(0, 256, (3, 24)))
SPANS = mx.array([[0, 24], [10, 20], [5, 5]])


@pytest.fixture
def problem() -> tuple[Any, mx.array, mx.array, mx.array]:
    weight = mx.random.normal((3000, 16), key=mx.random.key(0))
    states = mx.random.normal((50, 16), key=mx.random.key(1))
    targets = mx.random.randint(0, 3000, (50,), key=mx.random.key(2))
    return lambda x: x @ weight.T, states, targets, weight


def _in_float64(states: mx.array, targets: mx.array, weight: mx.array) -> tuple[Any, Any]:
    rows, w = np.arange(states.shape[0]), np.array(weight, np.float64)
    logits = np.array(states, np.float64) @ w.T
    powers = np.exp(logits - logits.max(1, keepdims=True))
    share = powers / powers.sum(1, keepdims=True)
    nats = -np.log(share[rows, np.array(targets)])
    share[rows, np.array(targets)] -= 1
    return nats, share @ w


@pytest.mark.parametrize("chunk", [2**30, 7 * 3000 * 4, 1])
def test_losses_and_gradients_are_those_of_float64_at_any_chunk(
    problem: Any, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, states, targets, weight = problem
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(cross_entropy, "BLOCK_ELEMENTS", 4 * 3000)
    nats, slopes = _in_float64(states, targets, weight)
    shares = mx.linspace(0, 2, 50)
    gradient = mx.grad(lambda x: (trained_losses(head, x, targets) * shares).sum())(states)
    assert np.abs(np.array(token_losses(head, states, targets)) - nats).max() < 1e-5
    assert np.abs(np.array(trained_losses(head, states, targets)) - nats).max() < 1e-5
    assert np.abs(np.array(gradient) - slopes * np.array(shares)[:, None]).max() < 1e-5


def test_only_a_chunk_of_logits_is_alive(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    head, _, _, _ = problem
    states = mx.random.normal((4096, 16), key=mx.random.key(3))
    targets = mx.zeros((4096,), mx.int32)
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES", 2**20)
    mx.eval(states, targets)

    def peak(losses: Any) -> int:
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(mx.grad(lambda x: losses(x).sum())(states))
        return int(mx.get_peak_memory()) - before

    ours = peak(lambda x: trained_losses(head, x, targets))
    stock = peak(lambda x: nn.losses.cross_entropy(head(x), targets))
    assert stock > 4096 * 3000 * 4
    # A few chunks of 1 MB, a block's temporaries, and what is as wide as the states.
    assert ours < stock / 4


def test_training_is_mlx_s_own_to_rounding(tiny: BaseModel) -> None:
    model = load(tiny).model
    model.freeze()
    model.layers[-2].unfreeze()
    value_and_grad = nn.value_and_grad(model, training_loss)

    def taken(kernel: LossChoice) -> tuple[float, int, float, dict[str, mx.array]]:
        cross_entropy.apply(model, kernel)
        cross_entropy.prepare(model)
        assert (cross_entropy.halves(model) is not None) == kernel.ours
        (loss, count), gradient = value_and_grad(model, TOKENS, SPANS, mx.array(33.0))
        nats = scored_nats(model, TOKENS, SPANS)
        return loss.item(), count.item(), nats, dict(tree_flatten(gradient))

    loss, count, nats, gradient = taken(OURS)
    expected_loss, expected_count, expected_nats, expected = taken(MLX_LOSS)
    assert count == expected_count == 23 + 10
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert nats == pytest.approx(expected_nats, rel=1e-5)
    assert gradient.keys() == expected.keys()
    for name, slope in expected.items():
        assert mx.allclose(gradient[name], slope, rtol=1e-3, atol=1e-5), name


def test_no_scored_target_is_no_loss_and_no_gradient(tiny: BaseModel) -> None:
    model = load(tiny).model
    cross_entropy.apply(model, OURS)
    model.freeze()
    model.layers[-1].unfreeze()
    cross_entropy.prepare(model)
    nothing = mx.array([[0, 0]] * 3)
    value_and_grad = nn.value_and_grad(model, training_loss)
    (loss, count), gradient = value_and_grad(model, TOKENS, nothing, mx.array(1.0))
    assert (loss.item(), count.item()) == (0.0, 0)
    assert all(mx.all(slope == 0) for _, slope in tree_flatten(gradient))


def test_a_trained_output_layer_keeps_mlx_s_loss(tiny: BaseModel) -> None:
    model = load(tiny).model
    cross_entropy.apply(model, OURS)
    model.train()
    cross_entropy.prepare(model)  # all of it trainable, the tied embedding too
    assert cross_entropy.halves(model) is None
    assert model.training


def test_the_choice_is_kept_and_an_older_record_means_mlx_s(tiny: BaseModel) -> None:
    model = load(tiny).model
    chosen = accelerate(model)
    assert chosen.loss is not None
    assert chosen.loss.ours == (chosen.loss.ours_s < 0.8 * chosen.loss.stock_s)
    record = json.loads(json.dumps(chosen.to_json()))
    assert accelerate(model, record).loss == chosen.loss
    assert Acceleration.from_json(record) == chosen
    del record["loss"]
    assert accelerate(model, record).loss == MLX_LOSS
