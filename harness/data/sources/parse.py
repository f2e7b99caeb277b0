"""Checking one JSON object of WikiSQL's files: `dict` -> `Table`, `Example`, `LogicalForm`.

What is wrong is said without its place; `wikisql.py` adds file and line. Gold only: predictions,
which may be malformed and are then wrong answers, are read by `harness.sql`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.data.records import (
    AGGREGATIONS,
    OPERATORS,
    Cell,
    Condition,
    Example,
    LogicalForm,
    Table,
)

TYPES = ("text", "real")
_CELL_TYPES = frozenset((str, int, float, type(None)))
"""WikiSQL's column types."""


class Damage(ValueError):
    """What is wrong with one line of a dataset file."""


def parse_table(value: Mapping[str, Any]) -> Table:
    """A checked :class:`Table` of one official object.

    Raises:
        Damage: what is wrong, without the place.
    """
    name = _text(value, "id")
    header = _list(value, "header")
    types = _list(value, "types")
    rows = _list(value, "rows")
    if not header:
        raise Damage("header is empty: a table needs at least one column")
    for position, item in enumerate(header):
        if not isinstance(item, str):
            raise Damage(f"header[{position}] must be text, got {kind_of(item)}")
    for position, item in enumerate(types):
        if item not in TYPES:
            raise Damage(f"types[{position}] is {item!r}; allowed: text, real")
    if len(types) != len(header):
        raise Damage(f"{len(types)} types for {len(header)} columns")
    return Table(name, tuple(header), tuple(types), tuple(_rows(rows, len(header))))


def _rows(rows: list[Any], width: int) -> Iterator[tuple[Cell, ...]]:
    for index, row in enumerate(rows):
        if not isinstance(row, list):
            raise Damage(f"rows[{index}] must be a list, got {kind_of(row)}")
        if len(row) != width:
            raise Damage(f"rows[{index}] has {len(row)} cells for {width} columns")
        # Cell by cell only where a type is wrong: large splits hold hundreds of thousands.
        faulty = () if _CELL_TYPES.issuperset(map(type, row)) else row
        for column, cell in enumerate(faulty):
            if isinstance(cell, bool) or not (cell is None or isinstance(cell, str | int | float)):
                place = f"rows[{index}][{column}]"
                raise Damage(f"{place} must be text, a number or null, got {kind_of(cell)}")
        yield tuple(row)


def parse_example(id: int, value: Mapping[str, Any], tables: Mapping[str, Table]) -> Example:
    """A checked :class:`Example` of one official object; ``id`` is its 0-based line.

    Raises:
        Damage: what is wrong, without the place.
    """
    table_id = _text(value, "table_id")
    question = _text(value, "question")
    sql = _member(value, "sql")
    if not isinstance(sql, dict):
        raise Damage(f"sql must be an object, got {kind_of(sql)}")
    table = tables.get(table_id)
    if table is None:
        raise Damage(f"table_id {table_id!r} is not in the tables file")
    return Example(id, table_id, question, parse_logical_form(sql, len(table.header)))


def parse_logical_form(sql: Mapping[str, Any], columns: int) -> LogicalForm:
    """A checked :class:`LogicalForm` on a table of ``columns`` columns.

    Raises:
        Damage: a missing key, a wrong type, or an index out of range.
    """
    sel = _index(_member(sql, "sel"), columns, "sel", "columns")
    agg = _index(_member(sql, "agg"), len(AGGREGATIONS), "agg", "aggregates")
    conds = []
    for position, cond in enumerate(_list(sql, "conds")):
        place = f"conds[{position}]"
        if not isinstance(cond, list) or len(cond) != 3:
            raise Damage(f"{place} must be [column, operator, value], got {json.dumps(cond)}")
        column = _index(cond[0], columns, f"{place} column", "columns")
        operator = _index(cond[1], len(OPERATORS), f"{place} operator", "operators")
        if isinstance(cond[2], bool) or not isinstance(cond[2], str | int | float):
            raise Damage(f"{place} value must be text or a number, got {kind_of(cond[2])}")
        conds.append(Condition(column, operator, cond[2]))
    return LogicalForm(sel, agg, tuple(conds))


def _index(value: Any, size: int, what: str, of: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Damage(f"{what} must be a whole number, got {kind_of(value)}")
    if not 0 <= value < size:
        raise Damage(f"{what} is {value}; there are {size} {of}, so 0 to {size - 1} is allowed")
    return value


def _member(value: Mapping[str, Any], key: str) -> Any:
    if key not in value:
        present = ", ".join(value) or "none"
        raise Damage(f"key {key!r} is missing (keys present: {present})")
    return value[key]


def _text(value: Mapping[str, Any], key: str) -> str:
    member = _member(value, key)
    if not isinstance(member, str):
        raise Damage(f"{key} must be text, got {kind_of(member)}")
    return member


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    member = _member(value, key)
    if not isinstance(member, list):
        raise Damage(f"{key} must be a list, got {kind_of(member)}")
    return member


def kind_of(value: Any) -> str:
    """What a JSON value is, in a user's words."""
    names = {bool: "true/false", type(None): "null", str: "text", dict: "an object", list: "a list"}
    return names.get(type(value), f"the number {value}")
