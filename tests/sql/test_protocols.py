"""Each protocol on hand-made cases, with real DuckDB."""

from __future__ import annotations

from typing import get_args

import pytest

from harness.data.records import Condition, LogicalForm, Table
from harness.schema.execution import FailureKind


def test_order_does_not_count_in_ex_and_counts_officially(grade) -> None:
    (row,) = grade(['SELECT Player FROM "1-1" WHERE Points > 3 ORDER BY Player DESC'])
    assert row.ex is True
    # Outside WikiSQL's form, hence false for the official evaluator.
    assert (row.ex_official, row.lf, row.query) == (False, False, None)


def test_values_match_without_regard_to_case(grade) -> None:
    gold = LogicalForm(1, 0, (Condition(0, 0, "BOB"),))
    (row,) = grade(["SELECT No. FROM 1-1 WHERE Player = 'bob'"], gold)
    assert (row.ex, row.ex_official, row.lf) == (True, True, True)
    assert row.query == {"sel": 1, "agg": 0, "conds": [[0, 0, "bob"]]}
    assert row.sql == 'SELECT "No." FROM "1-1" WHERE lower("Player") = \'bob\''


def test_numbers_are_typed_by_the_column(grade) -> None:
    texts = [
        "SELECT Player FROM 1-1 WHERE Points > '3.0'",
        "SELECT Player FROM 1-1 WHERE Points > 3",
    ]
    assert [row.ex for row in grade(texts)] == [True, True]
    gold = LogicalForm(0, 0, (Condition(1, 0, "3"),))
    assert [row.ex for row in grade(["SELECT Player FROM 1-1 WHERE No. = 3.0"], gold)] == [False]


def test_commas_in_numbers_are_read() -> None:
    from harness.sql.grade.answer import execute_all

    table = Table(
        "t", ("Name", "Crowd"), ("text", "real"), (("a", "24,637"), ("b", 900), ("c", "n/a"))
    )
    asked = {
        "SELECT Name FROM t WHERE Crowd > '1,000'": "a",
        "SELECT MAX(Crowd) FROM t": 24637.0,
        "SELECT SUM(Crowd) FROM t": 25537.0,
        "SELECT Crowd FROM t WHERE Crowd = 'N/A'": "n/a",
    }
    found = execute_all([(table, text) for text in asked])
    assert [one.rows for one in found] == [((value,),) for value in asked.values()]


@pytest.mark.parametrize(
    "gold",
    [
        LogicalForm(0, 0, (Condition(0, 0, "nobody"),)),
        LogicalForm(0, 3, (Condition(0, 0, "nobody"),)),
        LogicalForm(3, 1, (Condition(0, 0, "nobody"),)),
        LogicalForm(1, 0, (Condition(0, 0, "Dee"),)),
    ],
)
def test_degenerate_gold_is_left_out_of_ex_but_not_of_the_official_verdict(grade, gold) -> None:
    (row,) = grade(["SELECT Player FROM 1-1 WHERE Player = 'someone'"], gold, hardened=2)
    assert (row.ex, row.ex_strict, row.ex_hardened) == (None, None, None)
    assert row.ex_official is (gold.sel == 0 and gold.agg == 0)


def test_a_count_of_null_cells_in_rows_that_match_is_not_degenerate(grade) -> None:
    gold = LogicalForm(1, 3, (Condition(0, 0, "Dee"),))
    (row,) = grade(["SELECT COUNT No. FROM 1-1 WHERE Player = 'Dee'"], gold)
    assert row.ex is True


STRICT = [
    'SELECT "Player" FROM "1-1" WHERE "Points" > 3',
    'select player from "1-1" where points > 3;',
    'SELECT t."Player" FROM "1-1" t WHERE t.Points > 3',
]
REPAIRED = [
    "SELECT Player FROM 1-1 WHERE Points > 3",
    '```sql\nSELECT "Player" FROM "1-1" WHERE "Points" > 3\n```',
    'SELECT "Player" FROM "1-1" WHERE "Points" > 3\nQ: next',
    'SELECT "Player" FROM "1-1" WHERE "Points" > 3; SELECT 1',
    "SELECT Player FROM table_1_1 WHERE Points > 3",
    'SELECT Player FROM "1-1" WHERE Points > 3 AND "Team" <> 5',
    'SELECT Player FROM "1-1" WHERE Points > 3 AND Team <> "Green"',
]


def test_strict_wants_a_text_that_duckdb_takes_as_it_stands(grade) -> None:
    rows = grade(STRICT + REPAIRED)
    assert all(row.ex for row in rows)
    assert [row.ex_strict for row in rows] == [True] * len(STRICT) + [False] * len(REPAIRED)


def test_structured_predictions_have_no_strict_verdict(grade) -> None:
    (row,) = grade([{"sel": 0, "agg": 0, "conds": [[3, 1, 3]]}])
    assert (row.ex, row.ex_official, row.lf, row.ex_strict) == (True, True, True, None)


MALFORMED = [
    None, 3, ["x"], [], {},
    {"sel": 9, "agg": 0, "conds": []}, {"sel": 0, "agg": 9, "conds": []},
    {"sel": -1, "agg": 0, "conds": []}, {"sel": 0, "agg": -1, "conds": []},
    {"sel": True, "agg": 0, "conds": []}, {"sel": 0, "agg": 0, "conds": None},
    {"sel": 0, "agg": 0, "conds": [[0, 3, "x"]]}, {"sel": 0, "agg": 0, "conds": [[0, 0]]},
    {"sel": 0, "agg": 0, "conds": [[9, 0, "x"]]}, {"sel": 0, "agg": 0, "conds": [[0, 0, None]]},
    {"sel": 0, "agg": 0, "conds": [[0, 0, ["x"]]]}, {"sel": 0, "agg": 0, "conds": [3]},
]  # fmt: skip


def test_a_malformed_query_is_a_wrong_answer_with_a_name(grade) -> None:
    *bad, good = grade([*MALFORMED, {"sel": 0, "agg": 0, "conds": [[3, 1, 3]]}])
    for query, row in zip(MALFORMED, bad, strict=True):
        assert (row.ex, row.valid, row.failure) == (False, False, "malformed_query"), query
        assert row.ex_official is False, query
    assert good.ex is True


def test_the_official_evaluator_takes_an_aggregate_of_minus_one(grade) -> None:
    gold = LogicalForm(3, 5, ())
    (row,) = grade([{"sel": 3, "agg": -1, "conds": []}], gold)
    assert (row.ex_official, row.lf, row.ex, row.failure) == (True, False, False, "malformed_query")


def test_failures_carry_published_names(grade) -> None:
    texts = ["", "DROP TABLE x", "SELECT Foo FROM 1-1", "SELECT Player, COUNT(*) FROM 1-1",
             "SELECT Player FROM 1-1 WHERE Points LIKE '3%'"]  # fmt: skip
    kinds = [row.failure for row in grade(texts)]
    assert kinds == ["no_query", "not_select", "unknown_column", "execution_error", "type_mismatch"]
    assert set(kinds) <= set(get_args(FailureKind))
    assert not any(row.valid or row.ex for row in grade(texts))


def test_two_columns_do_not_equal_one(grade) -> None:
    (row,) = grade(["SELECT Player, Player FROM 1-1 WHERE Points > 3"])
    assert (row.valid, row.ex) == (True, False)


def test_scores_are_rows_of_the_published_form(grade) -> None:
    (row,) = grade(["SELECT Player FROM 1-1 WHERE Points > 3"])
    assert list(row.row()) == [
        "id", "ex_official", "lf", "ex", "ex_strict", "ex_hardened",
        "valid", "failure", "query", "sql", "read_as",
    ]  # fmt: skip
