"""Speed trials: what is counted and timed, and the summaries, by hand."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from measure_models import Base, Loaded

from harness.errors import UserError
from harness.measure import speed
from harness.measure.decode import BatchDecoder


def test_rate_counts_the_gaps_and_not_the_first_token(
    tiny: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def every_tenth_of_a_second(*_: Any, max_tokens: int, **__: Any) -> Iterator[tuple[int, None]]:
        nonlocal now
        now += 0.4  # prefill
        for _ in range(max_tokens):
            yield 65, None
            now += 0.1

    now = 0.0
    module = sys.modules["mlx_lm.generate"]  # the package's `generate` is the function
    monkeypatch.setattr(module, "generate_step", every_tenth_of_a_second)
    monkeypatch.setattr("harness.measure.speed.time.perf_counter", lambda: now)
    found = speed.trial(tiny, [65, 66, 67, 68], new_tokens=6)
    assert found.generation_tokens_per_s == pytest.approx(10.0)
    assert found.ttft_s == pytest.approx(0.4)
    assert found.prompt_tokens_per_s == pytest.approx(10.0)
    assert found.inter_token_s == pytest.approx((0.1,) * 5)


def test_a_trial_generates_the_fixed_number_past_the_stop_token(tiny: Loaded) -> None:
    class Stopped:
        eos_token_ids = frozenset(range(258))

    found = speed.trial(Loaded(tiny.model, Stopped(), tiny.base), [65, 66], new_tokens=9)
    assert len(found.inter_token_s) == 8
    assert found.prompt_tokens == 2


def test_a_trial_agrees_with_the_clock_on_the_wall(tiny: Loaded) -> None:
    speed.trial(tiny, [65] * 20, 4)
    start = time.perf_counter()
    found = speed.trial(tiny, [65] * 20, 16)
    wall = time.perf_counter() - start
    assert found.ttft_s + sum(found.inter_token_s) <= wall
    assert found.generation_tokens_per_s == pytest.approx(15 / sum(found.inter_token_s))


def test_a_batched_trial_counts_the_tokens_of_all_rows(
    tiny: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second_long(decoder: BatchDecoder) -> list[int]:
        nonlocal now
        now += 1.0
        return step(decoder)

    now, step = 0.0, BatchDecoder.step
    monkeypatch.setattr(BatchDecoder, "step", second_long)
    monkeypatch.setattr("harness.measure.speed.time.perf_counter", lambda: now)
    # 3 rows x 4 gaps in 4 seconds; the first token is not counted.
    assert speed.batched_trial(tiny, [[65], [66, 67], [68]], new_tokens=5) == 3.0


def test_a_batched_trial_ends_with_every_row(tiny: Loaded) -> None:
    assert speed.batched_trial(tiny, [[65] * 30] * 4, new_tokens=3) > 0


def test_impossible_trials_are_refused(tiny: Loaded) -> None:
    with pytest.raises(UserError, match="at least 2 new tokens"):
        speed.trial(tiny, [65], 1)
    with pytest.raises(UserError, match="at least one token"):
        speed.batched_trial(tiny, [], 8)
    short = Loaded(tiny.model, tiny.tokenizer, Base({"max_position_embeddings": 16}))
    with pytest.raises(
        UserError, match="10 tokens and 8 new ones exceed the model's context of 16"
    ):
        speed.trial(short, [65] * 10, 8)
