"""Common beginnings: which rows share what, and that sharing changes no answer."""

from __future__ import annotations

import random

import pytest
from measure_models import TEXT, Loaded, llama

from harness.measure.decode import BatchDecoder
from harness.measure.generate import GenerationProtocol, generate
from harness.measure.prefixes import SharedPrefix, prefix_batches, shared_prefixes
from harness.models.backend import mx


def test_rows_with_a_common_beginning_form_a_group() -> None:
    rows = [[1, 2, 3, 9], [7, 7, 7], [1, 2, 3, 8, 8], [7, 7, 6]]
    assert shared_prefixes(rows, minimum=2) == [
        SharedPrefix(3, (2, 0)),
        SharedPrefix(2, (1, 3)),
    ]


def test_a_short_overlap_is_not_shared() -> None:
    rows = [[1, 2, 3, 9], [1, 2, 4, 9]]
    assert shared_prefixes(rows, minimum=3) == [SharedPrefix(0, (0,)), SharedPrefix(0, (1,))]


def test_a_row_joins_only_if_more_is_saved() -> None:
    # Two rows share 6; letting the third in would save 2 x 2 < 1 x 6.
    rows = [[1, 1, 1, 1, 1, 1, 5], [1, 1, 1, 1, 1, 1, 6], [1, 1, 9, 9]]
    assert [group.length for group in shared_prefixes(rows, minimum=2)] == [6, 0]


def test_equal_rows_keep_one_token_of_their_own() -> None:
    assert shared_prefixes([[4, 4, 4], [4, 4, 4]], minimum=1) == [SharedPrefix(2, (0, 1))]


def test_a_row_that_begins_another_keeps_its_last_token() -> None:
    assert shared_prefixes([[4, 4, 4, 4], [4, 4]], minimum=1) == [SharedPrefix(1, (0, 1))]


def test_empty_rows_share_nothing() -> None:
    assert [group.length for group in shared_prefixes([[], [], [3]], minimum=0)] == [0, 0, 0]


def test_batches_hold_every_row_once_longest_group_first() -> None:
    rows = [[1] * 20, [2] * 30, [1] * 18 + [5] * 4, [3] * 5]
    assert prefix_batches(rows, 2) == [[1, 2], [0, 3]]
    with pytest.raises(ValueError, match="batch_size"):
        prefix_batches(rows, 0)


def questions_on_tables(tables: int, questions: int, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)

    def text(low: int, high: int) -> list[int]:
        return [ord(rng.choice(TEXT)) for _ in range(rng.randint(low, high))]

    prompts = []
    for _ in range(tables):
        table = text(17, 50)
        prompts += [table + text(1, 20) for _ in range(questions)]
    rng.shuffle(prompts)
    return prompts


def test_sharing_changes_no_answer(tiny: Loaded) -> None:
    prompts = questions_on_tables(4, 4)
    protocol = GenerationProtocol(max_new_tokens=10, stop_at_newline=False)
    alone = [generate(tiny, [prompt], protocol)[0] for prompt in prompts]
    assert generate(tiny, prompts, protocol) == alone


def test_sharing_works_with_sliding_windows_shorter_than_the_prefix(tiny: Loaded) -> None:
    model = llama(
        vocab_size=258, layer_types=["sliding_attention", "full_attention"], sliding_window=12
    )
    loaded = Loaded(model, tiny.tokenizer, tiny.base)
    prompts = questions_on_tables(3, 3, seed=1)
    protocol = GenerationProtocol(max_new_tokens=10, stop_at_newline=False)
    alone = [generate(loaded, [prompt], protocol)[0] for prompt in prompts]
    assert generate(loaded, prompts, protocol) == alone


def test_a_common_beginning_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    positions = []
    model = llama()
    kind = type(model.model)
    call = kind.__call__

    def counting(self: object, tokens: mx.array, *args: object) -> mx.array:
        positions.append(tokens.size)
        return call(self, tokens, *args)

    monkeypatch.setattr(kind, "__call__", counting)
    BatchDecoder(model, [[1] * 40 + [2, 3], [1] * 40 + [4, 5], [1] * 40 + [6, 7]])
    assert positions == [40, 3]
