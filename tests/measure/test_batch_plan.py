"""Common beginnings: which rows share what, and that sharing changes no answer."""

from __future__ import annotations

import random

import pytest
from measure_models import TEXT, Loaded, llama

from harness.backend import mx
from harness.measure.batch_plan import SharedPrefix, length_batches, plan, shared_prefixes
from harness.measure.decode import batchable, decoders
from harness.measure.generate import GenerationProtocol, generate


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


def test_a_plan_holds_every_row_once_and_sends_prefixes_ahead() -> None:
    rows = [[1] * 20 + [5], [2] * 30, [1] * 20 + [6] * 4, [3] * 5]
    [window] = plan(rows, 2)
    # The two rows that share nothing send ahead as much as the others, all but one token at most.
    assert window.prefixes == ((1, 20), (2, 20), (3, 4))
    assert window.starts == {1: (0, 20), 2: (1, 20), 0: (1, 20), 3: (2, 4)}
    assert window.batches == ((1, 2), (0, 3))


def test_a_plan_without_common_beginnings_is_batches_in_length_order() -> None:
    rows = [[1] * 3, [2] * 9, [3] * 5]
    [window] = plan(rows, 2)
    assert window.prefixes == ()
    assert window.batches == ((1, 2), (0,))
    assert plan([], 2) == []
    with pytest.raises(ValueError, match="batch_size"):
        plan(rows, 0)


def test_windows_are_cut_longest_group_first() -> None:
    rows = [[number] * (5 + number) for number in range(10)]
    assert [window.batches for window in plan(rows, 2, window_batches=2)] == [
        ((9, 8), (7, 6)),
        ((5, 4), (3, 2)),
        ((1, 0),),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_never_computes_more_than_plain_batches(seed: int) -> None:
    rows = questions_on_tables(6, 4, seed)
    work, plain, seen = 0, 0, []
    for window in plan(rows, 4):
        if window.prefixes:
            work += len(window.prefixes) * max(length for _, length in window.prefixes)
        for batch in window.batches:
            seen += batch
            work += len(batch) * max(len(rows[row]) - window.starts[row].length for row in batch)
    for batch in length_batches([len(row) for row in rows], 4):
        plain += len(batch) * max(len(rows[row]) for row in batch)
    assert sorted(seen) == list(range(len(rows)))
    assert work < plain


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


@pytest.mark.slow
def test_sharing_changes_no_answer(tiny: Loaded) -> None:
    prompts = [*questions_on_tables(6, 3), [65] * 20, [66, 67], [68]]
    protocol = GenerationProtocol(max_new_tokens=5, batch_size=4, stop_at_newline=False)
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
    assert batchable(model)  # tried here, before positions are counted
    kind = type(model.model)
    call = kind.__call__

    def counting(self: object, tokens: mx.array, *args: object) -> mx.array:
        positions.append(tokens.size)
        return call(self, tokens, *args)

    monkeypatch.setattr(kind, "__call__", counting)
    prompts = [[1] * 40 + [2, 3], [1] * 40 + [4, 5], [1] * 40 + [6, 7]]
    [(batch, _)] = decoders(model, prompts, 16)
    assert sorted(batch) == [0, 1, 2]
    assert positions == [40, 3]
