"""Reading WikiSQL's files: `<split>.jsonl` + `<split>.tables.jsonl` -> `Split`, `Dataset`.

Every line is checked before anything is used, and all problems of a file are told together, each
as `file:line: what is wrong`. Not covered: scoring (`harness.sql`), the official archive
(`sources.py` finds it once it is prepared). Format: github.com/salesforce/WikiSQL, README.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from harness.data.checks import Damage, kind_of, parse_example, parse_table
from harness.data.records import Dataset, Example, Split, Table
from harness.errors import UserError

VALIDATION_NAMES = ("valid", "dev")
"""File names under which a folder may hold its validation split, preferred first."""

_SHOWN = 10


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
    return Dataset(name, digest.hexdigest(), folder, *splits)


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
    examples_path = _first_existing(folder, names)
    name = examples_path.name.removesuffix(".jsonl")
    tables_path = folder / f"{name}.tables.jsonl"
    if not tables_path.is_file():
        text_only = " (text-only data has no tables to run queries on)"
        raise UserError(f"{tables_path} is missing; {examples_path.name} needs it{text_only}.")
    table_bytes = _read(tables_path)
    tables = _tables(tables_path, table_bytes)
    example_bytes = _read(examples_path)
    examples = _examples(examples_path, example_bytes, tables)
    used = {example.table_id for example in examples}
    digests = (hashlib.sha256(data).hexdigest() for data in (example_bytes, table_bytes))
    kept = {key: table for key, table in tables.items() if key in used}
    return Split(name, tuple(examples), kept), " ".join(digests)


def _first_existing(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        path = folder / f"{name}.jsonl"
        if path.is_file():
            return path
    wanted = " or ".join(f"{name}.jsonl" for name in names)
    if not folder.is_dir():
        raise UserError(f"dataset folder {folder} does not exist; {wanted} should be in it.")
    present = sorted(
        p.name.removesuffix(".jsonl")
        for p in folder.glob("*.jsonl")
        if not p.name.endswith(".tables.jsonl")
    )
    listed = ", ".join(present) or "none"
    raise UserError(f"{folder} holds no {wanted}. Splits present: {listed}.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise Damage(f"{name} is not JSON; use null for a missing number")


# One decoder for all lines: json.loads with an option would build one a line.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _objects(path: Path, data: bytes, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, object) of every readable line; the unreadable ones go to ``problems``."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, 1):
        try:
            if not line.strip():
                raise Damage("empty line (ids are line numbers, so none may be skipped)")
            value = _DECODER.decode(line.decode("utf-8"))
            if b"\\u" in line and not _encodable(value):
                raise Damage("a \\u escape is half of a surrogate pair, which is no character")
            if not isinstance(value, dict):
                raise Damage(f"expected a JSON object, got {kind_of(value)}")
        except UnicodeDecodeError as error:
            problems.append(f"{path}:{number}: not UTF-8 at byte {error.start}")
        except json.JSONDecodeError as error:
            problems.append(f"{path}:{number}: not JSON at column {error.colno}: {error.msg}")
        except (ValueError, RecursionError) as error:
            problems.append(f"{path}:{number}: {error}")
        else:
            yield number, value


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _report(path: Path, problems: list[str]) -> None:
    if not problems:
        return
    problems.sort(key=lambda text: int(text[len(str(path)) + 1 :].split(":", 1)[0]))
    more = len(problems) - _SHOWN
    tail = f"\n… and {more} more" if more > 0 else ""
    raise UserError("\n".join(problems[:_SHOWN]) + tail)


def _tables(path: Path, data: bytes) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    problems: list[str] = []
    for number, value in _objects(path, data, problems):
        try:
            table = parse_table(value)
            if tables.get(table.id, table) != table:
                raise Damage(f"table id {table.id!r} appears twice with different contents")
            tables[table.id] = table
        except Damage as error:
            problems.append(f"{path}:{number}: {error}")
    _report(path, problems)
    if not tables:
        raise UserError(f"{path} holds no table.")
    return tables


def _examples(path: Path, data: bytes, tables: Mapping[str, Table]) -> list[Example]:
    examples: list[Example] = []
    problems: list[str] = []
    for number, value in _objects(path, data, problems):
        try:
            examples.append(parse_example(number - 1, value, tables))
        except Damage as error:
            problems.append(f"{path}:{number}: {error}")
    _report(path, problems)
    if not examples:
        raise UserError(f"{path} is empty: a split needs at least one example.")
    return examples
