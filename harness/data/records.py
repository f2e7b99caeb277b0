"""The records that everything else speaks: tables, logical forms, examples, datasets.

They mirror WikiSQL's own JSON (Zhong et al. 2017, github.com/salesforce/WikiSQL): a question on
one table with a logical form ``{sel, agg, conds}``. Nothing here reads files; see ``wikisql.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

AGGREGATIONS = ("", "MAX", "MIN", "COUNT", "SUM", "AVG")
"""WikiSQL's aggregates by index; 0 is none."""

OPERATORS = ("=", ">", "<")
"""WikiSQL's comparison operators by index."""

Cell = str | float | int | None
"""A table cell as the file holds it: text, number or NULL."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table. ``types`` holds ``"text"`` or ``"real"`` per column, as long as ``header``."""

    id: str
    header: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Condition(NamedTuple):
    """``header[column] OPERATORS[operator] value``; indices are zero-based."""

    column: int
    operator: int
    value: str | float | int


@dataclass(frozen=True, slots=True)
class LogicalForm:
    """WikiSQL's structured query: select ``AGGREGATIONS[agg]`` of column ``sel`` where all hold."""

    sel: int
    agg: int
    conds: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A question on one table with its gold query; ``id`` is the 0-based line of its split."""

    id: int
    table_id: str
    question: str
    gold: LogicalForm


@dataclass(frozen=True, slots=True)
class Split:
    """One split in file order with the tables it uses."""

    name: str
    examples: tuple[Example, ...]
    tables: Mapping[str, Table]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Three splits. ``sha256`` covers every file read; ``folder`` is where they lie."""

    name: str
    sha256: str
    folder: Path
    train: Split
    valid: Split
    test: Split
