"""Reading WikiSQL's files: `<split>.jsonl` + `<split>.tables.jsonl` -> `Split`, `Dataset`.

Every line is checked before anything is used, and all problems of a file are told together, each
as `file:line: what is wrong`. Not covered: scoring (`harness.sql`), the official archive
(`sources.py` finds it once it is prepared). Format: github.com/salesforce/WikiSQL, README.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data.records import Dataset, Example, Split, Table
from harness.data.sources.jsonlines import (
    existing,
    first_existing,
    objects,
    read_bytes,
    report,
    split_of,
)
from harness.data.sources.parse import Damage, parse_example, parse_table
from harness.errors import UserError

VALIDATION_NAMES = ("valid", "dev")
"""File names under which a folder may hold its validation split, preferred first."""


def load_split(folder: Path, names: Sequence[str]) -> Split:
    """Read the first split of ``names`` that ``folder`` holds; the split keeps that file's name.

    Raises:
        UserError: no such file, a damaged line (all are listed), or no example at all.
    """
    split, _ = _load(folder, names)
    return split


def load_dataset(folder: Path, name: str) -> Dataset:
    """Read train, validation (``valid`` or ``dev``) and test of ``folder`` as dataset ``name``.

    Raises:
        UserError: as :func:`load_split`.
    """
    if not folder.is_dir():
        raise UserError(
            f"dataset folder {folder} does not exist. Give a folder holding train.jsonl, "
            "train.tables.jsonl, valid.jsonl (or dev.jsonl), test.jsonl and their tables."
        )
    digest = hashlib.sha256()
    splits = []
    for role, names in (("train", ("train",)), ("valid", VALIDATION_NAMES), ("test", ("test",))):
        split, sha256 = _load(folder, names)
        digest.update(f"{role} {sha256}\n".encode())
        splits.append(split)
    train, valid, test = splits
    return Dataset(name, digest.hexdigest(), folder, train, valid, test)


def example_to_json(example: Example) -> dict[str, Any]:
    """The official object of one example, keys in the official order."""
    gold = example.gold
    conds = [[c.column, c.operator, c.value] for c in gold.conds]
    return {
        "phase": 1,
        "table_id": example.table_id,
        "question": example.question,
        "sql": {"sel": gold.sel, "conds": conds, "agg": gold.agg},
    }


def table_to_json(table: Table) -> dict[str, Any]:
    """The official object of one table: id, header, types, rows."""
    return {
        "id": table.id,
        "header": list(table.header),
        "types": list(table.types),
        "rows": [list(row) for row in table.rows],
    }


def _load(folder: Path, names: Sequence[str]) -> tuple[Split, str]:
    examples_path = first_existing(folder, names)
    name = split_of(examples_path)
    tables_path = existing(folder, f"{name}.tables.jsonl")
    if tables_path is None:
        missing = folder / f"{name}.tables.jsonl"
        text_only = " (text-only data has no tables to run queries on)"
        raise UserError(f"{missing} is missing; {examples_path.name} needs it{text_only}.")
    table_bytes = read_bytes(tables_path)
    tables = _tables(tables_path, table_bytes)
    example_bytes = read_bytes(examples_path)
    examples = _examples(examples_path, example_bytes, tables)
    used = {example.table_id for example in examples}
    digests = (hashlib.sha256(data).hexdigest() for data in (example_bytes, table_bytes))
    kept = {key: table for key, table in tables.items() if key in used}
    return Split(name, tuple(examples), kept), " ".join(digests)


def _tables(path: Path, data: bytes) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    problems: list[str] = []
    for number, value in objects(path, data, problems):
        try:
            table = parse_table(value)
            if tables.get(table.id, table) != table:
                raise Damage(f"table id {table.id!r} appears twice with different contents")
            tables[table.id] = table
        except Damage as error:
            problems.append(f"{path}:{number}: {error}")
    report(path, problems)
    if not tables:
        raise UserError(f"{path} holds no table.")
    return tables


def _examples(path: Path, data: bytes, tables: Mapping[str, Table]) -> list[Example]:
    examples: list[Example] = []
    problems: list[str] = []
    for number, value in objects(path, data, problems):
        try:
            examples.append(parse_example(number - 1, value, tables))
        except Damage as error:
            problems.append(f"{path}:{number}: {error}")
    report(path, problems)
    if not examples:
        raise UserError(f"{path} is empty: a split needs at least one example.")
    return examples
