"""Describing and exporting a dataset, on one small enough to count by hand."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from harness.data.describe import GoldKinds, describe, render
from harness.data.export import export, reconcile_command
from harness.data.leakage import leakage
from harness.data.prompts import style
from harness.data.records import Condition, Dataset, Example, LogicalForm, Split, Table
from harness.errors import UserError

TABLE = Table("t1", ("Name", "Pts"), ("text", "real"), (("Ana", 1), ("Bo", 2)))
OTHER = Table("t2", ("Name", "Pts"), ("text", "real"), (("Cy", 3), ("Di", None)))


def cells(markdown: str) -> list[list[str]]:
    """The rows of the tables in a text, without their padding."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def right(dataset: Dataset) -> GoldKinds:
    """Every gold query gives what it should."""
    return {split.name: [None] * len(split.examples) for split in dataset.splits}


def ask(id: int, table: Table, question: str, agg: int = 0, *conds: Condition) -> Example:
    return Example(id, table.id, question, LogicalForm(1, agg, conds))


TRAIN = Split(
    "train",
    (
        ask(0, TABLE, "Points of ana?", 0, Condition(0, 0, "Ana")),
        ask(1, TABLE, "points of  Ana", 0, Condition(0, 0, "Ana")),
        ask(2, TABLE, "Points of Ana?", 1, Condition(0, 0, "Ana")),
        ask(3, TABLE, "All?", 3),
    ),
    {"t1": TABLE},
)
VALID = Split(
    "dev", (ask(0, OTHER, "Cy", 4, Condition(1, 1, 1), Condition(1, 2, 9)),), {"t2": OTHER}
)
TEST = Split("test", (ask(0, replace(OTHER, id="t3"), "all"),), {"t3": replace(OTHER, id="t3")})
DATASET = Dataset("hand", "0" * 64, Path("nowhere"), TRAIN, VALID, TEST)


def test_counts_are_those_counted_by_hand() -> None:
    train, valid, test = describe(DATASET, right(DATASET)).splits
    assert train.aggregates == (2, 1, 0, 1, 0, 0)
    assert train.operators == (3, 0, 0)
    assert train.conditions == (1, 3, 0, 0, 0)
    assert (train.tables, train.rows_per_table, train.columns_per_table) == (1, 2, 2)
    assert train.real_columns == 0.5
    assert (valid.operators, valid.conditions) == ((0, 1, 1), (0, 0, 1, 0, 0))
    assert test.conditions == (1, 0, 0, 0, 0)


def test_repeats_with_equal_and_with_other_gold_are_counted_apart() -> None:
    train = describe(DATASET, right(DATASET)).splits[0]
    assert (train.duplicates, train.conflicts) == (1, 1)


def test_a_value_in_another_case_than_its_cell_is_counted() -> None:
    assert describe(DATASET, right(DATASET)).splits[0].other_case == 0.25


def test_leakage_counts_tables_by_id_or_contents_and_questions_by_words() -> None:
    found = leakage(DATASET)
    assert found.shared_tables == 1  # t2 and t3 differ in id only
    assert found.shared_questions == 1  # "All?" and "all"


def test_gold_is_counted_by_what_running_it_gave() -> None:
    gold = {"train": [None, "empty", "null", "no such column"], "dev": [None], "test": [None]}
    train = describe(DATASET, gold).splits[0]
    assert (train.gold_empty, train.gold_null, train.degenerate) == (1, 1, 2)
    assert train.gold_failing == ["3: no such column"]


def test_markdown_sets_wikisql_beside_it_and_lists_gold_that_fails() -> None:
    gold = {"train": ["bang", None, None, "boom"], "dev": [None], "test": [None]}
    text = render(describe(DATASET, gold))
    rows = cells(text)
    assert rows[0] == ["", "train", "dev", "test", "WikiSQL test"]
    assert ["COUNT", "1 (25.0%)", "0 (0.0%)", "0 (0.0%)", "1455 (9.2%)"] in rows
    assert [">", "0 (0.0%)", "1 (50.0%)", "0 (0.0%)", "1927 (8.8%)"] in rows
    assert ["degenerate gold", "0.0%", "0.0%", "0.0%", "about 8%"] in rows
    assert "Gold that does not run: train 0: bang" in text
    assert "Gold that does not run: train 3: boom" in text
    assert "Shared between splits: 1 tables, 1 questions." in text


def test_description_is_json() -> None:
    again = json.loads(describe(DATASET, right(DATASET)).model_dump_json())
    assert again["leakage"] == {"shared_tables": 1, "shared_questions": 1}
    assert again["splits"][1]["name"] == "dev"


def test_export_writes_one_text_a_line_under_the_names_mlx_lm_wants(tmp_path: Path) -> None:
    paths = export(DATASET, style("dialect"), tmp_path / "out")
    assert [path.name for path in paths] == ["train.jsonl", "valid.jsonl", "test.jsonl"]
    first = json.loads(paths[0].read_text("utf-8").splitlines()[0])
    assert first == {
        "text": "table: t1\ncolumns: Name, Pts\nQ: Points of ana?\n"
        "A: SELECT Pts FROM t1 WHERE Name = 'Ana'"
    }
    assert [len(path.read_text("utf-8").splitlines()) for path in paths] == [4, 1, 1]


def test_export_replaces_only_what_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    train, *_ = export(DATASET, style("dialect"), tmp_path)
    export(DATASET, style("sql"), tmp_path)
    written = train.read_bytes()
    (tmp_path / "notes").write_text("mine, changed")
    export(DATASET, style("dialect"), tmp_path)
    assert train.read_bytes() != written
    train.write_text('{"text": "my own data"}\n')
    with pytest.raises(UserError, match=r"holds train.jsonl, valid.jsonl, test.jsonl, not written"):
        export(DATASET, style("dialect"), tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "test.jsonl").write_text("mine")
    with pytest.raises(UserError, match=r"other holds test.jsonl, not written by an export"):
        export(DATASET, style("dialect"), tmp_path / "other")


def test_chat_export_asks_for_the_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name the model with --model"):
        export(DATASET, style("chat"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_names_what_decides_mlx_lm_s_number() -> None:
    settings = {"batch_size": 4, "seed": 0, "test_batches": -1, "max_seq_length": 512, "iters": 9}
    command = shlex.split(reconcile_command("some model", Path("out"), settings))
    assert command[:6] == ["mlx_lm.lora", "--model", "some model", "--data", "out", "--test"]
    assert command[6:] == [
        "--adapter-path", "", "--batch-size", "4", "--test-batches", "-1",
        "--max-seq-length", "512", "--seed", "0",
    ]  # fmt: skip
    assert "'my adapter'" in reconcile_command("m", Path("d"), {"adapter_path": "my adapter"})
