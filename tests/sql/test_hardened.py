"""ex_hardened: right by luck is caught, equivalent is not failed."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from harness.data.records import Condition, Example, LogicalForm, Table
from harness.data.sources.wikisql import load_split
from harness.sql.failures import Failure
from harness.sql.grade.given_tables import Results
from harness.sql.grade.perturb import Copies
from harness.sql.grade.predictions import Prediction
from harness.sql.grade.score import score
from harness.sql.run import batch
from harness.sql.run.batch import Rows
from tests.sql.conftest import OVER_3, SQUAD

DEV = Path(__file__).resolve().parents[3] / "shared" / "wikisql" / "dev"
needs_dev = pytest.mark.skipif(not DEV.is_dir(), reason="the shared WikiSQL dev split is not here")

K = 8


EQUIVALENT = [
    "SELECT Player FROM 1-1 WHERE Points >= 4",
    'SELECT "Player" FROM "1-1" WHERE 3 < "Points"',
    "SELECT Player FROM 1-1 WHERE Points > 3 AND Points > 3",
    "SELECT Player FROM 1-1 WHERE NOT Points <= 3",
    "SELECT Player FROM 1-1 WHERE Points > 3 ORDER BY Player",
]
LUCKY = [
    "SELECT Player FROM 1-1 WHERE Points > 2",
    "SELECT Player FROM 1-1 WHERE Points >= 3",
    "SELECT Player FROM 1-1 WHERE Player <> 'Ann'",
    "SELECT Player FROM 1-1 WHERE Points IN (4, 9)",
    "SELECT Player FROM 1-1 WHERE Points BETWEEN 4 AND 9",
    "SELECT DISTINCT Player FROM 1-1 WHERE Points > 3",
    "SELECT Player FROM 1-1 WHERE Points > 3 LIMIT 3",
    "SELECT Player FROM 1-1 ORDER BY Points DESC LIMIT 3",
]


def test_an_equivalent_query_never_fails(grade) -> None:
    for text, row in zip(EQUIVALENT, grade(EQUIVALENT, hardened=32), strict=True):
        assert (row.ex, row.ex_hardened) == (True, True), text


def test_luck_is_caught(grade) -> None:
    for text, row in zip(LUCKY, grade(LUCKY, hardened=K), strict=True):
        assert (row.ex, row.ex_hardened) == (True, False), text


WINS = Table(
    "1-2",
    ("Player", "Wins", "Points", "Year"),
    ("text", "real", "real", "real"),
    (("Ann", 1, 10, 1990), ("Bob", 4, 30, 1991), ("Cy", 9, 20, 1992), ("Dee", 6, 40, 1993)),
)


@pytest.mark.parametrize("aggregate", [1, 2], ids=["MAX", "MIN"])
def test_bounds_and_further_conditions_show_under_max_and_min(grade, aggregate: int) -> None:
    gold = LogicalForm(2, aggregate, (Condition(1, 1, 3),))
    start = f'SELECT {("MAX", "MIN")[aggregate - 1]}("Points") FROM "1-2" WHERE '
    same = ["Wins >= 4", "Wins > 3 AND Wins > 2", "NOT Wins <= 3"]
    lucky = [
        *("Wins >= 3", "Wins > 2", "Wins <> 1", "Wins IN (4, 6, 9)"),
        *("Wins > 3 AND Year > 1980", "Wins > 3 AND Year <> 1990", "Wins > 3 AND Points < 99"),
        *("Wins > 3 AND Points > 3", "Wins > 3 AND Points <> 10", "Year > 1990"),
        # Gold's own value in another spelling is no value of the answer's.
        *("Wins > 3.0 AND Player <> 'ann'", "Wins > 3.0 AND Year <> 1990.0"),
    ]
    rows = grade([start + where for where in (*same, *lucky)], gold, hardened=K, table=WINS)
    assert [row.ex for row in rows] == [True] * len(rows)
    assert [row.ex_hardened for row in rows] == [True] * len(same) + [False] * len(lucky)


@pytest.mark.parametrize("aggregate", [1, 2], ids=["MAX", "MIN"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_value_of_an_answer_leads_in_a_copy(aggregate: int, count: int) -> None:
    """So many values, so many copies: every fourth, which has no leader, costs none its turn."""
    gold = LogicalForm(2, aggregate, (Condition(1, 1, 3),))
    asked = [(3, str(year)) for year in range(2000, 2000 + 10 * count, 10)]
    maker = Copies(WINS, gold, asked)
    total, leaders = len(maker._plan(0).asked), set()
    for copy in [copy for copy in range(2 * total) if copy % 4 != 3][:total]:
        (points,) = maker.columns(copy, (2,))
        about = [float(cell) for cell in points[-total:] if cell is not None]
        end = max(about) if aggregate == 1 else min(about)
        leaders.add(maker._plan(copy).asked[about.index(end)])
    assert len(leaders) == total >= 3 * count


def test_a_condition_on_the_aggregated_column_is_not_one_on_another(grade) -> None:
    """WikiSQL dev 4138: every cell of both columns lies below the bound."""
    table = Table("1-3", ("A", "B"), ("real", "real"), ((143, 23), (30, 151), (-100, 10), (51, 17)))
    gold = LogicalForm(1, 1, (Condition(0, 2, 153),))
    texts = ["SELECT MAX B FROM 1-3 WHERE B < 153", "SELECT MAX B FROM 1-3"]
    for row in grade(texts, gold, hardened=K, table=table):
        assert (row.ex, row.ex_hardened) == (True, False)


def test_a_counterexample_is_small_and_parts_the_two(grade) -> None:
    gold = LogicalForm(2, 2, (Condition(1, 1, 3),))
    text = 'SELECT MIN("Points") FROM "1-2" WHERE Wins >= 3'
    (row,) = grade([text], gold, hardened=K, table=WINS)
    found = row.counterexample
    assert found.columns == ["Wins", "Points"]
    (taken,) = [points for wins, points in found.rows if wins > 3]
    (let_in,) = [points for wins, points in found.rows if wins == 3]
    assert (found.gold, found.answer) == ([[taken]], [[let_in]])
    assert let_in < taken
    assert row.row()["counterexample"]["rows"] == found.rows


@pytest.mark.slow
def test_only_an_answer_right_by_luck_has_a_counterexample_and_no_row_of_it_can_go(grade) -> None:
    wrong = "SELECT Player FROM 1-1 WHERE Points > 8"
    for row in grade([EQUIVALENT[0], wrong], hardened=K):
        assert row.counterexample is None
    texts = (LUCKY[1], LUCKY[5], LUCKY[6])
    for text, row in zip(texts, grade(texts, hardened=K), strict=True):
        columns, kept = row.counterexample.columns, row.counterexample.rows
        fewer = [[*kept[:at], *kept[at + 1 :]] for at in range(len(kept))]
        assert parts(text, columns, [kept, *fewer]) == [True, *[False] * len(fewer)], text


def parts(text: str, columns: list[str], tables: list[list[list[object]]]) -> list[bool]:
    """Whether ``text`` and OVER_3 part, for each table on a squad whose rows hold its cells."""
    squads = {}
    for at, cells in enumerate(tables):
        values = [dict(zip(columns, row, strict=True)) for row in cells]
        rows = tuple(tuple(row.get(name, "") for name in SQUAD.header) for row in values)
        squads[f"2-{at}"] = replace(SQUAD, id=f"2-{at}", rows=rows)
    asked = [Example(at, name, "q", OVER_3) for at, name in enumerate(squads)]
    texts = [Prediction(at, text=text.replace("1-1", name)) for at, name in enumerate(squads)]
    return [row.ex is False for row in score(squads, asked, texts, 0)]


def test_answers_that_name_other_values_are_run_on_further_rows(squad) -> None:
    gold = LogicalForm(0, 1, (Condition(3, 1, 3),))
    plain, asked = Copies(squad, gold), Copies(squad, gold, [(2, "Red")])
    for copy in range(K):
        for one, other in zip(
            plain.columns(copy, (2, 3)), asked.columns(copy, (2, 3)), strict=True
        ):
            assert other[: len(one)] == one
    assert asked.columns(0, (2,))[0][-3:] == ["Red", "Re", "Red x"]


def test_counts_of_columns_without_null_are_the_same_and_with_null_are_not(grade) -> None:
    gold = LogicalForm(0, 3, (Condition(3, 2, 9),))
    counts = ("COUNT Team", "COUNT No.", "COUNT(*)")
    texts = [f"SELECT {count} FROM 1-1 WHERE Points < 9" for count in counts]
    rows = grade(texts, gold, hardened=K)
    assert [row.ex for row in rows] == [True, True, True]
    assert [row.ex_hardened for row in rows] == [True, False, True]


def test_copies_are_the_same_for_the_same_seed_and_put_null_only_where_null_is(squad) -> None:
    gold = LogicalForm(0, 0, (Condition(3, 1, 3),))
    columns = [Copies(squad, gold).columns(copy, (0, 1, 2, 3)) for copy in range(16)]
    again = [Copies(squad, gold).columns(copy, (0, 1, 2, 3)) for copy in range(16)]
    assert columns == again
    assert columns[0] != columns[1]
    cells = [[cell for copy in columns for cell in copy[i]] for i in range(4)]
    assert [None in column for column in cells] == [False, True, False, False]
    assert all(float(cell).is_integer() for cell in cells[3])
    # The boundary and its neighbours appear.
    assert {2, 3, 4} <= set(cells[3])


def test_a_table_whose_rows_are_few_or_constant_still_distinguishes_columns(grade) -> None:
    table = Table("1-1", ("A", "B", "C"), ("text", "text", "real"), (("x", "x", 1), ("x", "x", 1)))
    gold = LogicalForm(0, 0, (Condition(2, 0, 1),))
    (row,) = grade(["SELECT B FROM 1-1 WHERE C = 1"], gold, hardened=K, table=table)
    assert (row.ex, row.ex_hardened) == (True, False)


def mutated(rng: random.Random, gold: LogicalForm, table: Table) -> tuple[LogicalForm, bool]:
    """A changed gold, and whether it may be equivalent (COUNT of another column)."""
    conds, sel, agg = list(gold.conds), gold.sel, gold.agg
    change = rng.choice(("drop", "operator", "column", "aggregate", "value", "condition"))
    at = rng.randrange(len(conds)) if conds else 0
    if not conds or change == "aggregate":
        agg = rng.choice([other for other in range(6) if other != agg])
    elif change == "drop":
        conds.pop(at)
    elif change == "operator":
        others = [other for other in range(3) if other != conds[at].operator]
        conds[at] = conds[at]._replace(operator=rng.choice(others))
    elif change == "column":
        sel = (sel + 1) % len(table.header)
    else:
        column = (
            conds[at].column if change == "value" else (conds[at].column + 1) % len(table.header)
        )
        values = [row[column] for row in table.rows if row[column] is not None]
        if values:
            conds[at] = Condition(column, 0, rng.choice(values))
    changed = LogicalForm(sel, agg, tuple(conds))
    same = {(c.column, c.operator, _plain(c.value)) for c in conds} == {
        (c.column, c.operator, _plain(c.value)) for c in gold.conds
    }
    return changed, (same and sel == gold.sel and agg == gold.agg) or (
        change == "column" and agg == 3
    )


def _plain(value: object) -> object:
    try:
        return float(str(value).replace(",", ""))
    except ValueError:
        return str(value).lower()


def catch_rate(start: int, end: int, seed: int) -> tuple[int, int]:
    split, rng = load_split(DEV, ["dev"]), random.Random(seed)
    examples, predictions, equivalent = [], [], []
    for example in split.examples[start:end]:
        changed, same = mutated(rng, example.gold, split.tables[example.table_id])
        query = {"sel": changed.sel, "agg": changed.agg, "conds": [list(c) for c in changed.conds]}
        examples.append(example)
        predictions.append(Prediction(example.id, query=query, structured=True))
        equivalent.append(same)
    rows = score(split.tables, examples, predictions, K)
    lucky = [row for row, same in zip(rows, equivalent, strict=True) if row.ex and not same]
    return len(lucky), sum(not row.ex_hardened for row in lucky)


@needs_dev
def test_lucky_mutations_of_real_gold_are_caught_in_a_sample() -> None:
    lucky, caught = catch_rate(0, 1500, 1)
    assert lucky > 40
    assert caught >= 0.95 * lucky


@needs_dev
@pytest.mark.slow
def test_lucky_mutations_of_real_gold_are_caught() -> None:
    lucky, caught = catch_rate(0, 8421, 2)
    assert caught >= 0.95 * lucky


def test_only_a_copy_on_which_both_ran_proves_anything() -> None:
    """Hand-made results: an overrun limit is no difference, an error beside gold's rows is one."""
    one, other, none = Rows(((1,),), 1), Rows(((2,),), 1), Rows((), 0)
    slow, wrong = Failure("timeout"), Failure("execution_error")

    def found(*pairs: tuple[Rows | Failure, Rows | Failure]) -> tuple[int | None, bool, bool]:
        results = Results(*zip(*pairs, strict=True))
        return results.parting(), results.proves(), results.stopped()

    assert found((one, one), (one, other)) == (1, True, False)
    assert found((none, other), (one, one)) == (None, True, False)
    assert found((none, other)) == (None, False, False)
    assert found((slow, slow), (one, slow), (slow, one)) == (None, False, True)
    assert found((one, wrong)) == (0, False, False)


@pytest.mark.slow
def test_copies_that_cannot_be_run_give_no_verdict(grade, monkeypatch) -> None:
    """The statement on the copies takes 2 GB: no copy proves an answer right or wrong."""
    greedy = " HAVING length(repeat('x', 2000000000 + count(*)::INTEGER)) > 0"
    monkeypatch.setattr(batch, "STATEMENT_ON_GIVEN", batch.STATEMENT_ON_GIVEN + greedy)
    lucky, equal, gold = LUCKY[0], EQUIVALENT[0], "SELECT Player FROM 1-1 WHERE Points > 3"
    scores = grade([lucky, equal, gold], hardened=2)
    assert [one.ex for one in scores] == [True, True, True]
    assert [one.ex_hardened for one in scores] == [None, None, True]
    assert [one.counterexample for one in scores] == [None, None, None]
