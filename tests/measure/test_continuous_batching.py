"""Batches decoded as one: who goes in and out when, by hand; the answers are those of one batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from measure_models import Base, Loaded, llama, rows

from harness.disk.journal import Journal
from harness.measure.decode import BatchDecoder, decoder_of
from harness.measure.generate import GenerationProtocol, decode_continuously, generate
from harness.models.cpu.accelerate import Acceleration, Answering
from harness.models.cpu.decode_batches import joinable


class Script:
    """Rows named by number; each step's tokens are the rows' own numbers."""

    def __init__(self, log: list[tuple[str, list[int]]], rows: list[int]) -> None:
        self.log = log
        self.rows = rows

    def step(self) -> list[int]:
        self.log.append(("step", list(self.rows)))
        return list(self.rows)

    def keep(self, places: list[int]) -> None:
        self.rows = [self.rows[place] for place in places]

    def extend(self, other: Script) -> None:
        self.rows += other.rows


def played(lengths: list[int], size: int, batches: int) -> list[tuple[str, list[int]]]:
    """What happens to batches of ``size`` rows with so many tokens to come."""
    log: list[tuple[str, list[int]]] = []
    left = dict(enumerate(lengths))

    def ready() -> Any:
        for start in range(0, len(lengths), size):
            batch = list(range(start, min(start + size, len(lengths))))
            log.append(("begin", list(batch)))
            yield tuple(batch), Script(log, batch)

    def take(row: int, token: int) -> bool:
        assert token == row
        left[row] -= 1
        return left[row] > 0

    decode_continuously(ready(), size, batches, take)
    assert not any(left.values())
    return log


def test_one_batch_at_a_time_loses_each_row_at_once() -> None:
    assert played([1, 2, 3, 1], size=2, batches=1) == [
        ("begin", [0, 1]),
        ("step", [0, 1]),
        ("step", [1]),
        ("begin", [2, 3]),
        ("step", [2, 3]),
        ("step", [2]),
        ("step", [2]),
    ]


def test_the_next_batch_joins_when_it_fits() -> None:
    # A quarter of four is one row, but a batch of two needs two places.
    assert played([1, 2, 4, 4, 1, 1], size=2, batches=2) == [
        ("begin", [0, 1]),
        ("begin", [2, 3]),
        ("step", [0, 1, 2, 3]),
        ("step", [1, 2, 3]),
        ("begin", [4, 5]),
        ("step", [2, 3, 4, 5]),
        ("step", [2, 3]),
    ]


def test_rows_leave_a_quarter_at_a_time() -> None:
    log = played([1, 2, 3, 4, 5, 5, 5, 5], size=8, batches=2)
    assert [len(rows) for _, rows in log[1:]] == [8, 8, 6, 6, 4]


def test_a_batch_that_ends_whole_makes_way_for_the_next() -> None:
    assert played([1, 1, 1, 1], size=2, batches=1)[1::2] == [("step", [0, 1]), ("step", [2, 3])]
    assert played([], size=2, batches=2) == []


@pytest.fixture
def prompts() -> list[list[int]]:
    return [list(row.tokens[:-1]) for row in rows(40, seed=3, high=60)]


@pytest.fixture
def loaded(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """A model whose answers end at different steps: their limit is what a context of 70 leaves."""
    monkeypatch.setattr(
        "harness.measure.generate._max_new_tokens",
        lambda _, prompts, most: [min(most, 70 - len(prompt)) for prompt in prompts],
    )
    return Loaded(llama(seed=5, vocab_size=258), tiny.tokenizer, tiny.base)


def together(batches: int) -> Acceleration:
    """So many batches decoded as one, nothing else."""
    return Acceleration("cpu", answering=Answering(batches))


PROTOCOL = GenerationProtocol(max_new_tokens=40, batch_size=4)


@pytest.mark.slow
def test_batches_decoded_as_one_give_the_answers_of_each(
    loaded: Loaded, prompts: list[list[int]]
) -> None:
    alone = generate(loaded, prompts, replace(PROTOCOL, batch_size=1))
    assert len({answer.tokens for answer in alone}) > 5
    for batches in (1, 2, 4):
        loaded.acceleration = together(batches)
        assert generate(loaded, prompts, PROTOCOL) == alone


@pytest.mark.slow
def test_sliding_windows_join_too(loaded: Loaded, prompts: list[list[int]]) -> None:
    model = llama(
        vocab_size=258, layer_types=["sliding_attention", "full_attention"], sliding_window=16
    )
    loaded = replace(loaded, model=model)
    alone = generate(loaded, prompts, replace(PROTOCOL, batch_size=1))
    loaded.acceleration = together(4)
    assert generate(loaded, prompts, PROTOCOL) == alone


def test_each_batch_is_kept_when_its_last_row_is_done(
    loaded: Loaded, prompts: list[list[int]], tmp_path: Path
) -> None:
    loaded.acceleration = together(4)
    whole = generate(loaded, prompts, PROTOCOL)
    file = tmp_path / "rows.jsonl"
    journal = Journal(file, "kernels", dict)
    calls = 0

    def killed(label: str, done: float, total: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(loaded, prompts, PROTOCOL, killed, journal)
    kept = Journal(file, "kernels", dict)
    assert 0 < len(kept.rows) < 25
    assert len(kept.rows) % PROTOCOL.batch_size == 0
    assert generate(loaded, prompts, PROTOCOL, kept=kept) == whole


def steps(loaded: Loaded, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each step of answering."""
    seen: list[int] = []
    step = BatchDecoder.step

    def watched(self: BatchDecoder) -> list[int]:
        tokens = step(self)
        seen.append(len(tokens))
        return tokens

    loaded.acceleration = together(4)
    with monkeypatch.context() as patch:
        patch.setattr(BatchDecoder, "step", watched)
        generate(loaded, prompts, PROTOCOL)
    return seen


def test_batches_that_fit_are_decoded_as_one(
    loaded: Loaded, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(steps(loaded, prompts, monkeypatch)) == 16


def test_caches_that_lack_memory_keep_it_at_one_batch(
    loaded: Loaded, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.models.cpu.rule.COPIES_SHARE", 0.0)
    assert max(steps(loaded, prompts, monkeypatch)) == 4


def test_no_row_is_fed_beyond_the_context(
    loaded: Loaded, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The longest prompt and twice 40 tokens: a row that is done may wait for others.
    longest = max(map(len, prompts))
    enough = replace(loaded, base=Base({"max_position_embeddings": longest + 80}))
    short = replace(loaded, base=Base({"max_position_embeddings": longest + 79}))
    assert max(steps(enough, prompts, monkeypatch)) == 16
    assert max(steps(short, prompts, monkeypatch)) == 4


def test_a_model_without_batched_caches_keeps_one_batch() -> None:
    from mlx_lm.models.cache import ConcatenateKVCache

    class Unbatched(type(llama())):  # type: ignore[misc]
        def make_cache(self) -> list[Any]:
            return [ConcatenateKVCache() for _ in self.layers]

    assert joinable(llama())
    assert not joinable(Unbatched(llama().args))


@pytest.mark.parametrize("batches", [1, 3])
def test_a_step_ahead_gives_the_same_answers(
    loaded: Loaded, prompts: list[list[int]], batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU; rows end at different steps, and batches join others that are under way."""
    loaded.acceleration = together(batches)
    expected = generate(loaded, prompts, PROTOCOL)
    monkeypatch.setattr("harness.measure.decode.backend_name", lambda: "metal")
    assert generate(loaded, prompts, PROTOCOL) == expected
    assert len({answer.tokens for answer in expected}) > 5


@pytest.mark.parametrize(("backend", "fed"), [("cpu", [1, 2, 3]), ("cuda", [2, 3, 4])])
def test_on_a_gpu_the_next_step_is_under_way_before_the_tokens_are_read(
    backend: str, fed: list[int], loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.measure.decode.backend_name", lambda: backend)
    decoder = decoder_of(loaded.model, [[65, 66, 67], [70, 71, 72]])
    feed, calls = decoder._feed, 0

    def counted() -> Any:
        nonlocal calls
        calls += 1
        return feed()

    monkeypatch.setattr(decoder, "_feed", counted)
    assert [calls for _ in range(3) if decoder.step()] == fed
