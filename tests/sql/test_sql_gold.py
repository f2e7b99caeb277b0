"""Gold given as SQL text: everything that the typed query holds is read, run, graded, hardened."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.data.describe import describe, render
from harness.data.export import export
from harness.data.leakage import repeats_within
from harness.data.prompts import STYLES, style
from harness.data.records import Example, LogicalForm, Split, SqlGold, Table
from harness.data.sources.resolve import resolve_dataset
from harness.data.sources.wikisql import load_split, one_line
from harness.errors import UserError
from harness.sql.grade.equality import equal_results
from harness.sql.grade.gold import beyond, gold_kinds, open_gold
from harness.sql.grade.predictions import Prediction
from harness.sql.grade.score import Score, score
from harness.sql.grade.summary import summarize
from harness.sql.read.gold import read_golds
from harness.sql.run.batch import Rows

TABLE = Table(
    "players",
    ("Player", "Team", "Points", "Born"),
    ("text", "text", "real", "real"),
    (
        ("Ann", "Red", 12, 1990),
        ("Bob", "Red", 7, 1995),
        ("Cy", "Blue", 31, 1988),
        ("Dee", "Blue", 31, 1999),
        ("Eve", "Green", 2, None),
    ),
)

EVERYDAY = {
    "SELECT COUNT(*) FROM players": [(5,)],
    "SELECT COUNT(DISTINCT Team) FROM players": [(3,)],
    "SELECT Player FROM players ORDER BY Points LIMIT 1": [("eve",)],
    "SELECT Team, COUNT(*) FROM players GROUP BY Team": [("red", 2), ("blue", 2), ("green", 1)],
    "SELECT Player FROM players WHERE Team IN ('Red', 'Green')": [("ann",), ("bob",), ("eve",)],
    "SELECT Player, Points FROM players WHERE Team = 'Red'": [("ann", 12), ("bob", 7)],
    "SELECT DISTINCT Team FROM players": [("red",), ("blue",), ("green",)],
    "SELECT Player FROM players WHERE Born BETWEEN 1990 AND 1996": [("ann",), ("bob",)],
    "SELECT Player FROM players WHERE Player LIKE '%e%'": [("dee",), ("eve",)],
    "SELECT Player FROM players WHERE Born IS NULL": [("eve",)],
    "SELECT Player FROM players WHERE Team = 'Red' OR Points > 30": [
        *(("ann",), ("bob",), ("cy",), ("dee",)),
    ],
    "SELECT MAX(Points) FROM players WHERE Team <> 'Blue'": [(12,)],
}
"""Gold -> its rows by hand, text case-folded; WikiSQL's form holds none of them."""

IN_WIKISQLS_FORM = "select Points\n from players -- one row\n where Player = 'Ann';"


def folder_of(folder: Path, golds: list[object], splits: tuple[str, ...] = ("test",)) -> Path:
    folder.mkdir(exist_ok=True)
    for split in splits:
        lines = [
            {"table_id": "players", "question": f"question {n}?", "sql": gold}
            for n, gold in enumerate(golds)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
        (folder / f"{split}.tables.jsonl").write_text(json.dumps(asdict(TABLE)) + "\n")
    return folder


@pytest.fixture
def everyday(tmp_path: Path) -> Split:
    folder = folder_of(tmp_path / "own", [*EVERYDAY, IN_WIKISQLS_FORM])
    return load_split(folder, ["test"], read_golds)


def graded(split: Split, texts: list[str], hardened: int = 8) -> list[Score]:
    predictions = [Prediction(number, text=text) for number, text in enumerate(texts)]
    return score(split.tables, split.examples, predictions, hardened)


def test_every_everyday_question_can_be_gold_and_gives_the_rows_counted_by_hand(
    everyday: Split,
) -> None:
    opened = open_gold(everyday.tables, everyday.examples)
    try:
        for gold, (text, rows) in zip(opened.golds, EVERYDAY.items(), strict=False):
            assert isinstance(gold.result, Rows), text
            assert equal_results(gold.result.rows, rows), text
            assert not gold.degenerate
    finally:
        opened.close()


def test_gold_that_answers_itself_is_right_by_every_protocol_that_applies(everyday: Split) -> None:
    scores = graded(everyday, [*EVERYDAY, IN_WIKISQLS_FORM])
    assert all(one.ex and one.ex_hardened and one.valid for one in scores)
    # WikiSQL's evaluator and its logical form know the last one only.
    assert {(one.ex_official, one.lf) for one in scores[:-1]} == {(None, None)}
    assert (scores[-1].ex_official, scores[-1].lf) == (True, True)
    summary = summarize(scores, everyday.examples)
    assert (summary.ex, summary.ex_official, summary.lf) == (1.0, 1.0, 1.0)
    assert summary.by_agg["COUNT"].n == 2
    assert summary.by_conditions["2"].n == 1


LUCKY = {
    "SELECT COUNT(*) FROM players": "SELECT COUNT(Player) FROM players WHERE Points > 1",
    "SELECT COUNT(DISTINCT Team) FROM players": "SELECT COUNT(Team) FROM players WHERE Points < 13",
    "SELECT Player FROM players ORDER BY Points LIMIT 1": "SELECT Player FROM players WHERE "
    "Points = 2",
    "SELECT Player FROM players WHERE Team IN ('Red', 'Green')": "SELECT Player FROM players "
    "WHERE Team <> 'Blue'",
    "SELECT Player FROM players WHERE Born BETWEEN 1990 AND 1996": "SELECT Player FROM players "
    "WHERE Born BETWEEN 1990 AND 1995",
    "SELECT Player FROM players WHERE Player LIKE '%e%'": "SELECT Player FROM players WHERE "
    "Player IN ('Dee', 'Eve')",
    "SELECT MAX(Points) FROM players WHERE Team <> 'Blue'": "SELECT MAX(Points) FROM players WHERE "
    "Team = 'Red'",
    "SELECT Player FROM players WHERE Team = 'Red' OR Points > 30": "SELECT Player FROM players "
    "WHERE Team <> 'Green'",
}


@pytest.mark.slow
def test_an_answer_that_is_right_by_luck_does_not_hold_on_perturbed_tables(
    everyday: Split,
) -> None:
    texts = [LUCKY.get(text, text) for text in (*EVERYDAY, IN_WIKISQLS_FORM)]
    for text, one in zip(texts, graded(everyday, texts), strict=True):
        assert one.ex, text
        assert one.ex_hardened is (text not in LUCKY.values()), text
        assert (one.counterexample is not None) is (text in LUCKY.values())


DISTINCT_TEAMS = Table(
    "players",
    TABLE.header,
    TABLE.types,
    (
        ("Ann", "Red", 12, 1990),
        ("Bob", "Blue", 7, 1995),
        ("Cy", "Green", 31, 1988),
        ("Dee", "White", 25, 1999),
        ("Eve", "Black", 2, 2001),
    ),
)

MORE_LUCK = """
SELECT DISTINCT Player, Team FROM players
SELECT Player, Team FROM players
SELECT DISTINCT Team FROM players
SELECT Team FROM players
SELECT Player FROM players ORDER BY Points DESC LIMIT 1
SELECT Player FROM players WHERE Points > 30
SELECT Player FROM players ORDER BY Points DESC LIMIT 1
SELECT Player FROM players ORDER BY Born LIMIT 1
SELECT Player FROM players ORDER BY Points DESC LIMIT 2
SELECT Player FROM players WHERE Points > 24
SELECT Player FROM players ORDER BY Points DESC LIMIT 2
SELECT Player FROM players WHERE Points >= 25
SELECT Player FROM players WHERE Born > 1989 ORDER BY Points DESC LIMIT 1
SELECT Player FROM players WHERE Born > 1990 ORDER BY Points DESC LIMIT 1
SELECT Player FROM players WHERE Born >= 1990 ORDER BY Points LIMIT 1
SELECT Player FROM players WHERE Born > 1990 ORDER BY Points LIMIT 1
SELECT COUNT(*) FROM players
SELECT COUNT(DISTINCT Player) FROM players
SELECT COUNT(*) FROM players
SELECT COUNT(DISTINCT Team) FROM players
SELECT COUNT(*) FROM players WHERE Points > 5
SELECT COUNT(*) FROM players WHERE Points > 6
SELECT COUNT(*) FROM players WHERE Points BETWEEN 7 AND 25
SELECT COUNT(*) FROM players WHERE Points BETWEEN 7 AND 26
SELECT Team, COUNT(*) FROM players GROUP BY Team
SELECT Team, COUNT(*) FROM players GROUP BY Team, Player
SELECT Team, SUM(Points) FROM players GROUP BY Team
SELECT Team, Points FROM players
SELECT Team, MAX(Points) FROM players GROUP BY Team
SELECT Team, AVG(Points) FROM players GROUP BY Team
SELECT Team, MAX(Points) FROM players GROUP BY Team ORDER BY MAX(Points) DESC LIMIT 1
SELECT Team, MAX(Points) FROM players WHERE Points > 30 GROUP BY Team
SELECT Team FROM players GROUP BY Team ORDER BY COUNT(*) DESC LIMIT 5
SELECT Team FROM players
SELECT Player FROM players WHERE Player LIKE 'D%'
SELECT Player FROM players WHERE Player LIKE '%d%'
SELECT Player FROM players WHERE Player LIKE 'D%'
SELECT Player FROM players WHERE Player = 'Dee'
SELECT Player FROM players WHERE Player LIKE '%ee'
SELECT Player FROM players WHERE Player LIKE '%e%' AND Born < 2000
SELECT Player FROM players WHERE Team IN ('Red','Blue','Green')
SELECT Player FROM players WHERE Team IN ('Red','Blue','Green','Pink')
SELECT Player FROM players WHERE Team IN ('Red','Blue','Pink')
SELECT Player FROM players WHERE Team IN ('Red','Blue')
SELECT Player FROM players WHERE Team NOT IN ('Red','Pink')
SELECT Player FROM players WHERE Team <> 'Red'
SELECT Player FROM players WHERE Team = 'Red' OR Points > 30
SELECT Player FROM players WHERE Team = 'Red' OR Points >= 30
SELECT Player FROM players WHERE Team = 'Red' OR Points > 30
SELECT Player FROM players WHERE Team = 'Red' OR Born < 1989
SELECT Player FROM players WHERE Points >= 25
SELECT Player FROM players WHERE Points > 13
SELECT Player FROM players WHERE Points <> 7 AND Born > 1980
SELECT Player FROM players WHERE Points <> 7
SELECT Player, Points FROM players WHERE Team = 'Red'
SELECT Player, Points FROM players WHERE Points = 12
SELECT * FROM players WHERE Team = 'Red'
SELECT * FROM players WHERE Player = 'Ann'
SELECT AVG(Points) FROM players WHERE Team = 'Red' OR Team = 'Blue'
SELECT AVG(Points) FROM players WHERE Team = 'Red' OR Player = 'Bob'
SELECT MIN(Born) FROM players WHERE Points BETWEEN 1 AND 10
SELECT MIN(Born) FROM players WHERE Points < 11
SELECT Team, SUM(Points) FROM players GROUP BY Team
SELECT Team, SUM(Points) FROM players GROUP BY Team, Player
SELECT Team, AVG(Points) FROM players WHERE Born > 1980 GROUP BY Team
SELECT Team, AVG(Points) FROM players GROUP BY Team
SELECT Team, COUNT(*) FROM players WHERE Points > 6 GROUP BY Team
SELECT Team, COUNT(*) FROM players WHERE Points >= 6 GROUP BY Team
SELECT Born, Team FROM players WHERE Born IS NOT NULL
SELECT Born, Team FROM players WHERE Born > 1900
SELECT COUNT(DISTINCT Team) FROM players WHERE Points > 5
SELECT COUNT(Team) FROM players WHERE Points > 5
SELECT SUM(DISTINCT Points) FROM players WHERE Points > 5
SELECT SUM(Points) FROM players WHERE Points > 5
SELECT Player FROM players WHERE Team <> 'Red'
SELECT Player FROM players WHERE Team IN ('Blue','Green','White','Black')
SELECT Player FROM players WHERE NOT (Team = 'Red' AND Born = 1990)
SELECT Player FROM players WHERE Team <> 'Red'
SELECT Player FROM players WHERE NOT (Team = 'Red' AND Born = 1990)
SELECT Player FROM players WHERE Born <> 1990
SELECT Player FROM players WHERE Points NOT BETWEEN 10 AND 20
SELECT Player FROM players WHERE Points NOT BETWEEN 11 AND 20
SELECT Player FROM players WHERE Points NOT BETWEEN 10 AND 20
SELECT Player FROM players WHERE Points <> 12
SELECT Player FROM players WHERE Team NOT LIKE 'r%'
SELECT Player FROM players WHERE Team <> 'Red'
SELECT Player FROM players WHERE Born = 1990 OR (Team = 'Blue' AND Points = 7)
SELECT Player FROM players WHERE Born = 1990 OR Team = 'Blue'
SELECT Player FROM players WHERE Born = 1990 OR (Team = 'Blue' AND Points = 7)
SELECT Player FROM players WHERE Born = 1990 OR Points = 7
SELECT Player FROM players WHERE (Born = 1990 OR Team = 'Blue') AND Points > 6
SELECT Player FROM players WHERE Born = 1990 OR Team = 'Blue'
SELECT MAX(Points), MIN(Points) FROM players
SELECT MAX(Points), MIN(Points) FROM players WHERE Born > 1980
SELECT Player FROM players ORDER BY Points LIMIT 3
SELECT Player FROM players WHERE Points < 13
"""
"""Gold, and on the next line an answer that has its rows on DISTINCT_TEAMS."""


@pytest.mark.slow
def test_answers_that_are_right_by_luck_to_gold_of_any_shape_are_seen() -> None:
    golds, answers = MORE_LUCK.strip().splitlines()[::2], MORE_LUCK.strip().splitlines()[1::2]
    read = read_golds([(text, DISTINCT_TEAMS) for text in golds])
    examples = tuple(
        Example(at, "players", "q", gold)
        for at, gold in enumerate(read)
        if isinstance(gold, SqlGold)
    )
    split = Split("test", examples, {"players": DISTINCT_TEAMS})
    scores = graded(split, answers)
    held = [(golds[one.id], answers[one.id]) for one in scores if one.ex_hardened is not False]
    assert (len(scores), [one.ex for one in scores]) == (48, [True] * 48)
    assert held == []


EQUIVALENT = {
    "SELECT Player FROM players WHERE Team IN ('Red', 'Green')": "SELECT Player FROM players "
    "WHERE Team = 'Green' OR Team = 'red'",
    "SELECT Player FROM players WHERE Born BETWEEN 1990 AND 1996": 'SELECT "Player" FROM players '
    "WHERE Born >= 1990 AND Born <= 1996",
    "SELECT DISTINCT Team FROM players": "SELECT Team FROM players GROUP BY Team",
    "SELECT Player FROM players WHERE Born IS NULL": "SELECT Player FROM players WHERE NOT "
    "Born IS NOT NULL",
}


@pytest.mark.slow
def test_an_answer_that_means_the_same_holds_on_perturbed_tables(everyday: Split) -> None:
    texts = [EQUIVALENT.get(text, text) for text in (*EVERYDAY, IN_WIKISQLS_FORM)]
    assert all(one.ex and one.ex_hardened for one in graded(everyday, texts))


def test_a_count_of_nothing_is_degenerate_in_every_shape(tmp_path: Path) -> None:
    golds: list[object] = [
        "SELECT COUNT(*) FROM players WHERE Team IN ('White', 'Black')",
        "SELECT Player FROM players WHERE Born BETWEEN 1 AND 2 ORDER BY Points",
        "SELECT COUNT(*) FROM players WHERE Team LIKE 'b%'",
    ]
    split = load_split(folder_of(tmp_path / "own", golds), ["test"], read_golds)
    assert gold_kinds(split) == ["empty", "empty", None]


def test_every_gold_that_cannot_be_read_is_named_by_its_line(tmp_path: Path) -> None:
    golds: list[object] = [
        "SELECT Player FROM players",
        "SELECT a.Player FROM players a JOIN teams b ON a.Team = b.Team",
        "SELECT Goals FROM players",
        "SELECT Player FROM clubs",
        "SELECT Player FROM players; DROP TABLE players",
        "Here it is: SELECT Player FROM players",
        "DELETE FROM players",
        "",
        {"sel": 0, "agg": 0, "conds": []},
    ]
    folder = folder_of(tmp_path / "own", golds)
    with pytest.raises(UserError) as caught:
        load_split(folder, ["test"], read_golds)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        f"{folder / 'test.jsonl'}:{number}" for number in range(2, 9)
    ]
    assert "unsupported" in lines[0]
    assert "'Goals' is no column of players" in lines[1]
    assert "clubs" in lines[2]
    assert all("is not one SELECT statement" in line for line in lines[3:])


def test_sql_that_is_neither_text_nor_an_object_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "own", [7])
    with pytest.raises(UserError, match="sql must be an object or SQL text, got the number 7"):
        load_split(folder, ["test"], read_golds)


def test_the_text_is_what_is_trained_on_in_one_line_in_every_style(everyday: Split) -> None:
    assert [example.gold.text for example in everyday.examples[:-1]] == [*EVERYDAY]  # type: ignore[union-attr]
    wanted = "select Points from players where Player = 'Ann'"
    for name, how in STYLES.items():
        assert how.completion(everyday.examples[-1].gold, TABLE).strip() == wanted, name
    assert isinstance(everyday.examples[-1].gold, SqlGold)
    assert isinstance(everyday.examples[-1].gold.form, LogicalForm)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("SELECT  a\n\tFROM t ;", "SELECT a FROM t"),
        ("SELECT a FROM t WHERE b = 'two  spaces -- no comment'", None),
        ("SELECT a FROM t WHERE b = 'it''s  so'", None),
        ('SELECT "a  b" /* of\n t */ FROM t', 'SELECT "a  b" FROM t'),
        ("SELECT a -- first\nFROM t WHERE b = 1", "SELECT a FROM t WHERE b = 1"),
    ],
)
def test_one_line_changes_nothing_in_quotes(text: str, wanted: str | None) -> None:
    assert one_line(text) == (text if wanted is None else wanted)


def test_export_writes_golds_of_both_kinds(tmp_path: Path) -> None:
    golds: list[object] = [*EVERYDAY, {"sel": 2, "agg": 1, "conds": []}]
    folder = folder_of(tmp_path / "own", golds, ("train", "valid", "test"))
    train, *_ = export(resolve_dataset(str(folder)), style("sql"), tmp_path / "out")
    texts = [json.loads(line)["text"] for line in train.read_text().splitlines()]
    assert texts[0].endswith("A: SELECT COUNT(*) FROM players")
    assert texts[-1].endswith('A: SELECT MAX("Points") FROM "players"')


@pytest.mark.slow
def test_describe_counts_what_wikisqls_form_cannot_hold(tmp_path: Path) -> None:
    golds: list[object] = [*EVERYDAY, IN_WIKISQLS_FORM, {"sel": 2, "agg": 1, "conds": []}]
    folder = folder_of(tmp_path / "own", golds, ("train", "valid", "test"))
    data = resolve_dataset(str(folder), read_golds=read_golds)
    kinds = {split.name: gold_kinds(split) for split in data.splits}
    found = describe(data, kinds, {split.name: beyond(split) for split in data.splits})
    first = found.splits[0]
    assert (first.aggregates, first.conditions[:2]) == ((1, 1, 0, 0, 0, 0), (1, 1))
    assert first.beyond["COUNT(*)"] == 2
    assert first.beyond["LIMIT"] == first.beyond["OR"] == first.beyond["IS NULL"] == 1
    assert "| GROUP BY" in render(found)
    assert repeats_within(data.test.examples).conflicting == 0


@pytest.mark.slow
def test_the_page_of_own_data_shows_gold_and_the_rows_of_answers_that_are_gold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.cli.scoring import score_as_run
    from harness.report.columns import columns_of
    from harness.report.page.explorer import explorer
    from harness.runs.store import read_run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["tunebench", "score", "--dataset", "own"])
    folder_of(Path("own"), [*EVERYDAY], ("train", "valid", "test"))
    texts = [*EVERYDAY]
    texts[-1] = "SELECT MAX(Points) FROM players WHERE Team IN ('Red')"
    lines = [json.dumps({"id": at, "text": text}) for at, text in enumerate(texts)]
    Path("answers.jsonl").write_text("\n".join(lines))
    score_as_run("own", "test", (Path("answers.jsonl"), "text"), 0, Path("runs/api"))
    found = explorer(columns_of([read_run(Path("runs/api"))]))
    first, last = found["examples"][2], found["examples"][-1]
    assert first["q"] == "question 2?"
    assert first["gold"]["text"] == texts[2]
    assert first["gold"]["rows"] == first["v"][0]["rows"] == [["Eve"]]
    assert last["gold"]["rows"] == [[12.0]]
    assert "rows" not in last["v"][0]  # gold's own rows are known, those of another query are not
