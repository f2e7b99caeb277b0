"""WikiSQL's format: `<split>.jsonl` + `<split>.tables.jsonl` -> `Split`, `Dataset`.

Every line is checked before anything is used, and all problems of a file are reported together,
each as `file:line: what is wrong`. Read here are gold queries only: predictions, which may be
malformed and are then wrong answers, are read by `harness.sql`. Gold may also be SQL text, which
the caller's reader reads (`harness.sql.read.gold`), or nobody. Not covered: the official archive
(`archive.py` prepares the folder that is read here). Format: github.com/salesforce/WikiSQL, README.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.data.records import (
    AGGREGATIONS,
    OPERATORS,
    Cell,
    Condition,
    Dataset,
    Example,
    LogicalForm,
    Split,
    SqlGold,
    Table,
)
from harness.data.sources.jsonlines import (
    BadLine,
    existing,
    first_existing,
    kind_of,
    line_problems,
    member,
    parse_lines,
    read_bytes,
    read_dataset,
    split_of,
    text_digest,
)
from harness.errors import UserError

TYPES = ("text", "real")
"""WikiSQL's column types."""

_CELL_TYPES = frozenset((str, int, float, type(None)))

GoldReader = Callable[[Sequence[tuple[str, Table]]], Sequence[SqlGold | BadLine]]
"""Reads gold queries that are SQL text, each about its table; a BadLine says why one cannot be."""

_ONE_LINE = re.compile(r"('[^']*'|\"[^\"]*\"|`[^`]*`)|(?:--[^\n]*|/\*.*?\*/|\s)+", re.DOTALL)
"""What is quoted, and else the comments and white space of SQL."""


def unread(texts: Sequence[tuple[str, Table]]) -> list[SqlGold]:
    """Leave gold queries that are SQL text unread: enough to train on them."""
    return [SqlGold(text, None) for text, _ in texts]


def load_dataset(folder: Path, name: str, read_golds: GoldReader = unread) -> Dataset:
    """Read train, validation (``valid`` or ``dev``) and test of ``folder`` as dataset ``name``.

    Raises:
        UserError: as :func:`load_split`.
    """
    return read_dataset(folder, name, "tables", lambda _, path: _load(path, read_golds))


def load_split(folder: Path, names: Sequence[str], read_golds: GoldReader = unread) -> Split:
    """Read the first split of ``names`` that ``folder`` holds; the split keeps that file's name.

    ``read_golds`` reads gold that is SQL text; whoever runs or counts gold queries gives
    `harness.sql.read.gold.read_golds`.

    Raises:
        UserError: no such file, a damaged line or a gold that cannot be read (all are listed), or
            no example at all.
    """
    return _load(first_existing(folder, names), read_golds)[0]


def _load(examples_path: Path, read_golds: GoldReader) -> tuple[Split, str]:
    """A split, and the SHA-256 of each of its two files."""
    name = split_of(examples_path)
    tables_path = existing(examples_path.parent, f"{name}.tables.jsonl")
    if tables_path is None:
        raise UserError(
            f"{examples_path.parent / name}.tables.jsonl is missing; {examples_path.name} needs it "
            "(text-only data has no tables to run queries on)."
        )
    table_bytes, example_bytes = read_bytes(tables_path), read_bytes(examples_path)
    tables = _tables(tables_path, table_bytes)
    examples = parse_lines(
        examples_path, example_bytes, lambda line, value: parse_example(line, value, tables)
    )
    examples = _with_golds_read(examples_path, examples, tables, read_golds)
    used = {example.table_id for example in examples}
    digests = (text_digest(data) for data in (example_bytes, table_bytes))
    kept = {key: table for key, table in tables.items() if key in used}
    return Split(name, tuple(examples), kept), " ".join(digests)


def _with_golds_read(
    path: Path, examples: list[Example], tables: Mapping[str, Table], read_golds: GoldReader
) -> list[Example]:
    texts = [
        (example.gold.text, tables[example.table_id])
        for example in examples
        if isinstance(example.gold, SqlGold)
    ]
    if not texts:
        return examples
    found = iter(read_golds(texts))
    read: list[Example] = []
    problems: list[str] = []
    for example in examples:
        gold = next(found) if isinstance(example.gold, SqlGold) else example.gold
        if isinstance(gold, BadLine):
            problems.append(f"{path}:{example.id + 1}: sql cannot be read: {gold}")
        else:
            read.append(replace(example, gold=gold))
    if problems:
        raise line_problems(problems)
    return read


def _tables(path: Path, data: bytes) -> dict[str, Table]:
    tables: dict[str, Table] = {}

    def add(line: int, value: Mapping[str, Any]) -> None:
        table = parse_table(value)
        if tables.setdefault(table.id, table) != table:
            raise BadLine(f"table id {table.id!r} appears twice with different contents")

    parse_lines(path, data, add)
    return tables


def parse_table(value: Mapping[str, Any]) -> Table:
    """A checked :class:`Table` of one official object.

    Raises:
        BadLine: what is wrong.
    """
    name = member(value, "id", str)
    header, types, rows = (member(value, key, list) for key in ("header", "types", "rows"))
    if not header:
        raise BadLine("header is empty: a table needs at least one column")
    for position, item in enumerate(header):
        if not isinstance(item, str):
            raise BadLine(f"header[{position}] must be text, got {kind_of(item)}")
    for position, item in enumerate(types):
        if item not in TYPES:
            raise BadLine(f"types[{position}] is {item!r}; allowed: text, real")
    if len(types) != len(header):
        raise BadLine(f"{len(types)} types for {len(header)} columns")
    return Table(name, tuple(header), tuple(types), tuple(_rows(rows, len(header))))


def _rows(rows: list[Any], width: int) -> Iterator[tuple[Cell, ...]]:
    for index, row in enumerate(rows):
        if not isinstance(row, list):
            raise BadLine(f"rows[{index}] must be a list, got {kind_of(row)}")
        if len(row) != width:
            raise BadLine(f"rows[{index}] has {len(row)} cells for {width} columns")
        # Cell by cell only where a type is wrong: large splits hold hundreds of thousands of cells.
        faulty = () if _CELL_TYPES.issuperset(map(type, row)) else row
        for column, cell in enumerate(faulty):
            if isinstance(cell, bool) or not (cell is None or isinstance(cell, str | int | float)):
                place = f"rows[{index}][{column}]"
                raise BadLine(f"{place} must be text, a number or null, got {kind_of(cell)}")
        yield tuple(row)


def parse_example(id: int, value: Mapping[str, Any], tables: Mapping[str, Table]) -> Example:
    """A checked :class:`Example` of one official object; ``id`` is its 0-based line.

    Raises:
        BadLine: what is wrong.
    """
    table_id = member(value, "table_id", str)
    question = member(value, "question", str)
    sql: object = member(value, "sql", object)
    table = tables.get(table_id)
    if table is None:
        raise BadLine(f"table_id {table_id!r} is not in the tables file")
    if isinstance(sql, str):
        return Example(id, table_id, question, SqlGold(one_line(sql), None))
    if not isinstance(sql, dict):
        raise BadLine(f"sql must be an object or SQL text, got {kind_of(sql)}")
    return Example(id, table_id, question, parse_logical_form(sql, len(table.header)))


def one_line(sql: str) -> str:
    """SQL text without comments, with single spaces for other white space outside of quotes, and
    without the semicolon at its end."""
    return _ONE_LINE.sub(lambda found: found[1] or " ", sql).strip().rstrip(";").rstrip()


def parse_logical_form(sql: Mapping[str, Any], columns: int) -> LogicalForm:
    """A checked :class:`LogicalForm` on a table of ``columns`` columns.

    Raises:
        BadLine: a missing key, a wrong type, or an index out of range.
    """
    sel = _index(member(sql, "sel", object), columns, "sel", "columns")
    agg = _index(member(sql, "agg", object), len(AGGREGATIONS), "agg", "aggregates")
    conds = []
    for position, cond in enumerate(member(sql, "conds", list)):
        place = f"conds[{position}]"
        if not isinstance(cond, list) or len(cond) != 3:
            raise BadLine(f"{place} must be [column, operator, value], got {json.dumps(cond)}")
        column = _index(cond[0], columns, f"{place} column", "columns")
        operator = _index(cond[1], len(OPERATORS), f"{place} operator", "operators")
        if isinstance(cond[2], bool) or not isinstance(cond[2], str | int | float):
            raise BadLine(f"{place} value must be text or a number, got {kind_of(cond[2])}")
        conds.append(Condition(column, operator, cond[2]))
    return LogicalForm(sel, agg, tuple(conds))


def _index(value: Any, size: int, what: str, of: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadLine(f"{what} must be a whole number, got {kind_of(value)}")
    if not 0 <= value < size:
        raise BadLine(f"{what} is {value}; there are {size} {of}, so 0 to {size - 1} is allowed")
    return value
