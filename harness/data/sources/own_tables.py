"""A user's own files as tables: CSV, Parquet, JSON lines, SQLite -> :class:`Sheet`.

Files are only read. CSV has text alone, so a column of it is made of numbers where all of its cells
are numbers; the other kinds say what each cell is. What WikiSQL's format has no type for becomes
text: dates, true and false, lists and objects (as JSON). An empty cell of CSV, NaN and infinity are
NULL. Not covered: what the tables are for (`harness.data.own_data`).
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from harness.data.records import Cell, Table
from harness.data.sources.jsonlines import line_problems, parse_lines, read_bytes
from harness.disk.files import explaining, link_or_copy
from harness.errors import UserError

_NUMBER = re.compile(
    r"-?(?:0|[1-9][0-9]*|[1-9][0-9]{0,2}(?:,[0-9]{3})+)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
)
"""A number of a CSV cell; `007` is a name, and `1,234` a number."""
_DELIMITERS = ",;\t|"
_MOST_CELL = 1 << 24
_MOST_HEADER = 100_000
_DUCKDB: dict[str, str | bool | int | float | list[str]] = {
    "threads": "1",
    "memory_limit": "4GB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table of a file; row i stands at ``lines[i]`` of ``path`` (its row number, from 1, where
    the file has no lines)."""

    path: str
    name: str
    header: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    lines: Sequence[int]

    def table(self) -> Table:
        """The table in WikiSQL's types; a column is `real` where all its cells are numbers."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.header)
        types = tuple("real" if _is_real(cells) else "text" for cells in columns)
        return Table(self.name, self.header, types, tuple(self.rows))


def read_sheets(path: Path) -> list[Sheet]:
    """The tables of a file: one, named by the file's stem, or all of a SQLite file.

    Raises:
        UserError: another kind of file, or one that is damaged, with the lines.
    """
    sheets = KINDS[path.suffix.lower()](path)
    if bare := next((sheet for sheet in sheets if not sheet.header), None):
        raise UserError(f"{bare.path} has no column.")
    for sheet in sheets:
        names = Counter(name.casefold() for name in sheet.header)
        if twice := next((name for name in sheet.header if names[name.casefold()] > 1), None):
            raise UserError(
                f"{sheet.path} has {names[twice.casefold()]} columns named {twice!r}, which SQL "
                "cannot tell apart. Rename them."
            )
    return sheets


def _is_real(cells: Iterable[Cell]) -> bool:
    present = [cell for cell in cells if cell is not None]
    return bool(present) and not any(isinstance(cell, str) for cell in present)


def _cell(value: Any) -> Cell:
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return str(value)


def _csv(path: Path) -> list[Sheet]:
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    first = re.sub(r'"[^"]*"', "", text[:_MOST_HEADER]).partition("\n")[0]
    csv.field_size_limit(_MOST_CELL)
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=first.count), strict=True
    )
    rows, places, problems = [], [], []
    try:
        header = next(lines, [])
        for row in lines:
            if not row:
                continue
            if len(row) != len(header):
                problems.append(
                    f"{path}:{lines.line_num}: {len(row)} cells for {len(header)} columns"
                )
            rows.append(row)
            places.append(lines.line_num)
    except csv.Error as error:
        problems.append(f"{path}:{lines.line_num}: {error}")
    if problems:
        raise line_problems(problems)
    columns = [_numbers(cells) for cells in zip(*rows, strict=True)]
    cells = list(zip(*columns, strict=True))
    return [Sheet(str(path), path.stem, tuple(header), cells, places)]


def _numbers(cells: Sequence[str]) -> list[Cell]:
    """A column of CSV: numbers where all its cells are, else text; NULL for an empty cell."""
    if not all(_NUMBER.fullmatch(cell) for cell in cells if cell):
        return [cell or None for cell in cells]
    return [_cell(json.loads(cell.replace(",", ""))) if cell else None for cell in cells]


def _jsonl(path: Path) -> list[Sheet]:
    objects = parse_lines(path, read_bytes(path), lambda _, value: value)
    header = tuple(dict.fromkeys(key for one in objects for key in one))
    rows = [tuple(_cell(one.get(key)) for key in header) for one in objects]
    return [Sheet(str(path), path.stem, header, rows, range(1, len(rows) + 1))]


def _parquet(path: Path) -> list[Sheet]:
    import duckdb  # slow to import

    # A name of its own, because DuckDB takes `*` and `[` in a path for a pattern.
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "table.parquet"
        with explaining(f"cannot read {path}"):
            link_or_copy(path.resolve(), copy)
        try:
            with duckdb.connect(":memory:", config=_DUCKDB) as connection:
                connection.execute("SET allowed_paths = [?]", [str(copy)])
                connection.execute("SET enable_external_access = false")
                found = connection.execute("SELECT * FROM read_parquet(?)", [str(copy)])
                header = tuple(column[0] for column in found.description or ())
                rows = [tuple(map(_cell, row)) for row in found.fetchall()]
        except duckdb.Error as error:
            said = str(error).replace(str(copy), path.name).splitlines()[0]
            raise UserError(f"{path} cannot be read as Parquet: {said}") from error
    return [Sheet(str(path), path.stem, header, rows, range(1, len(rows) + 1))]


def _sqlite(path: Path) -> list[Sheet]:
    pending = path.with_name(f"{path.name}-wal")
    if pending.exists() and pending.stat().st_size:
        raise UserError(
            f"{path} is being written: {pending.name} holds changes. End the program that has it "
            "open, or copy it with: sqlite3 FILE '.backup COPY'"
        )
    try:
        with closing(
            # Immutable, so that SQLite writes no file beside it.
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            found = connection.execute(
                "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') "
                "AND name NOT LIKE 'sqlite_%' AND sql NOT LIKE 'CREATE VIRTUAL %'"
            )
            sheets = []
            for name, kind in found.fetchall():
                # A view may be of tables that are gone.
                with suppress(*([sqlite3.Error] if kind == "view" else [])):
                    sheets.append(_sqlite_table(path, name, connection))
            return sheets
    except sqlite3.Error as error:
        raise UserError(f"{path} cannot be read as a SQLite file: {error}") from error


def _sqlite_table(path: Path, name: str, connection: sqlite3.Connection) -> Sheet:
    quoted = name.replace('"', '""')
    found = connection.execute(f'SELECT * FROM "{quoted}"')
    header = tuple(column[0] for column in found.description)
    rows = [tuple(map(_cell, row)) for row in found]
    return Sheet(f"{path} {name}", name, header, rows, range(1, len(rows) + 1))


KINDS = {
    **dict.fromkeys((".csv", ".tsv"), _csv),
    **dict.fromkeys((".jsonl", ".ndjson"), _jsonl),
    ".parquet": _parquet,
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), _sqlite),
}
"""What reads a file, by the end of its name."""
