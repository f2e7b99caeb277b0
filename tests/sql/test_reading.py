"""Reading answers: dialect, SQL, and what stands around them. One claim a test."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from harness.data.prompts import identifiers
from harness.data.records import Table
from harness.data.sources.wikisql import load_split
from harness.sql.failures import Failure
from harness.sql.query import Comparison, Item, Query, conjunction, to_logical_form
from harness.sql.read.reader import Reader

DEV = Path(__file__).resolve().parents[3] / "shared" / "wikisql" / "dev"
needs_dev = pytest.mark.skipif(not DEV.is_dir(), reason="the shared WikiSQL dev split is not here")

TABLE = Table(
    "1-10015132-11",
    ("Player", "No.", "Position", "Years in Toronto", "School/Club Team", "Pts", "Share (%)"),
    ("text", "text", "text", "text", "text", "real", "real"),
    (),
)


def read(text: str, table: Table = TABLE) -> Query:
    reading = Reader().read(text, table)
    assert isinstance(reading, Query), reading
    return reading


def kind(text: str, table: Table = TABLE) -> str:
    reading = Reader().read(text, table)
    assert isinstance(reading, Failure), reading
    return reading.kind


def query(sel: int, agg: str = "", *conds: tuple[int, str, str]) -> Query:
    return Query((Item(sel, agg),), conjunction([Comparison(*cond) for cond in conds]))


PLAYER_OVER_3 = query(0, "", (5, ">", "3"))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT Player FROM 1-10015132-11 WHERE Pts > 3",
        " SELECT Player FROM 1-10015132-11 WHERE Pts > 3",
        "11 SELECT Player FROM 1-10015132-11 WHERE Pts > 3",
        "select Player from 1-10015132-11 where Pts > 3;",
        "SELECT player FROM 1-10015132-11 WHERE PTS > '3",
        "SELECT Player\nFROM 1-10015132-11\nWHERE Pts > 3\n\nThis is the answer.",
        "SELECT Player FROM 1-10015132-11\n\nWHERE Pts > 3",
        "SELECT Player -- the name\nFROM \"1-10015132-11\"\n-- and\nWHERE Pts > 3 -- enough",
        "SELECT Player FROM 1-10015132-11 WHERE Pts > 3<|im_end|>",
        "SELECT Player FROM 1-10015132-11 WHERE Pts > 3</s>\nQ: Next?\nA: SELECT x",
        "SELECT Player FROM 1-10015132-11 WHERE Pts > 3\nQ: Next?\nA: SELECT MAX Pts FROM x",
        "```sql\nSELECT Player\nFROM `1-10015132-11`\nWHERE `Pts` > 3;\n```\nHope this helps!",
        "You can select it with `SELECT Player FROM 1-10015132-11 WHERE Pts > 3`.",
        "We select from the table. SELECT Player FROM 1-10015132-11 WHERE Pts > 3",
        "Answer: **SELECT Player FROM 1-10015132-11 WHERE Pts > 3**",
        "<think>SELECT Pts FROM x</think>\nSELECT Player FROM 1-10015132-11 WHERE Pts > 3",
        "SELECT Player FROM 1-10015132-11 WHERE Pts > 3; SELECT Pts FROM 1-10015132-11",
        "SELECT T1.Player FROM main.\"1-10015132-11\" AS T1 WHERE 3 < T1.\"Pts\"",
        "SELECT [Player] FROM [1-10015132-11] WHERE [Pts] > 3",
        "SELECT Player FROM table_1_10015132_11 WHERE Pts > 3",
        "SELECT Player AS name FROM 1-10015132-11 WHERE Pts > 3",
        "SELECT col0 FROM table_1_10015132_11 WHERE col5 > 3",
        "SELECT Player FROM \"1-10015132-11\" WHERE NOT (Pts <= 3)",
        "SELECT Player FROM \"1-10015132-11\" WHERE CAST(Pts AS REAL) > 3",
    ],
)  # fmt: skip
def test_every_spelling_of_a_query_is_the_same_query(text: str) -> None:
    assert read(text) == PLAYER_OVER_3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("= 'O'Neal'", "O'Neal"),
        ("= 'O''Neal'", "O'Neal"),
        ("= 'O\\'Neal'", "O'Neal"),
        ('= "O\'Neal"', "O'Neal"),
        ("= O'Neal", "O'Neal"),
        ("= 'O'Neal", "O'Neal"),
        ("= 'players''", "players'"),
        ("== 'rock and roll'", "rock and roll"),
        ("= 'The Last Drop'", "The Last Drop"),
        ("= 'a  b'", "a  b"),
        ("= ''", ""),
        ("= 'x; y'", "x; y"),
        ("= '\"l.a.\"'", '"l.a."'),
        ("= 'from where, limit 3'", "from where, limit 3"),
    ],
)
def test_a_value_ends_where_the_statement_goes_on(text: str, value: str) -> None:
    assert read(f"SELECT Pts FROM 1-10015132-11 WHERE Player {text}") == query(
        5, "", (0, "=", value)
    )
    assert (
        read(f"SELECT Pts FROM 1-10015132-11 WHERE Player {text} AND Pts > 1")
        == query(5, "", (0, "=", value), (5, ">", "1"))
        or text.count("'") == 1
    )


@pytest.mark.parametrize("text", ["COUNT No.", "COUNT(No.)", "count ( No. )", 'COUNT("No.")'])
def test_an_aggregate_needs_no_parentheses(text: str) -> None:
    assert read(f"SELECT {text} FROM 1-10015132-11") == query(1, "COUNT")


def test_a_slug_means_its_only_header() -> None:
    sql = "SELECT School_Club_Team FROM table_1_10015132_11 WHERE Years_in_Toronto = '1996-97'"
    assert read(sql) == query(4, "", (3, "=", "1996-97"))


def test_the_dialect_does_not_abbreviate_headers() -> None:
    assert kind("SELECT Share FROM 1-10015132-11") == "unknown_column"


def test_a_header_may_be_the_prefix_of_another_or_hold_keywords() -> None:
    table = Table("1-1", ("Score", "Score in final", "Moving from", "From"), ("text",) * 4, ())
    assert read("SELECT Score in final FROM 1-1 WHERE Score = 3", table) == query(
        1, "", (0, "=", "3")
    )
    assert read("SELECT Moving from FROM 1-1 WHERE From = x", table) == query(2, "", (3, "=", "x"))


def test_two_readings_are_ambiguous() -> None:
    table = Table("1-1", ("Max score", "Score"), ("real", "real"), ())
    assert kind("SELECT max score FROM 1-1", table) == "ambiguous"
    assert read("SELECT Max score FROM 1-1", table) == query(0)
    assert read("SELECT MAX Score FROM 1-1", table) == query(1, "MAX")


def test_exact_spelling_comes_before_folded_and_two_alike_are_ambiguous() -> None:
    table = Table("1-1", ("Score", "score", ""), ("real",) * 3, ())
    assert read("SELECT score FROM 1-1", table) == query(1)
    assert kind("SELECT SCORE FROM 1-1", table) == "ambiguous_column"
    assert read("SELECT col1 FROM 1-1 WHERE col2 = 3", table) == query(1, "", (2, "=", "3"))


def test_the_names_that_prompts_show_are_the_names_that_are_read() -> None:
    header = ("Date", "Score", "score", "Score", "", "Column 5", "Year (2011)")
    table = Table("1-1", header, ("real",) * 7, ())
    for index, name in enumerate(identifiers(header)):
        assert read(f'SELECT "{name}" FROM "1-1"', table) == query(index), name
        assert read(f"SELECT `{name}` FROM `1-1`", table) == query(index), name
    assert kind("SELECT Score FROM 1-1", table) == "ambiguous_column"
    assert read("SELECT Score (2) FROM 1-1", table) == query(2)
    assert read("SELECT Year_(2011) FROM 1-1", table) == query(6)


@pytest.mark.parametrize(
    "name",
    ["table", "Table", '"Table"', "[table]", "`TABLE`", "'table'", "table 1-10015132-11",
     "table_1-10015132-11", '"table 1-10015132-11"', "table: 1-10015132-11",
     'table "1-10015132-11"', "table_1_10015132_11", "table_10015132_11", "1_10015132_11",
     'dbo.[1-10015132-11]', '[dbo].[Table]', 'public."table"', "main.table", "<table>",
     "{table_name}", "your_table"],
)  # fmt: skip
def test_an_example_has_one_table_and_a_placeholder_names_it(name: str) -> None:
    assert read(f"SELECT Player FROM {name} WHERE Pts > 3") == PLAYER_OVER_3
    assert read(f"SELECT Player FROM {name};") == query(0)
    assert read(f"SELECT Player FROM {name} WHERE Player = Ann Lee") == query(
        0, "", (0, "=", "Ann Lee")
    )


@pytest.mark.parametrize(
    "name", ["tables", "table_2", "1-10015132-12", "table 1-10015132-12", "x.table", '"1-1"']
)
def test_another_table_is_not_the_one_of_the_example(name: str) -> None:
    assert isinstance(Reader().read(f"SELECT Player FROM {name}", TABLE), Failure)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no_query"),
        ("The answer is 42.", "no_query"),
        ("DROP TABLE 1-10015132-11", "not_select"),
        ("DELETE FROM t; SELECT Player FROM 1-10015132-11", "not_select"),
        ("delete from t; select Player from 1-10015132-11", "not_select"),
        ("EXPLAIN SELECT Player FROM 1-10015132-11", "not_select"),
        ("WITH x AS (SELECT 1) SELECT Player FROM 1-10015132-11", "unsupported"),
        ("SELECT 1; SELECT Player FROM \"1-10015132-11\"", "unsupported"),
        ("SELECT Height FROM 1-10015132-11", "unknown_column"),
        ("SELECT Player FROM 1-10015132-12", "unknown_table"),
        ("SELECT Player FROM players", "unknown_table"),
        ('SELECT Pts FROM "1-10015132-11" WHERE Pts = (SELECT MAX(Pts) FROM x)', "unsupported"),
        ("SELECT Player FROM \"1-10015132-11\" JOIN x ON 1=1", "unsupported"),
        ("SELECT MAX(Pts) - MIN(Pts) FROM \"1-10015132-11\"", "unsupported"),
        ("SELECT MAX(Pts, 5) FROM \"1-10015132-11\"", "unsupported"),
        ("SELECT Player FROM \"1-10015132-11\" LIMIT 1 OFFSET 2", "unsupported"),
        ("SELECT Player FROM 1-10015132-11 GROUP BY Player HAVING COUNT(*) > 1", "unsupported"),
        ("SELECT Player FROM \"1-10015132-11\" WHERE Player = Position", "unsupported"),
        ("SELECT Player FROM \"1-10015132-11\" WHERE Player = \"Position\"", "ambiguous"),
        ("SELECT Player FROM 1-10015132-11 WHERE Player = 'x' AND Height = 'y'", "unknown_column"),
        ("SELECT Player FROM 1-10015132-11 WHERE Player = '' OR ''=''", "unknown_column"),
        ('SELECT Player FROM "1-10015132-11" WHERE Pts > - - -1', "unsupported"),
        ('SELECT Player FROM "1-10015132-11" WHERE Pts < -', "syntax"),
        ('SELECT Player FROM "1-10015132-11" WHERE Pts = 0 AND Pts <;', "unsupported"),
        ('SELECT Player FROM "1-10015132-11" WHERE Pts = , 20', "unsupported"),
        ('SELECT Player FROM "1-10015132-11" WHERE Pts BETWEEN 9 9', "syntax"),
        ('SELECT Player FROM "1-10015132-11" WHERE Pts BETWEEN 4 AND AND 9', "syntax"),
        ('SELECT Player FROM "1-10015132-11" WHERE Player LIKE LIKE 10', "unsupported"),
        ('SELECT Player AS , Pts FROM "1-10015132-11"', "syntax"),
        ('SELECT Player FROM "1-10015132-11" WHERE Player = "x" GROUP BY (20)"', "syntax"),
        ('SELECT Pts FROM "1-10015132-11" WHERE ' + "(" * 60 + "Pts > 3" + ")" * 60, "too_long"),
        ("SELECT Player FROM 1-10015132-11 WHERE Player = '" + "x" * 9000 + "'", "too_long"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_named_failure(text: str, expected: str) -> None:
    assert kind(text) == expected


def test_the_first_of_several_statements_counts() -> None:
    text = "SELECT Player FROM 1-10015132-11 WHERE Pts > 3; SELECT Pts FROM 1-10015132-11"
    assert Reader().read(text, TABLE) == PLAYER_OVER_3


def test_a_literal_that_swallows_a_condition_is_refused() -> None:
    text = "SELECT Player FROM 1-10015132-11 WHERE Pts > '3' AND Height = 'x' AND Player = 'y'"
    assert kind(text) in ("syntax", "unknown_column")
    assert kind("SELECT Player FROM 1-10015132-11 WHERE Player = 'x' UNION SELECT 'y'") != ""


def test_reading_hostile_text_takes_no_time() -> None:
    import time

    texts = [
        "SELECT " + "'" * 7000,
        "SELECT Player FROM 1-10015132-11 WHERE Player = " + "'" * 7000,
        "SELECT Player FROM 1-10015132-11 WHERE Player = " + "' AND Pts = '" * 500,
        "SELECT Player FROM 1-10015132-11 WHERE " + "NOT " * 1500 + "Pts > 3",
        "SELECT " + "Player, " * 900 + "Pts FROM 1-10015132-11",
        "SELECT " * 1100,
        "select " * 20_000,
        "```" * 20_000,
        "SELECT Player FROM " + "\n" * 7000 + "x",
        "SELECT Player FROM 1-10015132-11 WHERE Player = x " + "OR Pts = y " * 700,
    ]
    for text in texts:
        start = time.process_time()
        Reader().read(text, TABLE)
        assert time.process_time() - start < 2.0, text[:40]


def same_structure(found: Query | None, wanted: dict | None) -> bool:
    form = None if found is None else to_logical_form(found)
    if form is None or wanted is None:
        return False
    left = [(c.column, c.operator, str(c.value).lower()) for c in form.conds]
    right = [(column, op, str(value).lower()) for column, op, value in wanted["conds"]]
    return (form.sel, form.agg, left) == (wanted["sel"], wanted["agg"], right)


def read_back(step: int) -> tuple[Counter, Counter]:
    split, reader = load_split(DEV, ["dev"]), Reader()
    preds = [json.loads(line) for line in (DEV / "dev.pred.jsonl").open()]
    total: Counter = Counter()
    wrong: Counter = Counter()
    for number, line in enumerate((DEV / "dev.text_predictions.jsonl").open()):
        row = json.loads(line)
        aside = any(note.startswith(("ambiguous:", "lossy:")) for note in row.get("notes", ()))
        if aside or number % step:
            continue
        table = split.tables[split.examples[row["i"]].table_id]
        reading = reader.read(row["text"], table)
        found = reading if isinstance(reading, Query) else None
        wanted = row.get("query", preds[row["i"]]["query"])
        good = found is None if row["expect"] == "error" else same_structure(found, wanted)
        total[row["kind"]] += 1
        wrong[row["kind"]] += not good
    return total, wrong


@needs_dev
def test_a_sample_of_real_answers_reads_back() -> None:
    total, wrong = read_back(7)
    assert total["canonical"] > 1000
    assert wrong["canonical"] == 0
    assert wrong["unparseable"] == 0
    assert sum(wrong.values()) <= 1


@needs_dev
@pytest.mark.slow
def test_all_real_answers_read_back() -> None:
    total, wrong = read_back(1)
    assert wrong["canonical"] == wrong["unparseable"] == 0
    for kind_, count in total.items():
        assert wrong[kind_] <= count * 0.01, kind_
