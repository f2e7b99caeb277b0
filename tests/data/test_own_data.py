"""`import`: a user's files become a dataset, whole or not at all, and stay as they are."""

from __future__ import annotations

import csv
import datetime
import decimal
import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.__main__ import app
from harness.data import own_data
from harness.data.own_data import SHARES, _parted, import_files, write_folder
from harness.data.records import SqlGold
from harness.data.sources.own_tables import read_sheets
from harness.data.sources.resolve import resolve_dataset
from harness.data.sources.wikisql import unread
from harness.errors import UserError
from harness.sql.read.gold import read_golds
from tests.data.archive_mirror import complaint

PLAYERS = """Player,Team,Points,Born
Ann,Red,12,1990
Bob,Red,"1,207",1995
"Dee, D.",Blue,3.5,
"""
PAIRS = [
    ("How many players?", "SELECT COUNT(*) FROM players"),
    ("Who scored most?", "SELECT Player\nFROM players -- of all\nORDER BY Points DESC LIMIT 1;"),
    ("Which teams are there?", "SELECT DISTINCT Team FROM players"),
    ("Who is on Red?", "SELECT Player FROM players WHERE Team = 'Red'"),
]


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "players.csv").write_text(PLAYERS)
    write_csv(folder / "questions.csv", ("question", "sql"), PAIRS)
    (folder / "notes.txt").write_text("not data")
    return folder


CELL = st.text(st.characters(codec="utf-8"), max_size=5).map("x{}".format)
"""Text that is no number and not empty."""


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


def test_a_csv_of_questions_and_one_of_their_table_become_a_dataset(
    own: Path, tmp_path: Path
) -> None:
    before = contents(own)
    write_folder(import_files([own], read_golds), tmp_path / "made")
    assert contents(own) == before
    data = resolve_dataset(str(tmp_path / "made"), read_golds=read_golds)
    asked = {e.question: e.gold for split in data.splits for e in split.examples}
    assert len(asked) == 4
    assert all(split.examples for split in data.splits)
    most = asked["Who scored most?"]
    assert isinstance(most, SqlGold)
    assert most.text == "SELECT Player FROM players ORDER BY Points DESC LIMIT 1"
    table = data.train.tables["players"]
    assert table.types == ("text", "text", "real", "real")
    assert table.rows[1:] == (("Bob", "Red", 1207, 1995), ("Dee, D.", "Blue", 3.5, None))


def test_the_command_says_what_was_made_and_what_to_run_next(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.cli.data import import_data

    import_data([own], tmp_path / "made")
    said = capsys.readouterr().out
    assert "2 train, 1 valid, 1 test questions, split by question; tables: 1" in said
    assert f"tunebench describe {tmp_path / 'made'}" in said
    assert "import" in {command.name for command in app.registered_commands}


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("a;b\n1;x\n", [(1, "x")]),
        ("a\tb\n1\tx\n", [(1, "x")]),
        ("\ufeffa,b\r\n007,\r\n\r\n12,-1.5e3\r\n", [("007", None), ("12", -1500.0)]),
        ('a,b\n"1,234","1,23"\n', [(1234, "1,23")]),
        ('a,b\n"say ""hi""\nthere",2\n', [('say "hi"\nthere', 2)]),
        ("a,b\n", []),
    ],
)
def test_a_column_of_csv_is_made_of_numbers_where_every_cell_is_one(
    tmp_path: Path, text: str, cells: list[Any]
) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8", newline="")
    (sheet,) = read_sheets(tmp_path / "t.csv")
    assert (sheet.name, sheet.header, list(sheet.rows)) == ("t", ("a", "b"), cells)


def test_every_ragged_line_of_csv_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1\n"x\ny",2\n1,2,3\n')
    told = complaint(lambda: read_sheets(path)).splitlines()
    assert told == [f"{path}:2: 1 cells for 2 columns", f"{path}:5: 3 cells for 2 columns"]


@pytest.mark.parametrize(("name", "text"), [("t.csv", ""), ("t.jsonl", "{}\n")])
def test_a_file_without_columns_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert complaint(lambda: read_sheets(path)) == f"{path} has no column."


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Name,Points,name\nAnn,3,Bob\n")
    assert complaint(lambda: read_sheets(path)) == (
        f"{path} has 2 columns named 'Name', which SQL cannot tell apart. Rename them."
    )


@settings(max_examples=12)
@given(st.lists(st.tuples(CELL, CELL), max_size=5), st.sampled_from(",;\t|"))
def test_any_text_in_csv_comes_back_as_it_was(rows: list[tuple[str, str]], mark: str) -> None:
    header = ('say "a;b;c", d|e\tf', "b")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, delimiter=mark, quoting=csv.QUOTE_ALL).writerows([header, *rows])
        (sheet,) = read_sheets(path)
    assert (sheet.header, list(sheet.rows)) == (header, rows)


def test_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("a\nKöln\n".encode("latin-1"))
    assert "is not UTF-8 at byte 3" in complaint(lambda: read_sheets(tmp_path / "t.csv"))


def test_json_lines_keep_their_types_and_every_key_is_a_column(tmp_path: Path) -> None:
    lines = [{"a": 1, "b": "2"}, {"b": None, "c": [1, "x"]}, {"a": 2.5, "c": True}]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = read_sheets(path)[0].table()
    assert (table.header, table.types) == (("a", "b", "c"), ("real", "text", "text"))
    assert table.rows == ((1, "2", None), (None, None, '[1, "x"]'), (2.5, None, "true"))


def test_parquet_is_read_under_any_name_and_dates_become_text(tmp_path: Path) -> None:
    path = tmp_path / "a[1]*.parquet"
    plain = tmp_path / "plain.parquet"
    duckdb.sql(
        "SELECT * FROM (VALUES (1, DATE '2024-02-29', 1.50::DECIMAL(4, 2), 'nan'::DOUBLE, TRUE), "
        "(2, NULL, NULL, 2.5, NULL)) AS t(n, day, price, x, yes)"
    ).write_parquet(str(plain))
    plain.rename(path)
    table = read_sheets(path)[0].table()
    assert (table.id, table.header) == ("a[1]*", ("n", "day", "price", "x", "yes"))
    assert table.types == ("real", "text", "real", "real", "text")
    assert table.rows == ((1, "2024-02-29", 1.5, None, "true"), (2, None, None, 2.5, None))


@pytest.mark.parametrize("name", ["t.parquet", "t.db"])
def test_a_damaged_file_is_a_message(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PAR1 no such thing PAR1" * 50)
    told = complaint(lambda: read_sheets(tmp_path / name))
    assert told.startswith(f"{tmp_path / name} cannot be read as ")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        for name in ("clients", "orders", "goods"):
            connection.execute(f"CREATE TABLE {name} (Name TEXT, Price REAL, Data BLOB)")
            connection.execute(f"INSERT INTO {name} VALUES ('{name} 1', 1.5, x'00ff'), ('b', 2, 3)")
        connection.execute("CREATE VIEW cheap AS SELECT * FROM goods WHERE Price < 2")
        connection.execute("CREATE VIEW broken AS SELECT * FROM gone")
        connection.execute("CREATE TABLE asked (Question TEXT, Query TEXT)")
        for name in ("clients", "orders", "goods"):
            connection.executemany(
                "INSERT INTO asked VALUES (?, ?)",
                [(f"{word} of {name}?", f'select Name from "{name}"') for word in ("All", "Names")],
            )
    return path


def test_a_sqlite_file_holds_tables_and_questions_and_is_split_by_table(shop: Path) -> None:
    before = contents(shop.parent)
    found = import_files([shop], read_golds)
    assert contents(shop.parent) == before
    assert found.by == "table"
    assert {id: table.types for id, table in found.tables.items()} == dict.fromkeys(
        ("clients", "orders", "goods"), ("text", "real", "text")
    )
    assert found.tables["goods"].rows == (("goods 1", 1.5, "2 bytes"), ("b", 2.0, 3))
    assert [len(pairs) for pairs in found.splits.values()] == [2, 2, 2]
    assert len({pairs[0].table_id for pairs in found.splits.values()}) == 3


def test_a_view_is_a_table_so_that_questions_over_several_can_be_asked(shop: Path) -> None:
    with closing(sqlite3.connect(shop)) as connection, connection:
        connection.executemany(
            "INSERT INTO asked VALUES (?, ?)",
            [(f"Cheap {word}?", "SELECT Name FROM cheap") for word in ("ones", "goods")],
        )
    found = import_files([shop], read_golds)
    assert found.tables["cheap"].rows == (("goods 1", 1.5, "2 bytes"),)
    assert "broken" not in found.tables


def test_a_sqlite_file_with_pending_changes_is_refused(shop: Path) -> None:
    shop.with_name("shop.db-wal").write_bytes(b"x")
    assert "is being written" in complaint(lambda: read_sheets(shop))


def test_pairs_that_cannot_be_gold_are_named_by_line_or_left_out(own: Path) -> None:
    bad = [
        ("Join?", "SELECT p.Player FROM players p JOIN teams t ON p.Team = t.Team", ""),
        ("", "SELECT Player FROM players", ""),
        ("No SQL?", "", ""),
        ("Which club?", "SELECT Name FROM clubs", "clubs"),
        ("Other case?", "SELECT player FROM players", "PLAYERS"),
    ]
    path = write_csv(
        own / "questions.csv", ("Question", "SQL", "Table"), [(*pair, "") for pair in PAIRS] + bad
    )
    lines = complaint(lambda: import_files([own], read_golds)).splitlines()
    # The second pair has three lines.
    assert [line.split(": ")[0] for line in lines[:4]] == [f"{path}:{n}" for n in range(8, 12)]
    assert "unsupported" in lines[0]
    assert lines[1].endswith("the question is empty")
    assert lines[2].endswith("the sql is empty")
    assert lines[3].endswith("no table is called 'clubs'; there are players")
    found = import_files([own], read_golds, skip=True)
    assert sum(map(len, found.splits.values())) == 5
    assert len(found.left_out) == 4


def test_a_pair_is_about_the_table_that_it_names_or_that_its_from_names(own: Path) -> None:
    (own / "teams.csv").write_text("Team,City\nRed,Rome\n")
    rows = [("a?", "SELECT Team FROM teams", ""), ("b?", "SELECT Team FROM table", "teams")]
    rows += [("c?", 'SELECT Team FROM "Players"', "")]
    write_csv(own / "questions.csv", ("question", "sql", "table"), rows)
    found = import_files([own], read_golds)
    tables = {pair.question: pair.table_id for pairs in found.splits.values() for pair in pairs}
    assert tables == {"a?": "teams", "b?": "teams", "c?": "players"}


def test_files_that_do_not_make_a_dataset_are_refused_with_what_is_missing(
    own: Path, tmp_path: Path
) -> None:
    questions, players = own / "questions.csv", own / "players.csv"
    told = complaint(lambda: import_files([players], unread))
    assert "a column question and a column sql (or query), and none of these has" in told
    assert "Player, Team, Points, Born" in told
    told = complaint(lambda: import_files([questions, questions], unread))
    assert "2 of these has" in told
    assert "nothing the table" in complaint(lambda: import_files([questions], unread))
    told = complaint(lambda: import_files([own, players], unread))
    assert "two tables are called 'players'" in told
    assert "does not exist" in complaint(lambda: import_files([tmp_path / "none"], unread))
    told = complaint(lambda: import_files([own / "notes.txt"], unread))
    assert ".parquet" in told
    write_csv(questions, ("question", "sql"), PAIRS[:2])
    assert "there are 2" in complaint(lambda: import_files([own], unread))


def test_a_folder_that_holds_something_is_not_touched(own: Path) -> None:
    found, before = import_files([own], unread), contents(own)
    assert "is there already" in complaint(lambda: write_folder(found, own))
    assert contents(own) == before
    (own.parent / "empty").mkdir()
    write_folder(found, own.parent / "empty")
    assert len(contents(own.parent / "empty")) == 6


def test_a_failed_write_leaves_no_folder(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def full(path: Path, rows: object) -> None:
        written.append(path)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        path.write_text("x")

    monkeypatch.setattr(own_data, "write_jsonl", full)
    with pytest.raises(UserError, match=r"cannot write .*made: No space left on device"):
        write_folder(import_files([own], unread), tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@settings(max_examples=30)
@given(st.dictionaries(st.text(max_size=3), st.integers(1, 40), min_size=3, max_size=12))
def test_units_are_parted_whole_and_every_split_has_its_share(sizes: dict[str, int]) -> None:
    units = [unit for unit, size in sizes.items() for _ in range(size)]
    parts = _parted(units, 0)
    assert parts == _parted(units[::-1], 0)
    got = Counter(parts[unit] for unit in units)
    assert set(got) == {"train", "valid", "test"}
    largest = max(sizes.values())
    assert parts[min(unit for unit in sizes if sizes[unit] == largest)] == "train"
    # A split ends with the unit that reaches its share, or where no unit is left to spare.
    for name, share in SHARES.items():
        units_of = [unit for unit in sizes if parts[unit] == name]
        assert got[name] - max(sizes[unit] for unit in units_of) < share * len(units)
    spare = [unit for unit in sizes if parts[unit] == "train"]
    if len(spare) > 1:
        assert all(got[name] >= share * len(units) for name, share in SHARES.items())


def test_parquet_and_dates_stay_what_they_are_in_python() -> None:
    from harness.data.sources.own_tables import _cell

    assert _cell(datetime.datetime(2024, 1, 2, 3)) == "2024-01-02 03:00:00"
    assert _cell(decimal.Decimal("2.50")) == 2.5
    assert _cell({"a": 1}) == '{"a": 1}'
    assert _cell(float("inf")) is None
