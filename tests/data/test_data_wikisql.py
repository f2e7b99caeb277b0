"""Reading WikiSQL's files: round trip, and one clear message for every kind of damage."""

import gzip
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.generate.corpus import example_to_json
from harness.data.records import Condition, Example, LogicalForm, Table
from harness.data.sources.resolve import MINI_FOLDER, resolve_dataset
from harness.data.sources.wikisql import (
    load_dataset,
    load_split,
    parse_example,
    parse_table,
)
from harness.errors import UserError

SHARED = Path(__file__).parents[3] / "shared" / "wikisql"


def table_json(**changes: Any) -> dict[str, Any]:
    table = {
        "id": "1-1-1",
        "header": ["Player", "Pts"],
        "types": ["text", "real"],
        "rows": [["Ana", 3], ["Bo", None]],
    }
    return table | changes


def example_json(**changes: Any) -> dict[str, Any]:
    sql = {"sel": 0, "conds": [[1, 0, 3]], "agg": 0}
    return {"phase": 1, "table_id": "1-1-1", "question": "Who has 3?", "sql": sql} | changes


def write(path: Path, rows: list[Any]) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def folder_with(
    tmp_path: Path, examples: list[Any], tables: list[Any], split: str = "train"
) -> Path:
    write(tmp_path / f"{split}.jsonl", examples)
    write(tmp_path / f"{split}.tables.jsonl", tables)
    return tmp_path


def complaint(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


def test_a_split_is_read_in_file_order_with_only_the_tables_it_uses(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, [example_json()], [table_json(), table_json(id="1-1-2")])
    split = load_split(folder, ("train",))
    gold = LogicalForm(0, 0, (Condition(1, 0, 3),))
    assert split.examples == (Example(0, "1-1-1", "Who has 3?", gold),)
    rows = (("Ana", 3), ("Bo", None))
    assert split.tables == {"1-1-1": Table("1-1-1", ("Player", "Pts"), ("text", "real"), rows)}


SQL = {"sel": 0, "conds": [[1, 0, 3]], "agg": 0}
DAMAGED_EXAMPLES = [
    ("{'a'", "not JSON at column 2"),
    ("[1]", "expected a JSON object, got a list"),
    ("", "empty line"),
    ('{"a": NaN}', "NaN is not JSON"),
    ('{"a": [1, {"b": 1e999}]}', "a number is beyond 1.8e308"),
    ('{"a": -1e+0400}', "a number is beyond 1.8e308"),
    (f'{{"a": 1{"0" * 400}}}', "a number is beyond 1.8e308"),
    (json.dumps(example_json(question="\ud800")), "half of a surrogate pair"),
    (f'{{"a": {"1" * 5000}}}', "digits"),
    ("[" * 100_000, "recursion"),
    ({"table_id": "1-1-1", "question": "q"}, "key 'sql' is missing (keys present: table_id"),
    (example_json(question=3), "question must be text, got the number 3"),
    (example_json(table_id="1-9-9"), "table_id '1-9-9' is not in the tables file"),
    (example_json(sql=[]), "sql must be an object or SQL text, got a list"),
    (example_json(sql=SQL | {"sel": 2}), "sel is 2; there are 2 columns, so 0 to 1 is allowed"),
    (example_json(sql=SQL | {"sel": -1}), "sel is -1"),
    (example_json(sql=SQL | {"sel": "0"}), "sel must be a whole number, got text"),
    (example_json(sql=SQL | {"sel": True}), "sel must be a whole number, got true/false"),
    (example_json(sql=SQL | {"agg": 6}), "agg is 6; there are 6 aggregates"),
    (example_json(sql=SQL | {"conds": None}), "conds must be a list, got null"),
    (example_json(sql=SQL | {"conds": [[1, 0]]}), "conds[0] must be [column, operator, value]"),
    (example_json(sql=SQL | {"conds": [[2, 0, 1]]}), "conds[0] column is 2"),
    (example_json(sql=SQL | {"conds": [[1, 3, 1]]}), "conds[0] operator is 3"),
    (example_json(sql=SQL | {"conds": [[1, 0, None]]}), "conds[0] value must be text or a number"),
    (example_json(sql=SQL | {"conds": [[1, 0, True]]}), "conds[0] value must be text or a number"),
]


@pytest.mark.parametrize(("line", "message"), DAMAGED_EXAMPLES)
def test_a_damaged_example_is_named_by_file_and_line(
    tmp_path: Path, line: Any, message: str
) -> None:
    folder = folder_with(tmp_path, [example_json(), line, example_json()], [table_json()])
    text = complaint(lambda: load_split(folder, ("train",)))
    assert text.startswith(f"{folder / 'train.jsonl'}:2: ")
    assert message in text


DAMAGED_TABLES = [
    (table_json(id=7), "id must be text"),
    (table_json(header=[]), "header is empty"),
    (table_json(header=["a", None]), "header[1] must be text, got null"),
    (table_json(types=["text"]), "1 types for 2 columns"),
    (table_json(types=["text", "int"]), "types[1] is 'int'; allowed: text, real"),
    (table_json(types=["text", ["real"]]), "types[1] is ['real']"),
    (table_json(rows=[["Ana"]]), "rows[0] has 1 cells for 2 columns"),
    (table_json(rows=[["a", 1], "ab"]), "rows[1] must be a list, got text"),
    (table_json(rows=[["a", [1]]]), "rows[0][1] must be text, a number or null, got a list"),
    (table_json(rows=[["a", True]]), "rows[0][1] must be text, a number or null, got true/false"),
    (table_json(rows=[]), "table id '1-1-1' appears twice with different contents"),
    ({"id": "x"}, "key 'header' is missing"),
]


@pytest.mark.parametrize(("line", "message"), DAMAGED_TABLES)
def test_a_damaged_table_is_named_by_file_and_line(tmp_path: Path, line: Any, message: str) -> None:
    folder = folder_with(tmp_path, [example_json()], [table_json(), line])
    text = complaint(lambda: load_split(folder, ("train",)))
    assert text.startswith(f"{folder / 'train.tables.jsonl'}:2: ")
    assert message in text


def test_all_problems_of_a_file_are_reported_at_once_in_line_order(tmp_path: Path) -> None:
    bad = [example_json(question=n) if n % 2 else "{" for n in range(14)]
    folder = folder_with(tmp_path, bad, [table_json()])
    lines = complaint(lambda: load_split(folder, ("train",))).splitlines()
    assert [line.split("train.jsonl:")[1].split(":")[0] for line in lines[:10]] == [
        str(n) for n in range(1, 11)
    ]
    assert lines[10] == "… and 4 more"


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, [example_json()], [table_json()])
    with (folder / "train.jsonl").open("ab") as stream:
        stream.write(b'{"question": "caf\xe9"}\n')
    assert "train.jsonl:2: not UTF-8 at byte 17" in complaint(
        lambda: load_split(folder, ("train",))
    )


def test_byte_order_mark_windows_line_ends_and_final_blank_lines_are_harmless(
    tmp_path: Path,
) -> None:
    folder = folder_with(tmp_path, [example_json()], [table_json()])
    path = folder / "train.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\n\n")
    assert len(load_split(folder, ("train",)).examples) == 1


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, [], [table_json()])
    assert "train.jsonl is empty" in complaint(lambda: load_split(folder, ("train",)))


def test_a_missing_split_names_those_present(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, [example_json()], [table_json()], split="test")
    text = complaint(lambda: load_split(folder, ("valid", "dev")))
    assert "holds no valid.jsonl or dev.jsonl. Splits present: test." in text


def test_a_missing_tables_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [example_json()])
    assert "train.tables.jsonl is missing" in complaint(lambda: load_split(tmp_path, ("train",)))


def dataset_folder(path: Path, validation: str) -> Path:
    for split in ("train", validation, "test"):
        folder_with(path, [example_json()], [table_json()], split)
    return path


@pytest.mark.parametrize("validation", ["valid", "dev"])
def test_valid_or_dev_serves_as_validation(tmp_path: Path, validation: str) -> None:
    dataset = load_dataset(dataset_folder(tmp_path, validation), "mine")
    assert dataset.valid.name == validation
    assert (dataset.name, dataset.folder) == ("mine", tmp_path)


def test_the_dataset_key_follows_the_bytes_of_every_file(tmp_path: Path) -> None:
    first = load_dataset(dataset_folder(tmp_path, "dev"), "a").sha256
    assert load_dataset(tmp_path, "b").sha256 == first
    with (tmp_path / "test.tables.jsonl").open("a") as stream:
        stream.write("\n")
    assert load_dataset(tmp_path, "a").sha256 != first
    assert len(first) == 64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minni", "unknown dataset 'minni'. Did you mean 'mini'? Allowed: mini, wikisql."),
        ("./nowhere", r"dataset folder nowhere does not exist. Give a folder holding train.jsonl"),
        (__file__, "is a file; give the folder that holds it"),
    ],
)
def test_a_wrong_dataset_name_says_what_is_allowed(name: str, message: str) -> None:
    assert message in complaint(lambda: resolve_dataset(name))


def test_wikisql_that_is_not_prepared_names_the_command(tmp_path: Path) -> None:
    text = complaint(lambda: resolve_dataset("wikisql", cache_root=tmp_path))
    assert "Run: python -m harness fetch wikisql" in text


CELLS = st.one_of(st.none(), st.text(), st.integers(), st.floats(allow_nan=False))


@given(st.data())
def test_any_table_and_example_survive_a_round_trip(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 4))
    columns = st.integers(0, width - 1)
    value = st.one_of(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
    table = Table(
        data.draw(st.text()),
        tuple(data.draw(st.lists(st.text(), min_size=width, max_size=width))),
        tuple(
            data.draw(st.lists(st.sampled_from(("text", "real")), min_size=width, max_size=width))
        ),
        tuple(data.draw(st.lists(st.tuples(*[CELLS] * width), max_size=3))),
    )
    conds = st.builds(Condition, columns, st.integers(0, 2), value)
    gold = LogicalForm(
        data.draw(columns), data.draw(st.integers(0, 5)), tuple(data.draw(st.lists(conds)))
    )
    example = Example(4, table.id, data.draw(st.text()), gold)
    assert parse_table(json.loads(json.dumps(asdict(table)))) == table
    again = json.loads(json.dumps(example_to_json(example)))
    assert parse_example(4, again, {table.id: table}) == example


@pytest.mark.skipif(not SHARED.exists(), reason="shared WikiSQL data is not in this checkout")
def test_real_questions_are_read_whole() -> None:
    dev = load_split(SHARED / "dev", ("valid", "dev"))
    assert (len(dev.examples), len(dev.tables)) == (8421, 2630)
    small = load_dataset(SHARED / "small", "small")
    assert [len(s.examples) for s in (small.train, small.valid, small.test)] == [1000, 100, 300]


def test_compressed_files_are_the_same_dataset_and_plain_ones_come_first(tmp_path: Path) -> None:
    for path in MINI_FOLDER.glob("*.jsonl"):
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    packed, plain = load_dataset(tmp_path, "mini"), load_dataset(MINI_FOLDER, "mini")
    assert (packed.sha256, packed.train, packed.test) == (plain.sha256, plain.train, plain.test)
    (tmp_path / "test.jsonl").write_text("{")
    with pytest.raises(UserError, match=r"test.jsonl:1: not JSON"):
        load_dataset(tmp_path, "mini")


@pytest.mark.parametrize("keep", [0, 9, 400])
def test_a_cut_compressed_file_is_named(keep: int, tmp_path: Path) -> None:
    for path in MINI_FOLDER.glob("*.jsonl"):
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    damaged = tmp_path / "test.jsonl.gz"
    damaged.write_bytes(damaged.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"test.jsonl.gz is (damaged|empty)"):
        load_dataset(tmp_path, "mini")
