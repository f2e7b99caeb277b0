"""Halves of the rows in two threads: the gradient of the whole, and no error lost."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from mlx.utils import tree_flatten

from harness.backend import backend_name, blas_threads, mx, nn
from harness.models.chunked_loss import split_for_loss
from harness.models.cpu.side_by_side import gradient_by_halves, side_by_side
from harness.models.embedded.tiny import VOCABULARY
from harness.models.load import load
from harness.models.resolve import BaseModel
from harness.train.loss_function import scored_positions, training_loss
from tests.rounding import assert_as_exact, in_float64, names_of

pytestmark = pytest.mark.skipif(backend_name() != "cpu", reason="CPU only")


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_the_gradient_of_halves_is_that_of_the_whole(shallow: BaseModel, rows: int) -> None:
    model = load(shallow).model
    model.freeze()
    model.layers[-1].unfreeze()
    before = dict(tree_flatten(model.parameters()))
    split = split_for_loss(model, True)
    tokens = mx.array(np.random.default_rng(rows).integers(0, 256, (rows, 24)))
    spans = [(0, 24), (10, 20), (5, 5)][:rows]  # nothing of the third is scored
    batch = (tokens, mx.array(spans), mx.array(33.0), mx.array(scored_positions(spans, 23)))

    def loss(model: nn.Module, *batch: mx.array) -> tuple[mx.array, mx.array]:
        return training_loss(model, *batch, split)

    (found, count), gradient = gradient_by_halves(model, loss)(model, *batch)
    mx.eval(gradient)
    if rows > 1:  # else as MLX leaves it
        after = dict(tree_flatten(model.parameters()))
        assert all(after[name] is array for name, array in before.items())
    (expected, targets), whole = nn.value_and_grad(model, loss)(model, *batch)
    wide = load(shallow).model
    wide.freeze()
    wide.layers[-1].unfreeze()
    _, exact = nn.value_and_grad(in_float64(wide), training_loss)(wide, *batch[:3])
    assert count.item() == targets.item() == (23 if rows == 1 else 33)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    plain = dict(tree_flatten(whole))
    for name, slope in names_of(exact).items():
        assert_as_exact(dict(tree_flatten(gradient))[name], plain[name], slope, VOCABULARY)


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_either_part_stops_the_other_and_is_raised(failing: int) -> None:
    seen = []

    def work(part: int, stop: threading.Event) -> None:
        if part == failing:
            raise ValueError(f"part {part}")
        assert stop.wait(60)
        seen.append(part)

    with pytest.raises(ValueError, match=f"part {failing}"):
        side_by_side(work)
    assert seen == [1 - failing]
    assert side_by_side(lambda part, _: (part, threading.get_ident()))[0] == (
        0,
        threading.get_ident(),
    )


def test_products_are_the_same_with_one_thread_of_the_blas() -> None:
    factor = mx.random.normal((300, 300), key=mx.random.key(0))
    expected = factor @ factor
    mx.eval(expected)
    with blas_threads(1):
        found = factor @ factor
        mx.eval(found)
    assert mx.allclose(found, expected, rtol=1e-5, atol=1e-4)
