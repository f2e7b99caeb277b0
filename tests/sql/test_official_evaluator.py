"""The official evaluator's semantics, point by point, and its verdicts on real predictions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.data.records import Condition, LogicalForm, Table
from harness.data.sources.wikisql import load_split
from harness.sql.grade.official import EvaluationError, OfficialEvaluator, logical_form_match

DEV = Path(__file__).resolve().parents[3] / "shared" / "wikisql" / "dev"
needs_dev = pytest.mark.skipif(not DEV.is_dir(), reason="the shared WikiSQL dev split is not here")

TABLE = Table(
    "1-1",
    ("Player", "No.", "Points"),
    ("text", "text", "real"),
    (
        ("Jalen Rose", "5", 21),
        ("ΑΘΗΝΑΣ", 3, "1,234"),
        ("jalen rose", 3.0, "21"),
        (None, "abc", None),
        ("Zed", "12 laps", "n/a"),
    ),
)


def run(sel: object, agg: object = 0, *conds: object) -> list[object]:
    query = {"sel": sel, "agg": agg, "conds": list(conds)}
    return OfficialEvaluator().execute(TABLE, query)


def test_text_is_lower_cased_on_both_sides_by_python() -> None:
    assert run(2, 0, [0, 0, "JALEN Rose"]) == [21.0, 21.0]
    assert run(0, 0, [0, 0, "ΑΘΗΝΑΣ"]) == ["αθηνας"]


def test_two_values_for_a_column_are_bound_as_the_last() -> None:
    assert run(1, 0, [0, 0, "nobody"], [0, 0, "zed"]) == ["12 laps"]


def test_a_value_that_is_not_bound_need_not_be_bindable() -> None:
    assert run(1, 0, [0, 0, ["nobody"]], [0, 0, "zed"]) == ["12 laps"]
    with pytest.raises(EvaluationError):
        run(1, 0, [2, 0, "none"], [2, 0, 21])


def test_numbers_are_read_as_babel_reads_them() -> None:
    for value in ("21", "+21", "2.1e1", "２１", "21 points", " 21 "):
        assert run(0, 0, [2, 0, value]) == ["jalen rose", "jalen rose"], value


def test_a_dollar_amount_is_its_first_number() -> None:
    assert run(0, 0, [2, 0, "$21,000"]) == ["jalen rose", "jalen rose"]


def test_a_value_without_a_number_is_an_error_on_a_real_column() -> None:
    with pytest.raises(EvaluationError):
        run(0, 0, [2, 0, "none"])


def test_nan_binds_null_and_infinity_compares() -> None:
    assert run(0, 0, [2, 0, "nan"]) == []
    assert run(0, 0, [2, 2, "inf"]) == ["jalen rose", "jalen rose"]


def test_text_in_a_real_column_sorts_above_numbers() -> None:
    assert run(2, 0, [2, 1, 1e9]) == ["1,234", "n/a"]
    assert run(2, 1) == ["n/a"]
    assert run(2, 2) == [21.0]


def test_a_number_against_a_text_column_compares_as_text() -> None:
    assert run(0, 0, [1, 0, 5]) == ["jalen rose"]
    assert run(2, 0, [1, 0, 3.0]) == [21.0]
    assert run(0, 0, [1, 1, 4]) == ["jalen rose", None]


def test_sum_and_avg_take_a_leading_number_else_zero() -> None:
    assert run(2, 4) == [43.0]
    assert run(2, 5) == [10.75]
    assert run(1, 4) == [23.0]


def test_count_skips_null_and_aggregates_of_nothing_are_null() -> None:
    assert run(2, 3) == [4]
    assert run(2, 1, [0, 0, "nobody"]) == [None]
    assert run(2, 3, [0, 0, "nobody"]) == [0]


def test_python_indices_are_kept() -> None:
    assert run(2, -1) == run(2, 5)
    assert run(0, 0, [2, -2, 22]) == run(0, 0, [2, 2, 22])


@pytest.mark.parametrize(
    ("sel", "agg", "conds"),
    [
        (3, 0, []), (-1, 0, []), (True, 0, []), (1.0, 0, []), (None, 0, []), (0, 6, []),
        (0, None, []), (0, 0, [[0, 3, "x"]]), (0, 0, [[0, 4, "x"]]), (0, 0, [[9, 0, "x"]]),
        (0, 0, [[0, 0]]), (0, 0, [[0, 0, ["x"]]]), (0, 0, [[0, 0, 2**63]]), (0, 0, [[2, 0, None]]),
        (0, 0, [[0, 0, "\ud800"]]),
    ],
)  # fmt: skip
def test_what_the_evaluator_raises_on_is_an_error(sel: object, agg: object, conds: list) -> None:
    with pytest.raises(EvaluationError):
        run(sel, agg, *conds)


def test_a_table_without_rows_gives_empty_zero_and_null() -> None:
    empty = Table("1-1", TABLE.header, TABLE.types, ())
    evaluator = OfficialEvaluator()
    assert evaluator.execute(empty, LogicalForm(0, 0, ())) == []
    assert evaluator.execute(empty, LogicalForm(0, 3, ())) == [0]
    assert evaluator.execute(empty, LogicalForm(0, 4, ())) == [None]


def test_logical_form_ignores_order_repeats_and_number_type() -> None:
    gold = LogicalForm(0, 3, (Condition(1, 0, "A"), Condition(2, 1, 3)))
    assert logical_form_match({"sel": 0, "agg": 3, "conds": [[2, 1, "3"], [1, 0, "a"]]}, gold)
    assert logical_form_match(
        {"sel": 0, "agg": 3, "conds": [[1, 0, "a"], [1, 0, "A"], [2, 1, 3]]}, gold
    )
    assert not logical_form_match({"sel": 0, "agg": 3, "conds": [[2, 1, 3.0], [1, 0, "a"]]}, gold)
    assert not logical_form_match({"sel": 0, "agg": 3, "conds": [[1, 0, "a"]]}, gold)
    assert not logical_form_match({"sel": 0, "agg": 3, "conds": [[[], 0, "a"]]}, gold)
    assert not logical_form_match(None, gold)


def disagreements(start: int, end: int) -> list[int]:
    split = load_split(DEV, ["dev"])
    evaluator = OfficialEvaluator()
    found = []
    with (DEV / "dev.pred.jsonl").open() as preds, (DEV / "dev.official.jsonl").open() as wanted:
        for example, pred, line in zip(split.examples, preds, wanted, strict=True):
            if not start <= example.id < end:
                continue
            prediction, official = json.loads(pred), json.loads(line)
            table = split.tables[example.table_id]
            gold = evaluator.execute(table, example.gold)
            ex = lf = False
            if not prediction["error"]:
                lf = logical_form_match(prediction["query"], example.gold)
                try:
                    ex = evaluator.execute(table, prediction["query"]) == gold
                except EvaluationError:
                    ex = False
            if (ex, lf, gold) != (official["ex"], official["lf"], official["gold"]):
                found.append(example.id)
    return found


@needs_dev
def test_a_sample_of_the_official_verdicts_is_reproduced() -> None:
    assert disagreements(2000, 3000) == []


@needs_dev
@pytest.mark.slow
def test_all_official_verdicts_are_reproduced() -> None:
    assert disagreements(0, 8421) == []
