"""Where a value ends, which names are read, and what is no query. One claim a test."""

from __future__ import annotations

import random
import time

import pytest

from harness.data.answer_marks import pieces
from harness.data.records import Table
from harness.measure.answer_end import closes_query
from harness.sql.failures import Failure
from harness.sql.query import Comparison, Item, Order, Query
from harness.sql.read.answer import blocks
from harness.sql.read.reader import Reader
from harness.sql.read.statement import statements

TABLE = Table("1-1001-11", ("Player", "No.", "Pts", "Total"), ("text", "text", "real", "real"), ())
TEXT = 'SELECT Pts FROM "1-1001-11" WHERE Player = '
REAL = 'SELECT Player FROM "1-1001-11" WHERE Pts > '


def read(text: str) -> Query | Failure:
    return Reader().read(text, TABLE)


def text_is(value: str) -> Query:
    return Query((Item(2),), Comparison(0, "=", value))


def over(value: str) -> Query:
    return Query((Item(0),), Comparison(2, ">", value))


CUT = [
    " (1 row)", " (12 rows)", " # by name", " ### Explanation: by name", " -- it's by name",
    " // by name", " /* by name */", " [EOS]", " [/SQL]", " [END OF TEXT]", " </s>", "</answer>",
    " <END>", "<|end|>", " <<END>>", " END", " EOS", ";", " ; DROP", "；", "。", "\\n\\nIt lists.",
    " → 12", " -> 12", " => 12", " --- done", " === ", "**", " $$", " ✅", ";\n\nNote: more",
    " END;",
]  # fmt: skip
REFUSED = [
    " to list them", " IS TRUE", " QUALIFY x", ", as asked", " (as asked)", " as asked", " || 'x'",
    " + 1", " COLLATE x", " 'x'", " BUT No. = 'x'", " §and No. = 'x'", " ESCAPE '!'", " UNION x",
    " and so on", " as t", " USING x", "::text || 'x'",
]  # fmt: skip


@pytest.mark.parametrize("tail", CUT)
def test_what_a_model_puts_after_a_value_is_cut_off(tail: str) -> None:
    assert read(f"{TEXT}'Ann Lee'{tail}") == text_is("Ann Lee")
    assert read(f"{REAL}10{tail}") == over("10")
    dialect = TEXT.replace('"', "")
    assert read(f"{dialect}'Ann Lee'{tail}") == text_is("Ann Lee")


@pytest.mark.parametrize("tail", REFUSED)
def test_what_is_not_understood_after_a_value_is_a_named_failure(tail: str) -> None:
    for text in (f"{TEXT}'Ann Lee'{tail}", f"{REAL}10{tail}", f"{TEXT}N'Ann'{tail}"):
        reading = read(text)
        assert isinstance(reading, Failure), (text, reading)
    assert isinstance(read(TEXT.replace('"', "") + f"'Ann Lee'{tail}"), Failure)


@pytest.mark.parametrize("comment", [" # c\n", " -- c's\n", " // c\n", " /* c */ "])
def test_a_comment_between_conditions_is_no_end(comment: str) -> None:
    both = read(f"{TEXT}'x' AND Pts > 3")
    assert read(f"{TEXT}'x'{comment}AND Pts > 3") == both


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("N'Ann'", "Ann"),
        ("n'O''Neal'", "O'Neal"),
        ("E'Ann'", "Ann"),
        ("('Ann')", "Ann"),
        ("(('Ann'))", "Ann"),
        ("‘Ann Lee’", "Ann Lee"),
        ("“Ann Lee”", "Ann Lee"),
        ("’Ann Lee’", "Ann Lee"),
        ("＇Ann Lee＇", "Ann Lee"),
        ("'O’Neal'", "O’Neal"),
        ("'x；y'", "x；y"),
    ],
)
def test_a_text_in_any_quotes(written: str, value: str) -> None:
    assert read(TEXT + written) == text_is(value)
    assert read(f"{TEXT}{written};") == text_is(value)


@pytest.mark.parametrize(
    ("written", "value"),
    [("- 3", "-3"), ("-(3)", "-3"), ("- ( 3 )", "-3"), ("+ 3", "3"), ("(3)", "3"), ("((-3))", "-3"),
     ("-3", "-3"), ("1,234", "1,234"), ("(-.5)", "-.5"), ("CAST(3 AS REAL)", "3"),
     ("CAST(3 AS INTEGER)", "3")],
)  # fmt: skip
def test_a_number_with_its_sign_apart_or_in_parentheses(written: str, value: str) -> None:
    assert read(REAL + written) == over(value)
    assert read(f"{REAL}{written} ORDER BY Pts") == Query(
        (Item(0),), Comparison(2, ">", value), order_by=(Order(Item(2)),)
    )


def test_full_width_punctuation_is_punctuation() -> None:
    two = read('SELECT Player, Pts FROM "1-1001-11" WHERE Pts > 3')
    assert read('SELECT Player， Pts FROM "1-1001-11" WHERE Pts ＞ 3；') == two
    assert read("SELECT COUNT（Player） FROM 1-1001-11 WHERE Pts ＝ 3") == Query(
        (Item(0, "COUNT"),), Comparison(2, "=", "3")
    )


def test_bare_values_of_the_dialect_keep_their_spaces() -> None:
    for source in ("1-1001-11", "table"):
        text = f"SELECT Pts FROM {source} WHERE Player = "
        for value in ("Ann Lee", "3 May 2004", "O'Neal", "1999-2001", "N'Djamena", "may 3, 2004"):
            assert read(text + value) == text_is(value), value
    assert read("SELECT Player FROM 1-1001-11 WHERE Pts > 36 years") == over("36 years")


@pytest.mark.parametrize(
    "item",
    ["MAX(CAST(Pts AS REAL))", "CAST(MAX(Pts) AS DOUBLE)", "MAX(Pts::FLOAT)", "max((Pts))",
     "MAX(TRY_CAST(Pts AS DOUBLE))", "CAST(MAX(CAST(Pts AS DOUBLE)) AS DOUBLE)"],
)  # fmt: skip
def test_a_cast_that_changes_nothing_is_dropped(item: str) -> None:
    assert read(f'SELECT {item} FROM "1-1001-11"') == Query((Item(2, "MAX"),))


@pytest.mark.parametrize(
    "item", ["CAST(Pts AS INTEGER)", "CAST(Player AS REAL)", "CAST(Pts AS VARCHAR)", "ROUND(Pts)"]
)
def test_a_cast_that_may_change_something_is_refused(item: str) -> None:
    reading = read(f'SELECT {item} FROM "1-1001-11"')
    assert isinstance(reading, Failure)
    assert reading.kind == "unsupported"


def test_in_order_by_an_alias_comes_before_a_header() -> None:
    for source in ("1-1001-11", '"1-1001-11"'):
        assert read(f"SELECT MAX(Pts) AS Total FROM {source} ORDER BY Total DESC") == Query(
            (Item(2, "MAX"),), order_by=(Order(Item(2, "MAX"), True),)
        )
        assert read(f"SELECT Pts AS Total FROM {source} ORDER BY Pts, Total") == Query(
            (Item(2),), order_by=(Order(Item(2)), Order(Item(2)))
        )


@pytest.mark.parametrize("rows", ["FIRST 2 ROWS", "NEXT 2 ROW", "first 2 rows"])
def test_fetch_first_is_a_limit(rows: str) -> None:
    for source in ("1-1001-11", '"1-1001-11"', '"1-1001-11" AS t'):
        text = f"SELECT Player FROM {source} FETCH {rows} ONLY"
        assert read(text) == Query((Item(0),), limit=2)
    assert isinstance(read('SELECT Player FROM "1-1001-11" FETCH FIRST 2 ROWS WITH TIES'), Failure)


@pytest.mark.parametrize(
    "text",
    [
        'SELECT MIN( "Pts" FROM {}',
        'SELECT MAX( ( "Pts" ) FROM {} WHERE No. = 3',
        "SELECT Player FROM {} GROUP BY",
        "SELECT Player FROM {} ORDER BY",
        "SELECT Player FROM {} WHERE",
        "SELECT Player FROM {} WHERE Pts > 3 AND",
        "SELECT Player FROM {} NULL WHERE Pts > 3",
        'SELECT "Player" ALL FROM {}',
        "SELECT Player FROM {} WHERE (Pts > 3",
        "SELECT Player FROM {} WHERE Pts > 3)",
        "SELECT Player FROM {} WHERE Pts IN (3, 4",
        "SELECT Player FROM {} LIMIT",
        "SELECT FROM {}",
        "SELECT DISTINCT FROM {}",
        "SELECT Player, WHERE FROM {}",
        "SELECT , Player FROM {}",
        "SELECT Player FROM {}, WHERE Pts > 3",
        "SELECT AS Player FROM {}",
        "SELECT Player AS FROM {}",
        "SELECT Player FROM {} LIMIT , 3",
    ],
)
def test_what_no_database_takes_is_a_failure(text: str) -> None:
    for source in ('"1-1001-11"', "1-1001-11", "table", "table_1_1001_11 AS t"):
        reading = read(text.format(source))
        assert isinstance(reading, Failure), (source, reading)
    first = read("SELECT FROM 1-1001-11")
    assert isinstance(first, Failure)
    assert first.kind == "syntax"


PARTS = (
    *("<think>", "</a>", "<a>", "[A]", "```", "{", '"', "'", "`", "select ", "SELECT ", " from "),
    *(" FROM t ", " --", "\n,", "\n", "<|end|>", "<!--", "“", "&gt;", "\\", "(", ")", '"""', "x"),
    *(
        " and ",
        " or Player ",
        "' and '",
        "Player = '",
        "' AND Pts > ",
        "Player, ",
        "/*",
        "#",
        " = ",
    ),
    *("<|channel|>final<|message|>", '{"a":', "Final answer:", "-", "''", "NOT ", "IN ('", "Pts "),
)


def seconds(length: int, seed: int) -> float:
    """Processor time of finding and reading one random repetitive text of a length."""
    rng = random.Random(seed)
    unit = "".join(rng.choice(PARTS) for _ in range(rng.choice((1, 1, 2, 3))))
    start = rng.choice(("", TEXT, TEXT + "'", REAL, '"SELECT Pts FROM t', "<think>"))
    text = start + unit * (length // len(unit)) + rng.choice(("", "'", '"', "</think>", "```"))
    began = time.process_time()
    for block in blocks(text):
        statements(block.text)
    closes_query(text)
    list(pieces(text))
    if length <= 8_000:
        read(text[:length])
    return time.process_time() - began


@pytest.mark.slow
def test_the_time_of_reading_grows_with_the_text_and_no_faster() -> None:
    for seed in range(30):
        seconds(1_000, seed)
        assert seconds(100_000, seed) < 4.0, seed


@pytest.mark.slow
def test_no_text_holds_the_reader() -> None:
    for seed in range(1_000, 1_300):
        assert seconds(200_000, seed) < 8.0, seed
        assert seconds(8_000, seed) < 8.0, seed
