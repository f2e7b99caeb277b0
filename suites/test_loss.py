"""How well does the variant predict held-out text? Loss and perplexity by three definitions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from harness.schema.variant_result import Loss


def test_loss_on_the_whole_text(
    evaluation: Loss, record_property: Callable[[str, object], None]
) -> None:
    """`full_text`: prompt, SQL and stop token."""
    record_property("full_text_loss", evaluation.full_text.loss)
    assert math.isfinite(evaluation.full_text.loss)
    assert math.isclose(evaluation.full_text.ppl, math.exp(evaluation.full_text.loss))


def test_loss_on_the_completion(
    evaluation: Loss, record_property: Callable[[str, object], None]
) -> None:
    """`completion`: SQL and stop token only, so over fewer tokens."""
    if evaluation.completion is None:
        pytest.skip("the data holds whole texts, which do not mark where an answer begins")
    record_property("completion_loss", evaluation.completion.loss)
    assert math.isfinite(evaluation.completion.loss)
    assert 0 < evaluation.completion.tokens < evaluation.full_text.tokens


def test_loss_as_mlx_lm_reports_it(evaluation: Loss) -> None:
    """`mlx_lm_compat`: for reconciling with `mlx_lm.lora --test`; null where that refuses."""
    compat = evaluation.mlx_lm_compat
    assert compat is None or math.isfinite(compat.loss)
