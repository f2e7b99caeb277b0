"""Result comparison: multisets of rows, typed tolerance, nothing broadcast or shuffled."""

from __future__ import annotations

from harness.sql.grade.equality import equal_results


def test_order_of_rows_does_not_count_and_repetition_does() -> None:
    assert equal_results([("a",), ("b",), ("a",)], [("a",), ("a",), ("b",)])
    assert not equal_results([("a",), ("b",), ("b",)], [("a",), ("a",), ("b",)])


def test_one_row_is_not_broadcast_over_two() -> None:
    assert not equal_results([(5,)], [(5,), (5,)])
    assert not equal_results([(5,)], [(5, 5)])


def test_order_of_columns_counts() -> None:
    assert not equal_results([("a", "b")], [("b", "a")])


def test_text_is_compared_lower_cased_by_python() -> None:
    assert equal_results([("ΑΘΗΝΑΣ",)], [("αθηνας",)])
    assert not equal_results([("straße",)], [("strasse",)])
    assert not equal_results([("a ",)], [("a",)])


def test_numbers_agree_within_a_millionth_or_a_billionth() -> None:
    assert equal_results([(1_000_000.0,)], [(1_000_000.5,)])
    assert not equal_results([(1_000_000.0,)], [(1_000_002.0,)])
    assert equal_results([(0.0,)], [(1e-10,)])
    assert not equal_results([(0.0,)], [(1e-8,)])
    assert equal_results([(3,)], [(3.0,)])


def test_a_number_is_not_a_text_and_null_is_only_null() -> None:
    assert not equal_results([(3,)], [("3",)])
    assert equal_results([(None,)], [(None,)])
    assert not equal_results([(None,)], [(0,)])
    assert not equal_results([(None,)], [("",)])


def test_empty_equals_empty_only() -> None:
    assert equal_results([], [])
    assert not equal_results([], [(None,)])


def test_close_numbers_in_several_columns_are_matched_not_sorted() -> None:
    left = [(1.0000001, "b"), (1.0, "a")]
    right = [(1.0, "b"), (1.0000001, "a")]
    assert equal_results(left, right)
    assert not equal_results(left, [(1.0, "b"), (1.0000001, "b")])
