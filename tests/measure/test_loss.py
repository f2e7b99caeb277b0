"""Loss and perplexity: hand-computed values, batch and pad independence, equality with mlx-lm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from measure_models import Bigram, Loaded, Row, llama, rows

from harness.backend import mx
from harness.errors import UserError
from harness.measure import loss as measure
from harness.measure.batch_plan import length_batches
from harness.measure.token_nll import cross_entropy
from harness.models.lm_head import split_model
from harness.schema.variant_result import perplexity
from tests.rounding import SAME_LOSS, U, gamma

A_FEW = gamma(16)
"""A logit is rounded once, an exponential twice, three are added up, the logarithm and two
differences are rounded, and a few tokens are added: no more than 16 roundings a nat."""

# Token 0 is followed by 0, 1, 2 with odds 1:2:5; token 1 with 1:1:2; token 2 with 3:1:4.
ODDS = [[1.0, 2.0, 5.0], [1.0, 1.0, 2.0], [3.0, 1.0, 4.0]]


@pytest.fixture
def bigram() -> Bigram:
    return Bigram([[math.log(odd) for odd in line] for line in ODDS])


def test_full_text_scores_every_token_but_the_first(bigram: Bigram) -> None:
    [found] = measure.evaluate(bigram, [Row(7, "t", (0, 1, 2, 2), 2)])
    # p(1|0) = 2/8, p(2|1) = 2/4, p(2|2) = 4/8
    assert found.full_nll == pytest.approx(math.log(4) + math.log(2) + math.log(2), rel=A_FEW)
    assert found.full_tokens == 3
    assert (found.id, found.table_id) == (7, "t")


def test_completion_scores_only_what_follows_the_prompt(bigram: Bigram) -> None:
    [found] = measure.evaluate(bigram, [Row(0, "t", (0, 1, 2, 2), 2)])
    assert found.completion_nll == pytest.approx(math.log(2) + math.log(2), rel=A_FEW)
    assert found.completion_tokens == 2


def test_the_token_after_the_end_is_kept_apart(bigram: Bigram) -> None:
    [found] = measure.evaluate(bigram, [Row(0, "t", (0, 1, 2, 2), 2)])
    assert found.after_end_nll == pytest.approx(-math.log(3 / 8), rel=A_FEW)


def test_loss_is_token_weighted_over_examples(bigram: Bigram) -> None:
    losses = measure.evaluate(bigram, [Row(0, "t", (0, 1), 1), Row(1, "t", (0, 1, 2, 2), 1)])
    value = measure.full_text(losses)
    assert value.tokens == 4
    assert value.loss == pytest.approx((math.log(4) + math.log(4) + 2 * math.log(2)) / 4, rel=A_FEW)
    assert value.ppl == pytest.approx(math.exp(value.loss))


def test_a_prompt_that_fills_the_row_has_no_completion(bigram: Bigram) -> None:
    [found] = measure.evaluate(bigram, [Row(0, "t", (0, 1), 5)])
    assert (found.completion_nll, found.completion_tokens) == (0.0, 0)


def test_no_examples_give_no_losses_and_no_mean(bigram: Bigram) -> None:
    assert measure.evaluate(bigram, []) == []
    with pytest.raises(UserError, match="no token to score"):
        measure.full_text([])


def test_perplexity_of_an_absurd_loss_is_none() -> None:
    assert perplexity(0.0) == 1.0
    assert perplexity(1e4) is None, "no float holds it"


@pytest.mark.parametrize("batch_size", [3, 16])
def test_loss_is_the_same_at_any_batch_size(tiny: Loaded, batch_size: int) -> None:
    examples = rows(20)
    alone = measure.evaluate(tiny.model, examples, batch_size=1)
    together = measure.evaluate(tiny.model, examples, batch_size=batch_size)
    assert [found.id for found in together] == list(range(20))
    for one, many in zip(alone, together, strict=True):
        assert many.full_nll == pytest.approx(one.full_nll, rel=SAME_LOSS)
        assert many.completion_nll == pytest.approx(one.completion_nll, rel=SAME_LOSS)
        assert many.after_end_nll == pytest.approx(one.after_end_nll, rel=SAME_LOSS, abs=U)


def test_a_longer_neighbour_changes_nothing(tiny: Loaded) -> None:
    short, long = Row(0, "t", (65, 66, 67, 257), 2), rows(1, low=300, high=300)[0]
    [alone] = measure.evaluate(tiny.model, [short])
    beside, _ = measure.evaluate(tiny.model, [short, long])
    assert beside.full_nll == pytest.approx(alone.full_nll, rel=SAME_LOSS)


def test_evaluation_switches_dropout_off_and_leaves_the_mode_as_found() -> None:
    model = llama()
    model.train()
    measure.evaluate(model, rows(2, high=9))
    assert model.training
    model.eval()
    measure.evaluate(model, rows(2, high=9))
    assert not model.training


def test_an_untied_output_layer_is_split_too() -> None:
    model = llama(tie_word_embeddings=False)
    assert split_model(model) is not None
    assert_matches_whole_model(model)


def test_a_model_that_scales_its_logits_is_called_whole() -> None:
    class Scaled(type(llama())):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs) * 0.5

    model = Scaled(llama().args)
    assert split_model(model) is None
    assert_matches_whole_model(model)


def assert_matches_whole_model(model: Any) -> None:
    examples = rows(5, high=20)
    for found, example in zip(measure.evaluate(model, examples), examples, strict=True):
        logits = np.array(model(mx.array([example.tokens])))[0].astype(np.float64)
        peak = logits.max(axis=1)
        nll = np.log(np.exp(logits - peak[:, None]).sum(axis=1)) + peak
        nll -= logits[np.arange(len(nll)), [*example.tokens[1:], 0]]
        assert found.full_nll == pytest.approx(nll[:-1].sum(), rel=SAME_LOSS)
        assert found.after_end_nll == pytest.approx(nll[-1], rel=SAME_LOSS)


def test_logits_in_chunks_give_the_same_sums(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = rows(9)
    whole = measure.evaluate(tiny.model, examples)
    monkeypatch.setattr("harness.measure.token_nll.CHUNK_BYTES", 4 * 258 * 7)
    for one, two in zip(whole, measure.evaluate(tiny.model, examples), strict=True):
        assert two.full_nll == pytest.approx(one.full_nll, rel=SAME_LOSS)


def test_both_ways_to_take_the_log_sum_exp_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama(vocab_size=5000)
    examples = rows(5, high=30)
    monkeypatch.setattr("harness.measure.token_nll.backend_name", lambda: "cpu")
    by_numpy = measure.evaluate(model, examples)
    monkeypatch.setattr("harness.measure.token_nll.backend_name", lambda: "metal")
    for one, two in zip(by_numpy, measure.evaluate(model, examples), strict=True):
        assert two.full_nll == pytest.approx(one.full_nll, rel=SAME_LOSS)
        assert two.mlx_lm_nll == pytest.approx(one.mlx_lm_nll, rel=SAME_LOSS)
        assert two.after_end_nll == pytest.approx(one.after_end_nll, rel=SAME_LOSS)


def test_loss_over_a_large_vocabulary_does_not_drift() -> None:
    logits = np.random.RandomState(1).normal(size=(9, 60_000)).astype(np.float32)
    targets = np.arange(9, dtype=np.int32)
    wide = logits.astype(np.float64)
    truth = np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(9), targets]
    found = cross_entropy(mx.array(logits), targets)
    assert found.nll == pytest.approx(truth, rel=SAME_LOSS)


def test_vocabulary_logits_never_exist_all_at_once() -> None:
    model = llama(vocab_size=60_000)
    examples = rows(16, low=50, high=50)
    active = mx.get_active_memory()
    mx.reset_peak_memory()
    measure.evaluate(model, examples, batch_size=16)
    all_logits = 16 * 50 * 60_000 * 4
    assert mx.get_peak_memory() - active < all_logits


def test_a_loss_that_is_not_finite_names_the_example() -> None:
    model = llama()
    model.model.norm.weight = model.model.norm.weight * math.nan
    with pytest.raises(UserError, match=r"example 0 \(table t0\) is nan"):
        measure.evaluate(model, rows(1, high=5))


def test_batches_are_cut_from_length_order_and_drop_nothing() -> None:
    assert length_batches([3, 9, 5, 9, 1], 2) == [[1, 3], [2, 0], [4]]
    assert length_batches([], 4) == []
    with pytest.raises(ValueError, match="batch_size"):
        length_batches([1], 0)
