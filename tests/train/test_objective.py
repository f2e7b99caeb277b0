"""The loss: real targets only, and what mlx-lm's own function scores beyond them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from training_rows import make_rows

from harness.backend import mx
from harness.train.loss_function import (
    mean_loss,
    span_targets,
    target_mask,
    token_nll,
    training_loss,
    validation_rows,
)
from tests.rounding import gamma, rounded

# A closed form in float32: exponentials of seven logits, their sum, its logarithm, a difference,
# and the mean over two targets are no more than 16 roundings.


class Uniform:
    """A model that gives every one of 7 tokens the same probability, and token 0 more at will."""

    def __init__(self, extra: float = 0.0) -> None:
        self.extra = extra

    def __call__(self, tokens: mx.array) -> mx.array:
        logits = np.zeros((*tokens.shape, 7), np.float32)
        logits[..., 0] = self.extra
        return mx.array(logits)

    def eval(self) -> None:
        """Nothing to switch."""


def test_targets_are_counted_from_the_second_token_to_the_last() -> None:
    assert [span_targets(0, 5), span_targets(1, 5), span_targets(3, 5)] == [4, 4, 2]
    assert [span_targets(0, 1), span_targets(5, 5), span_targets(0, 0)] == [0, 0, 0]


def test_mask_covers_the_span_and_never_a_pad() -> None:
    mask = np.array(target_mask(mx.array([[0, 3], [2, 4], [0, 0]]), 4))
    # Column j is the target at position j + 1.
    assert mask.astype(int).tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_a_uniform_model_has_the_entropy_of_its_vocabulary() -> None:
    tokens = mx.array([[1, 2, 3, 0, 0]])
    loss, count = training_loss(Uniform(), tokens, mx.array([[0, 3]]), mx.array(2.0))
    assert float(loss) == pytest.approx(math.log(7), rel=gamma(16))
    assert int(count) == 2


def test_a_model_that_loves_the_pad_token_gains_nothing_here_but_does_in_mlx_lm() -> None:
    from mlx_lm.tuner.trainer import default_loss

    tokens = mx.array([[1, 2, 3, 0, 0]])
    ours = [
        float(training_loss(Uniform(extra), tokens, mx.array([[0, 3]]), mx.array(2.0))[0])
        for extra in (0.0, 5.0)
    ]
    theirs = [
        float(default_loss(Uniform(extra), tokens, mx.array([[0, 3]]))[0]) for extra in (0.0, 5.0)
    ]
    # With the pad favoured by 5 nats a real target costs log(6 + e^5), the pad that minus 5.
    favoured = math.log(6 + math.exp(5))
    assert ours == pytest.approx([math.log(7), favoured], rel=gamma(16))
    assert theirs == pytest.approx([math.log(7), favoured - 5 / 3], rel=gamma(16))


def test_the_pad_s_logits_do_not_reach_the_loss_even_if_infinite() -> None:
    class Broken(Uniform):
        def __call__(self, tokens: mx.array) -> mx.array:
            logits = np.zeros((*tokens.shape, 7), np.float32)
            logits[:, 2:] = np.nan
            return mx.array(logits)

    loss, _ = training_loss(Broken(), mx.array([[1, 2, 3, 0]]), mx.array([[0, 3]]), mx.array(2.0))
    assert float(loss) == pytest.approx(math.log(7), rel=gamma(16))


def test_nll_is_float32() -> None:
    assert token_nll(Uniform(), mx.array([[1, 2]])).dtype == mx.float32


def test_validation_is_the_same_at_any_batch_size() -> None:
    rows = [
        replace(row, tokens=tuple(token % 7 for token in row.tokens)) for row in make_rows(11, 4)
    ]
    losses = [mean_loss(Uniform(2.0), rows, size) for size in (1, 3, 11, 50)]
    targets = sum(len(row.tokens) - 1 for row in rows)
    assert losses == pytest.approx([losses[0]] * 4, rel=rounded(targets))


def test_the_validation_subset_is_seeded_and_spreads_over_tables() -> None:
    rows = make_rows(30, seed=4)
    chosen = validation_rows(rows, 10)
    assert chosen == validation_rows(rows, 10)
    assert {row.table_id for row in chosen} == {row.table_id for row in rows}
    assert sorted(row.id for row in validation_rows(rows, -1)) == list(range(30))
