"""All tables of a split as one DuckDB table, because thousands of tables load and plan slowly.

Tables -> a database file with ``cells(t, r, v, n, s)``: table number, row number, and three lists
over the columns: ``v`` the lower-cased text (NULL for a NULL cell), ``n`` the number of a cell in
a real column, ``s`` what SUM and AVG add up. Measured with DuckDB 2.0.1: 2,700 tables take 4 s and
700 MB, one table of all cells takes a fraction of a second.

The cells of a real column decide how it is stored: as ``number`` when all of them are numbers
(``1,234`` is one), else as ``mixed``, which stays text and is read as numbers where one is needed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.records import Cell, Table
from harness.interrupts import interrupts_wait
from harness.machine.system import require_address_space
from harness.sql.values import Storage, fold, number

ADDRESS_SPACE_BYTES = 1_610_612_736
"""What DuckDB needs, and what the process that runs queries may take (Linux)."""
BLOCK_BYTES = "16384"
LEADING_NUMBER = r"^\s*([-+]?[0-9]*\.?[0-9]+(?:e[-+]?[0-9]+)?)"
_LEADING = re.compile(LEADING_NUMBER, re.ASCII)


@dataclass(frozen=True, slots=True)
class CellValue:
    """One cell as DuckDB holds it."""

    text: str | None
    number: float | None
    addend: float | None


_NULL = CellValue(None, None, None)


def cell_value(cell: Cell, kind: str) -> CellValue:
    """The stored form of a cell in a column of type ``kind`` (``text`` or ``real``)."""
    if cell is None:
        return _NULL
    value = number(cell) if kind == "real" or not isinstance(cell, str) else None
    if kind == "real" and value is not None:
        return CellValue(number_text(value), value, value)
    text = fold(cell) if isinstance(cell, str) else str(cell)
    return CellValue(text, None, addend(text))


def addend(text: str) -> float:
    """What SUM and AVG add for a text: its leading number without commas, else 0 (as SQLite)."""
    match = _LEADING.match(text.replace(",", ""))
    value = float(match[1]) if match else 0.0
    return value if math.isfinite(value) else 0.0


def number_text(value: float) -> str:
    """A number as a literal that reads back as the same number."""
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def column_storage(table: Table) -> tuple[Storage, ...]:
    """How each column of a table is stored."""
    return tuple(
        "text"
        if kind == "text"
        else "number"
        if all(row[i] is None or number(row[i]) is not None for row in table.rows)  # type: ignore[arg-type]
        else "mixed"
        for i, kind in enumerate(table.types)
    )


def database_rows(
    number_of: int, types: Sequence[str], rows: Iterable[Sequence[Cell]]
) -> Iterator[dict[str, Any]]:
    """The rows of ``cells`` for one table."""
    for index, row in enumerate(rows):
        values = [cell_value(cell, kind) for cell, kind in zip(row, types, strict=True)]
        yield {"t": number_of, **database_row(index, values)}


def database_row(index: int, values: Sequence[CellValue]) -> dict[str, Any]:
    """Row number ``index`` of ``cells``, without the number of its table."""
    return {
        "r": index,
        "v": [value.text for value in values],
        "n": [value.number for value in values],
        "s": [value.addend for value in values],
    }


def build(tables: Sequence[Table], database: Path) -> None:
    """Write the database file of ``tables``; table number i is ``tables[i]``.

    Raises:
        UserError: the system allows DuckDB too little memory.
    """
    require_address_space(ADDRESS_SPACE_BYTES, "DuckDB")
    source = database.with_suffix(".rows.jsonl")
    with source.open("w", encoding="utf-8") as stream:
        for index, table in enumerate(tables):
            for row in database_rows(index, table.types, table.rows):
                stream.write(json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n")
    try:
        with interrupts_wait():
            _write_database(source, database)
    finally:
        source.unlink(missing_ok=True)


def _write_database(source: Path, database: Path) -> None:
    import duckdb

    config: dict[str, Any] = {"default_block_size": BLOCK_BYTES, "threads": "1"}
    with duckdb.connect(str(database), config=config) as connection:
        connection.execute(
            "CREATE TABLE cells (t INTEGER, r INTEGER, v VARCHAR[], n DOUBLE[], s DOUBLE[])"
        )
        if source.stat().st_size:
            connection.execute(
                "INSERT INTO cells SELECT * FROM read_json(?, format='newline_delimited', "
                "columns={t:'INTEGER', r:'INTEGER', v:'VARCHAR[]', n:'DOUBLE[]', "
                "s:'DOUBLE[]'}) ORDER BY t, r",
                [str(source)],
            )
