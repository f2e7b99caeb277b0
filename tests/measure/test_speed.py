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
from harness.measure.decode import BatchDecoder, decoder_of
from harness.protocols import SpeedTrials


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


def test_a_short_trial_is_repeated_and_its_rates_are_over_all_of_it(
    tiny: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick(*_: Any, max_tokens: int, **__: Any) -> Iterator[tuple[int, None]]:
        nonlocal now, prefill
        now += prefill
        prefill += 0.1
        for _ in range(max_tokens):
            yield 65, None
            now += 0.05

    now, prefill = 0.0, 0.1
    monkeypatch.setattr(sys.modules["mlx_lm.generate"], "generate_step", quick)
    monkeypatch.setattr("harness.measure.speed.time.perf_counter", lambda: now)
    # 0.1 + 4 x 0.05 s, then 0.2 and 0.3 s of prefill: a second is over after the third.
    found = speed.trial(tiny, [65, 66], new_tokens=4, least_s=1.0)
    assert len(found.inter_token_s) == 3 * 3
    assert found.generation_tokens_per_s == pytest.approx(20.0)
    assert found.ttft_s == pytest.approx(0.2)
    assert found.prompt_tokens_per_s == pytest.approx(10.0)
    assert found.wall_s == pytest.approx(1.2 / 3)


def test_a_short_batch_is_repeated_until_its_steps_took_the_time(
    tiny: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick(decoder: BatchDecoder) -> list[int]:
        nonlocal now, steps
        now, steps = now + 0.25, steps + 1
        return step(decoder)

    now, steps, step = 0.0, 0, BatchDecoder.step
    monkeypatch.setattr(BatchDecoder, "step", quick)
    monkeypatch.setattr("harness.measure.speed.time.perf_counter", lambda: now)
    assert speed.batched_trial(tiny, [[65, 66]] * 2, new_tokens=3, least_s=1.0) == 8.0
    assert steps == 2 * 3


def test_alike_prompts_decode_as_each_of_them_does_alone(tiny: Loaded) -> None:
    prompt = [65, 70, 75, 80, 85]
    alone, together = decoder_of(tiny.model, [prompt]), decoder_of(tiny.model, [prompt] * 3)
    for _ in range(4):
        (token,) = alone.step()
        assert together.step() == [token] * 3


def test_lengths_follow_the_device_and_are_named() -> None:
    of = SpeedTrials.of
    for backend in ("metal", "cuda"):
        found = of(4096, backend)
        assert (found.prompt_tokens, found.new_tokens, found.least_s) == (512, 128, 1.0)
    assert of(576, "cpu") == of(None, "cpu") == SpeedTrials(128, 32)
    assert of(64, "metal") == of(64, "cpu") == SpeedTrials(64, 32)
    assert of(4096, "metal").protocol == (
        "throughput@2 (5 interleaved rounds, prompt 512, 128 new tokens, batch 16, repeated to 1 s)"
    )
    names = {of(576, "cpu").protocol, of(64, "cpu").protocol, of(576, "cpu", 2.5).protocol}
    assert len(names) == 3
    assert "2.5 s of rest before each" in of(576, "cpu", 2.5).protocol


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
