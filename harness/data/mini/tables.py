"""Tables of a topic: topic -> `BuiltTable`, a `Table` with the columns' words beside it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.mini.columns import Column, Topic
from harness.data.mini.rng import Rng
from harness.data.records import Cell, Table

MIN_COLUMNS = 4
BLANKS: tuple[Cell, ...] = ("—", "", "N/A", None, "–")


@dataclass(frozen=True, slots=True)
class BuiltTable:
    """A table and what its generator knows: ``columns[i]`` tells how to speak of column i."""

    topic: Topic
    table: Table
    columns: tuple[Column, ...]

    def real(self) -> list[int]:
        """The real columns."""
        return [i for i, kind in enumerate(self.table.types) if kind == "real"]


def table_id(rng: Rng) -> str:
    """An id as WikiSQL's: source, page, number of the table on the page."""
    page = rng.between(1_000_000, 2_999_999) if rng.chance(0.4) else rng.between(10**7, 3 * 10**7)
    number = rng.between(1, 6) if rng.chance(0.7) else rng.between(7, 40)
    return f"{rng.between(1, 2)}-{page}-{number}"


def build_table(rng: Rng, topic: Topic, id: str) -> BuiltTable:
    """One table of ``topic``: which columns it has, what their headers are, 8 to 20 rows."""
    kept = [column for column in topic.columns if rng.chance(column.keep)]
    for column in topic.columns:
        if len(kept) < MIN_COLUMNS and column not in kept:
            kept.append(column)
    columns = [column for column in topic.columns if column in kept]
    if rng.chance(0.25):
        moved = columns.pop(rng.below(len(columns)))
        columns.insert(rng.below(len(columns) + 1), moved)
    headers: list[str] = []
    for column in columns:
        free = [name for name in column.headers if name not in headers]
        headers.append(rng.choice(free or column.headers))
    size = rng.between(8, 20)
    cells = [column.values.cells(rng, size) for column in columns]
    _blank_some(rng, columns, cells)
    rows = tuple(tuple(values[i] for values in cells) for i in range(size))
    kinds = tuple(column.values.kind for column in columns)
    return BuiltTable(topic, Table(id, tuple(headers), kinds, rows), tuple(columns))


def _blank_some(rng: Rng, columns: list[Column], cells: list[list[Cell]]) -> None:
    """Leave gaps in one or two secondary columns of every fourth table, as editors do."""
    if not rng.chance(0.25):
        return
    for _ in range(rng.between(1, 2)):
        index = rng.below(len(columns))
        if columns[index].role == "key":
            continue
        blank = None if columns[index].values.kind == "real" else rng.choice(BLANKS)
        cells[index] = [blank if rng.chance(0.2) else cell for cell in cells[index]]
