"""The chunked loss gives the numbers of float64 and of MLX's own, with a chunk's memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from mlx.utils import tree_flatten

from harness.backend import backend_name, mx, nn
from harness.measure.batch_plan import pad
from harness.models import chunked_loss
from harness.models.chunked_loss import (
    split_for_loss,
    token_losses,
    trained_losses,
)
from harness.models.cpu import cross_entropy
from harness.models.embedded.tiny import VOCABULARY, WIDTH
from harness.models.load import load
from harness.models.resolve import BaseModel
from harness.train.loss_function import scored_nats, scored_positions, training_loss
from tests.rounding import (
    EXPONENTIAL,
    assert_as_exact,
    gamma,
    in_float64,
    names_of,
    paths_apart,
    rounded,
)

pytestmark = pytest.mark.skipif(backend_name() != "cpu", reason="CPU only: no-op on a GPU")

TOKENS = mx.array(np.random.default_rng(0).integers(0, 256, (3, 24)))
SPANS = mx.array([[0, 24], [10, 20], [5, 5]])


def positions_of(spans: mx.array) -> mx.array:
    return mx.array(scored_positions(spans.tolist(), TOKENS.shape[1] - 1))


@pytest.fixture
def problem() -> tuple[Any, mx.array, mx.array, mx.array]:
    weight = mx.random.normal((3000, 16), key=mx.random.key(0))
    states = mx.random.normal((50, 16), key=mx.random.key(1))
    targets = mx.random.randint(0, 3000, (50,), key=mx.random.key(2))
    return lambda x: x @ weight.T, states, targets, weight


@dataclass(frozen=True)
class Exact:
    """Losses (rows) and their gradients (rows, width) in float64, with float32's error bounds."""

    nats: np.ndarray
    slopes: np.ndarray
    nats_bound: np.ndarray
    slopes_bound: np.ndarray


def _in_float64(states: mx.array, targets: mx.array, weight: mx.array) -> Exact:
    """A logit is an inner product of 16 terms: off by gamma(16) of the absolute product.

    ``log(sum(exp(z)))`` and ``z[target]`` each move by at most what the logits do; the exponential
    keeps its promise, the sum over the vocabulary is a walk of 3,000 roundings, and the logarithm,
    its sum and the difference round what they return. A probability is off by the same share of
    itself, and the product of 3,000 of them with the weights is one more such walk.
    """
    rows, w = np.arange(states.shape[0]), np.array(weight, np.float64)
    x, chosen = np.array(states, np.float64), np.array(targets)
    logits, vocabulary = x @ w.T, len(w)
    highest = logits.max(1)
    total = np.log(np.exp(logits - highest[:, None]).sum(1)) + highest
    off = gamma(x.shape[1]) * (np.abs(x) @ np.abs(w.T)).max(1)
    nats = total - logits[rows, chosen]
    sizes = np.abs(total) + np.abs(highest) + np.abs(logits).max(1)
    nats_bound = 2 * off + EXPONENTIAL + rounded(vocabulary) + gamma(4) * sizes
    share = np.exp(logits - total[:, None])
    hit = np.zeros_like(share)
    hit[rows, chosen] = 1
    slopes_bound = (nats_bound[:, None] + EXPONENTIAL) * (share @ np.abs(w))
    slopes_bound += rounded(vocabulary) * ((share + hit) @ np.abs(w))
    return Exact(nats, (share - hit) @ w, nats_bound, slopes_bound)


@pytest.mark.parametrize("chunk", [2**30, 7 * 3000 * 4, 1])
def test_losses_and_gradients_are_those_of_float64_at_any_chunk(
    problem: Any, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, states, targets, weight = problem
    monkeypatch.setattr(chunked_loss, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(cross_entropy, "BLOCK_ELEMENTS", 4 * 3000)
    exact = _in_float64(states, targets, weight)
    shares = mx.linspace(0, 2, 50)
    gradient = mx.grad(lambda x: (trained_losses(head, x, targets) * shares).sum())(states)
    for losses in (token_losses, trained_losses):
        off = np.abs(np.array(losses(head, states, targets)) - exact.nats)
        assert np.all(off <= exact.nats_bound)
    size = np.array(shares, np.float64)[:, None]
    assert np.all(np.abs(np.array(gradient) - exact.slopes * size) <= exact.slopes_bound * size)


def test_only_a_chunk_of_logits_is_alive(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    head, _, _, _ = problem
    states = mx.random.normal((4096, 16), key=mx.random.key(3))
    targets = mx.zeros((4096,), mx.int32)
    monkeypatch.setattr(chunked_loss, "CHUNK_BYTES", 2**20)
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


def test_training_is_mlx_s_own_to_rounding(shallow: BaseModel) -> None:
    model = load(shallow).model
    model.freeze()
    model.layers[-2].unfreeze()
    value_and_grad = nn.value_and_grad(model, training_loss)

    wide = load(shallow).model
    wide.freeze()
    wide.layers[-2].unfreeze()
    _, exact = nn.value_and_grad(in_float64(wide), training_loss)(
        wide, TOKENS, SPANS, mx.array(33.0)
    )

    def taken(ours: bool) -> tuple[float, int, float, dict[str, mx.array]]:
        split = split_for_loss(model, ours)
        assert (split is not None) == ours
        arguments = (TOKENS, SPANS, mx.array(33.0), positions_of(SPANS), split)
        (loss, count), gradient = value_and_grad(model, *arguments)
        nats = scored_nats(model, TOKENS, SPANS.tolist(), split)
        return loss.item(), count.item(), nats, dict(tree_flatten(gradient))

    loss, count, nats, gradient = taken(True)
    expected_loss, expected_count, expected_nats, expected = taken(False)
    assert count == expected_count == 23 + 10
    # 33 targets, each by two ways apart, added up in float32.
    apart = paths_apart(model, wide, TOKENS, WIDTH) + rounded(33) * expected_loss
    assert abs(loss - expected_loss) <= apart
    assert abs(nats - expected_nats) <= 33 * apart
    assert gradient.keys() == expected.keys()
    for name, slope in names_of(exact).items():
        assert_as_exact(gradient[name], expected[name], slope, VOCABULARY, name=name)


def test_no_scored_target_is_no_loss_and_no_gradient(shallow: BaseModel) -> None:
    model = load(shallow).model
    model.freeze()
    model.layers[-1].unfreeze()
    split = split_for_loss(model, True)
    assert split is not None
    nothing = mx.array([[0, 0]] * 3)
    value_and_grad = nn.value_and_grad(model, training_loss)
    arguments = (TOKENS, nothing, mx.array(1.0), positions_of(nothing), split)
    (loss, count), gradient = value_and_grad(model, *arguments)
    assert (loss.item(), count.item()) == (0.0, 0)
    assert all(mx.all(slope == 0) for _, slope in tree_flatten(gradient))


def test_a_trained_output_layer_keeps_mlx_s_loss(shallow: BaseModel) -> None:
    model = load(shallow).model
    model.train()
    assert split_for_loss(model, True) is None  # all of it is trainable, the tied embedding too
    assert model.training


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions that a GPU would run, here on MLX's CPU device."""
    monkeypatch.setattr(chunked_loss, "backend_name", lambda: "metal")


@pytest.mark.parametrize("chunk", [2**30, 7 * 3000 * 4, 1])
def test_a_gpu_s_losses_and_gradients_are_those_of_float64(
    problem: Any, on_a_gpu: None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, states, targets, weight = problem
    monkeypatch.setattr(chunked_loss, "GPU_WHOLE_BYTES", 0)
    monkeypatch.setattr(chunked_loss, "GPU_CHUNK_BYTES", chunk)
    monkeypatch.setattr(chunked_loss, "GPU_MIN_ROWS", 8)
    exact = _in_float64(states, targets, weight)
    shares = mx.linspace(0, 2, 50)
    gradient = mx.grad(lambda x: (trained_losses(head, x, targets) * shares).sum())(states)
    # MLX's CPU sums a vocabulary in order: one rounding an element, and not a walk.
    in_order = gamma(3000)
    for losses in (token_losses, trained_losses):
        off = np.abs(np.array(losses(head, states, targets)) - exact.nats)
        assert np.all(off <= exact.nats_bound + in_order)
    size = np.array(shares, np.float64)[:, None]
    bound = exact.slopes_bound + in_order * np.abs(np.array(weight, np.float64)).max() * 2
    assert np.all(np.abs(np.array(gradient) - exact.slopes * size) <= bound * size)


def test_a_gpu_keeps_a_quantized_head_in_half_precision(on_a_gpu: None) -> None:
    layer = nn.Linear(64, 3000, bias=False)
    head = nn.QuantizedLinear.from_linear(layer, 64, 4)
    states = mx.random.normal((40, 64), key=mx.random.key(1))
    targets = mx.random.randint(0, 3000, (40,), key=mx.random.key(2))
    half = states.astype(mx.bfloat16)
    head.set_dtype(mx.bfloat16, lambda dtype: mx.issubdtype(dtype, mx.floating))
    loss, gradient = mx.value_and_grad(lambda x: trained_losses(head, x, targets).sum())(half)
    assert (loss.dtype, gradient.dtype) == (mx.float32, mx.bfloat16)

    def stock(x: mx.array) -> mx.array:
        return nn.losses.cross_entropy(head(x).astype(mx.float32), targets).sum()

    expected, slopes = mx.value_and_grad(stock)(half)
    # A GPU's kernel sums in float32; MLX's CPU rounds a row's log-sum-exp, of up to 12 nats, to
    # bfloat16, which moves its loss and every probability of it by that share.
    share = 2**-8 * 12
    assert abs(loss.item() - expected.item()) <= 40 * share
    off = mx.abs(gradient.astype(mx.float32) - slopes.astype(mx.float32)).max(axis=1)
    assert mx.all(off <= 2 * share * mx.abs(slopes.astype(mx.float32)).max(axis=1)).item()


def test_a_compiled_step_has_few_shapes_and_the_same_numbers(
    shallow: BaseModel, on_a_gpu: None
) -> None:
    model = load(shallow).model
    model.freeze()
    model.layers[-2].unfreeze()
    split = split_for_loss(model, True)
    assert split is not None
    spans = SPANS.tolist()
    wide = mx.array(pad(TOKENS.tolist(), 32))
    assert wide.shape == (3, 33)
    filled = scored_positions(spans, 32, 128)
    assert (filled.size, (filled >= 0).sum()) == (128, 33)
    value_and_grad = nn.value_and_grad(model, training_loss)

    state = [model.state]

    @partial(mx.compile, inputs=state, outputs=state)
    def step(*batch: mx.array) -> Any:
        return value_and_grad(model, *batch, split=split)

    (loss, count), gradient = step(wide, SPANS, mx.array(33.0), mx.array(filled))
    exact = (TOKENS, SPANS, mx.array(33.0), positions_of(SPANS))
    (expected, expected_count), expected_gradient = value_and_grad(model, *exact, split=split)
    assert count.item() == expected_count.item() == 33
    # Columns that are filled in are never read by those before them.
    assert abs(loss.item() - expected.item()) <= rounded(33 * VOCABULARY) * expected.item()
    for (name, slope), (_, other) in zip(
        tree_flatten(gradient), tree_flatten(expected_gradient), strict=True
    ):
        apart = mx.abs(slope - other).max().item()
        assert apart <= gamma(VOCABULARY) * mx.abs(other).max().item(), name
