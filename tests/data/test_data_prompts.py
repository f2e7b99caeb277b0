"""Prompt styles: golden texts, and byte equality with MLX's own WikiSQL text."""

import json
from pathlib import Path

import pytest

from harness.data.prompts import STYLES, dialect_query, identifiers, sql_query, style
from harness.data.records import Condition, LogicalForm, Table
from harness.data.sources.wikisql import load_split
from harness.errors import UserError

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[3] / "shared" / "wikisql"

TABLE = Table(
    "1-10015132-16",
    ("Player", "No.", "School/Club Team", 'Height in "ft"', "Pts", "Pts", ""),
    ("text", "text", "text", "text", "real", "real", "text"),
    (("Ana O'Bryant", "21", "Butler CC (KS)", "6-1", 12, 3.5, None),),
)
GOLD = LogicalForm(
    2, 3, (Condition(0, 0, "Ana O'Bryant"), Condition(4, 1, 10), Condition(5, 2, 3.5))
)


@pytest.mark.parametrize("name", ["dialect", "sql", "chat"])
@pytest.mark.parametrize("hint", [None, "Column No. is the shirt number."])
def test_prompt_text_is_the_golden_one(name: str, hint: str | None) -> None:
    suffix = "-hint" if hint else ""
    prompt = style(name).prompt("Which  school has ana o'bryant? ", TABLE, hint)
    text = prompt + style(name).completion(GOLD, TABLE)
    assert text == (GOLDEN / f"{name}{suffix}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["dialect", "sql"])
def test_prompt_ends_at_the_colon_and_completion_starts_with_the_space(name: str) -> None:
    assert style(name).prompt("q ", TABLE).endswith("\nQ: q \nA:")
    assert style(name).completion(GOLD, TABLE).startswith(" SELECT COUNT")


def test_dialect_quotes_by_column_type_and_escapes_nothing() -> None:
    assert dialect_query(GOLD, TABLE) == (
        "SELECT COUNT School/Club Team FROM 1-10015132-16 "
        "WHERE Player = 'Ana O'Bryant' AND Pts > 10 AND Pts < 3.5"
    )


def test_sql_doubles_quotes_and_distinguishes_repeated_headers() -> None:
    assert sql_query(GOLD, TABLE) == (
        'SELECT COUNT("School/Club Team") FROM "1-10015132-16" '
        'WHERE "Player" = \'Ana O\'\'Bryant\' AND "Pts" > 10 AND "Pts (2)" < 3.5'
    )


def test_sql_quotes_text_that_is_compared_with_a_real_column() -> None:
    gold = LogicalForm(0, 0, (Condition(4, 0, "24,637"), Condition(5, 0, "1e3")))
    assert sql_query(gold, TABLE).endswith('"Pts" = \'24,637\' AND "Pts (2)" = 1e3')


def test_identifiers_are_unique_ignoring_case_and_never_empty() -> None:
    assert identifiers(("A", "a", "", "a (2)", "column 3", "A")) == (
        "A", "a (3)", "column 3 (2)", "a (2)", "column 3", "A (4)",
    )  # fmt: skip


def test_an_unknown_style_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown prompt style 'dialekt'\. Did you mean 'dialect'"):
        style("dialekt")


def test_each_style_has_its_own_key_and_a_hint_changes_the_prompt() -> None:
    assert len({s.sha256 for s in STYLES.values()}) == 3
    assert style("sql").prompt("q", TABLE) != style("sql").prompt("q", TABLE, "h")


@pytest.mark.skipif(not SHARED.exists(), reason="shared WikiSQL data is not in this checkout")
def test_dialect_reproduces_mlx_wikisql_text_byte_for_byte() -> None:
    """Matched by table id and question."""
    by_text: dict[tuple[str, str], list[str]] = {}
    for name in ("train", "valid", "test"):
        for line in (SHARED / "mlx-text" / f"{name}.jsonl").read_text("utf-8").splitlines():
            text = json.loads(line)["text"]
            table_line, _, question, _ = text.split("\n")
            key = (table_line.removeprefix("table: "), question.removeprefix("Q: "))
            by_text.setdefault(key, []).append(text)
    matched = 0
    for folder, split in (("dev", "dev"), ("small", "train"), ("small", "dev"), ("small", "test")):
        data = load_split(SHARED / folder, (split,))
        for example in data.examples:
            table = data.tables[example.table_id]
            expected = by_text.get((example.table_id, example.question))
            if expected is None:
                continue
            prompt = style("dialect").prompt(example.question, table)
            assert prompt + style("dialect").completion(example.gold, table) in expected
            matched += 1
    assert matched >= 100
