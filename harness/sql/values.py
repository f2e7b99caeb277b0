"""How a cell and a literal become a value: case folding, numbers, SQLite's column affinity.

Cell or literal as the file or the model wrote it -> text or number. The numbers follow WikiSQL's
official evaluator (github.com/salesforce/WikiSQL, lib/dbengine.py), which calls Babel's
``parse_decimal`` in en_US; that is Python's ``Decimal`` after the commas are dropped. Dates, units
and currencies are not covered: WikiSQL has no such types.
"""

from __future__ import annotations

import decimal
import math
import re
import sqlite3
from typing import Literal

from harness.data.records import Cell

Stored = str | float | None
"""A value as a SQLite column of WikiSQL's database stores it."""

Storage = Literal["text", "number", "mixed"]
"""How our own database stores a column: a text column as text; a real column as numbers where all
its cells are numbers, else as text that is read as a number where one is needed (``mixed``)."""

_FIRST_NUMBER = re.compile(r"[-+]?\d*\.\d+|\d+")
_PLAIN_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_MAX_LITERAL = 4096


def fold(text: str) -> str:
    """The form in which text is compared: Python's ``lower()``, as the official evaluator."""
    return text.lower()


def parse_decimal(text: str) -> float:
    """Babel's ``parse_decimal`` in en_US as a float: ``"24,637"``, ``"+12"``, ``"1e3"``.

    Raises:
        decimal.InvalidOperation: the text is no number.
        ValueError: a signalling NaN.
    """
    return float(decimal.Decimal(text.replace(",", "")))


def official_number(value: object) -> float:
    """The number that the official evaluator binds for a value that is not a number yet.

    Raises:
        IndexError: the text holds no digit.
        ValueError, AttributeError: as Babel's own code does.
    """
    if not isinstance(value, str):
        raise AttributeError(f"{type(value).__name__} has no number")
    try:
        return parse_decimal(value)
    except decimal.InvalidOperation:
        return float(_FIRST_NUMBER.findall(value)[0])


def number(value: str | float | int) -> float | None:
    """The finite number that ``value`` spells, or None; commas are thousands separators.

    It is stricter than :func:`official_number`: ``"12 laps"`` and ``"$1,200"`` are not numbers.
    """
    if isinstance(value, int | float):
        try:
            result = float(value)
        except OverflowError:
            return None
        return result if math.isfinite(result) else None
    if len(value) > _MAX_LITERAL or "_" in value:
        return None
    if _PLAIN_NUMBER.fullmatch(value):
        result = float(value)
    else:
        try:
            result = parse_decimal(value)
        except (decimal.InvalidOperation, ValueError):
            return None
    return result if math.isfinite(result) else None


def is_plain_number(text: str) -> bool:
    """Whether ``text`` is a number as SQL writes it: no commas, units or other digits."""
    return _PLAIN_NUMBER.fullmatch(text) is not None


def affine_text(cell: Cell, connection: sqlite3.Connection) -> Stored:
    """A cell as WikiSQL's SQLite database stores it in a text column.

    Args:
        cell: as the file holds it.
        connection: any SQLite connection; used where only SQLite knows its own conversion.
    """
    if isinstance(cell, str):
        return cell.lower()
    if cell is None:
        return None
    if isinstance(cell, int):
        return str(int(cell))
    return _cast(connection, cell, "TEXT")


def affine_real(cell: Cell, connection: sqlite3.Connection) -> Stored:
    """A cell as WikiSQL's SQLite database stores it in a real column (see :func:`affine_text`)."""
    if cell is None:
        return None
    if isinstance(cell, str):
        text = cell.lower()
        # Only text that is a number as a whole is converted; SQLite's parser decides the digits.
        if text.isascii() and _PLAIN_NUMBER.fullmatch(text.strip(" \t\n\v\f\r")):
            return _cast(connection, text, "REAL")
        return text
    value = float(cell)
    return None if math.isnan(value) else value


def _cast(connection: sqlite3.Connection, value: Cell, sqlite_type: str) -> Stored:
    result: Stored = connection.execute(f"SELECT CAST(? AS {sqlite_type})", (value,)).fetchone()[0]
    return result
