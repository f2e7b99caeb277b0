"""Batches: complete, seeded, cut from length order, normalised by the update's targets."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np

import harness.backend  # noqa: F401
from harness.data.tokens import TokenizedExample
from harness.measure.batch_plan import length_batches, pad
from harness.train.batches import FEW, BatchIterator, Schedule

LENGTHS = (9, 3, 7, 3, 5, 8, 2, 6, 4, 10, 3)


def row(number: int, length: int, prompt: int = 1) -> TokenizedExample:
    return TokenizedExample(number, "t", tuple(range(100, 100 + length)), prompt)


class Group:
    """A rank of a distributed run."""

    def __init__(self, rank: int, size: int) -> None:
        self._rank, self._size = rank, size

    def rank(self) -> int:
        return self._rank

    def size(self) -> int:
        return self._size


def made(iterator: BatchIterator, count: int, group: Group | None = None) -> list:
    batches = islice(iterator(comm_group=group), count)
    return [[np.array(array) for array in batch] for batch in batches]


def test_length_order_keeps_the_last_partial_batch() -> None:
    assert length_batches([5, 1, 4, 2, 3], 2, longest_first=False) == [[1, 3], [4, 2], [0]]
    assert length_batches([], 2, longest_first=False) == []


def test_an_epoch_visits_every_row_once() -> None:
    schedule = Schedule(LENGTHS, 4, seed=0)
    for number in range(3):
        seen = Counter(index for batch in schedule.epoch(number) for index in batch)
        assert seen == Counter(range(11))
    assert schedule.per_epoch == 3


def test_batches_hold_rows_of_neighbouring_length() -> None:
    for batch in Schedule(LENGTHS, 4, seed=3).epoch(1):
        assert sorted(LENGTHS[index] for index in batch) in ([2, 3, 3, 3], [4, 5, 6, 7], [8, 9, 10])


def test_order_is_seeded_and_changes_between_epochs() -> None:
    lengths = tuple(range(40))
    first = Schedule(lengths, 4, seed=0).epoch(0)
    assert first == Schedule(lengths, 4, seed=0).epoch(0)
    assert first != Schedule(lengths, 4, seed=1).epoch(0)
    assert first != Schedule(lengths, 4, seed=0).epoch(1)
    assert sorted(map(sorted, first)) == sorted(map(sorted, Schedule(lengths, 4, 0).epoch(1)))


def test_rows_of_equal_length_change_neighbours_between_epochs() -> None:
    schedule = Schedule((5,) * 16, 4, seed=0)
    partners = [sorted(map(sorted, schedule.epoch(number))) for number in range(2)]
    assert partners[0] != partners[1]


def test_any_iteration_can_be_reached_directly() -> None:
    schedule = Schedule(LENGTHS, 4, seed=2)
    whole = list(islice(schedule.iterate(0), 10))
    for start in range(10):
        assert list(islice(schedule.iterate(start), 10 - start)) == whole[start:]


def test_rows_are_padded_to_the_longest_of_their_own_batch() -> None:
    assert pad([(1, 2), (3,), ()]).tolist() == [[1, 2], [3, 0], [0, 0]]
    rows = [row(number, length) for number, length in enumerate(LENGTHS)]
    for tokens, spans, _, _ in made(BatchIterator(rows, Schedule(LENGTHS, 4, 0)), 3):
        assert tokens.shape[1] == spans[:, 1].max()
        assert len(tokens) == len(spans)


def test_a_gpu_s_batches_have_few_shapes_and_score_the_same() -> None:
    lengths = tuple(range(3, 83))
    rows = [row(number, length, prompt=2) for number, length in enumerate(lengths)]
    schedule = Schedule(lengths, 4, 0)
    met: list[bool] = []
    few = BatchIterator(rows, schedule, mask_prompt=True, shapes=FEW)
    few.on_iteration_end = lambda done: met.append(few.first_of_its_shape) if done else None
    batches = made(few, 21)[:20]
    exact = made(BatchIterator(rows, schedule, mask_prompt=True), 20)
    assert {tokens.shape[1] for tokens, *_ in batches} == {33, 65, 97}
    assert len({tokens.shape[1] for tokens, *_ in exact}) == 20
    shapes = [(tokens.shape, positions.size) for tokens, _, _, positions in batches]
    assert [shape not in shapes[:at] for at, shape in enumerate(shapes)] == met
    for one, other in zip(batches, exact, strict=True):
        assert one[1].tolist() == other[1].tolist()
        scored = [
            tokens[:, 1:].reshape(-1)[np.array([p for p in positions.tolist() if p >= 0])].tolist()
            for tokens, _, _, positions in (one, other)
        ]
        assert scored[0] == scored[1]
        assert len(scored[0]) == one[2]


def test_the_denominator_is_the_target_count_of_the_batch() -> None:
    rows = [row(0, 5), row(1, 3)]
    iterator = BatchIterator(rows, Schedule((5, 3), 2, 0))
    (_, spans, denominator, _), *_ = made(iterator, 1)
    assert sorted(map(tuple, spans.tolist())) == [(0, 3), (0, 5)]
    assert denominator == 4 + 2
    assert (iterator.counts.tokens, iterator.counts.targets) == (8, 6)


def test_mask_prompt_scores_the_completion_only() -> None:
    rows = [row(0, 5, prompt=3), row(1, 3, prompt=2)]
    iterator = BatchIterator(rows, Schedule((5, 3), 2, 0), mask_prompt=True)
    (_, spans, denominator, _), *_ = made(iterator, 1)
    assert sorted(map(tuple, spans.tolist())) == [(2, 3), (3, 5)]
    assert denominator == 2 + 1


def test_accumulated_micro_batches_share_the_update_s_targets() -> None:
    rows = [row(0, 9), row(1, 3)]
    batches = made(BatchIterator(rows, Schedule((9, 3), 1, 0), accumulate=2), 2)
    # mlx-lm divides the sum of both gradients by 2: 10 targets / 2.
    assert [float(denominator) for _, _, denominator, _ in batches] == [5.0, 5.0]


def test_ranks_share_a_batch_and_its_denominator() -> None:
    rows = [row(number, length) for number, length in enumerate(LENGTHS)]
    schedule = Schedule(LENGTHS, 4, 0)
    whole = made(BatchIterator(rows, schedule), 3)
    parts = [made(BatchIterator(rows, schedule), 3, Group(rank, 2)) for rank in (0, 1)]
    for at in range(3):
        spans = [tuple(span) for part in parts for span in part[at][1].tolist()]
        assert Counter(spans) == Counter(map(tuple, whole[at][1].tolist()))
        for part in parts:
            # mlx-lm averages over 2 ranks.
            assert float(part[at][2]) == float(whole[at][2]) / 2


def test_a_rank_without_a_row_scores_nothing() -> None:
    iterator = BatchIterator([row(0, 5)], Schedule((5,), 4, 0))
    ((tokens, spans, denominator, _),) = made(iterator, 1, Group(1, 2))
    assert tokens.shape == (1, 2)
    assert spans.tolist() == [[0, 0]]
    assert denominator == 2.0


def test_the_hook_runs_between_iterations_with_the_number_done() -> None:
    seen: list[int] = []
    iterator = BatchIterator([row(0, 5)], Schedule((5,), 4, 0))
    iterator.start = 2
    iterator.on_iteration_end = seen.append
    made(iterator, 3)
    assert seen == [2, 3, 4]


def test_rows_beyond_the_maximum_length_are_cut() -> None:
    iterator = BatchIterator([row(0, 9)], Schedule((9,), 1, 0), max_length=4)
    ((tokens, spans, denominator, _),) = made(iterator, 1)
    assert tokens.tolist() == [[100, 101, 102, 103]]
    assert spans.tolist() == [[0, 4]]
    assert denominator == 3
