"""The seeded, table-stratified shuffle."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.records import Example, LogicalForm, Split
from harness.data.sampling import stratified
from harness.errors import UserError


def split(*sizes: int) -> Split:
    tables = [f"t{t}" for t, size in enumerate(sizes) for _ in range(size)]
    gold = LogicalForm(0, 0, ())
    return Split("test", tuple(Example(i, t, "q", gold) for i, t in enumerate(tables)), {})


def test_a_prefix_holds_each_table_in_proportion() -> None:
    for seed in range(20):
        counts = Counter(example.table_id for example in stratified(split(40, 20, 10), 14, seed))
        assert all(abs(counts[t] - want) <= 1 for t, want in (("t0", 8), ("t1", 4), ("t2", 2)))


def test_a_few_examples_come_from_as_many_tables() -> None:
    chosen = stratified(split(*[5] * 40), 8, seed=3)
    assert len({example.table_id for example in chosen}) == 8


def test_small_and_large_tables_are_drawn_at_the_same_rate() -> None:
    sizes = [1 + t % 6 for t in range(60)]
    data, rounds, n = split(*sizes), 400, 40
    drawn = Counter(
        sizes[int(e.table_id[1:])] for seed in range(rounds) for e in stratified(data, n, seed)
    )
    for size in range(1, 7):
        expected = rounds * n * 10 * size / len(data.examples)
        assert abs(drawn[size] / expected - 1) < 0.08


def test_the_order_of_a_seed_never_changes() -> None:
    assert [e.id for e in stratified(split(3, 2, 4), -1, seed=0)] == [2, 8, 3, 1, 5, 7, 0, 4, 6]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(0, 99), st.integers(1, 60))
def test_prefixes_nest_and_all_is_a_permutation(sizes: list[int], seed: int, n: int) -> None:
    data = split(*sizes)
    order = stratified(data, -1, seed)
    assert sorted(e.id for e in order) == list(range(len(data.examples)))
    assert stratified(data, n, seed) == order[:n]


@pytest.mark.parametrize("n", [0, -2])
def test_no_examples_cannot_be_asked_for(n: int) -> None:
    with pytest.raises(UserError, match=f"cannot take {n} examples"):
        stratified(split(3), n, 0)
