"""Thousands of WikiSQL-shaped queries in one DuckDB statement.

Planning a statement costs DuckDB ten times what running it on a dozen rows does, so the queries
that have WikiSQL's shape (one aggregate of one column, conditions joined by AND) are sent as data:
their conditions are joined with the cells of all tables, the rows that satisfy all of a query's
conditions are grouped, and every aggregate is computed for every group. A test checks that every
result equals that of the query's own rendering (render.py). Queries of any other shape are run one
by one (executor.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.sql.query import COMPARISONS, Query, wikisql_shape
from harness.sql.values import Storage, fold, number

CHUNK = 2_000
_ROWS = "COUNT(*)"

_QUERIES = """
q AS (
  SELECT unnest($1::INTEGER[]) AS q, unnest($2::INTEGER[]) AS t, unnest($3::INTEGER[]) AS sel,
         unnest($4::BOOLEAN[]) AS listed, unnest($5::INTEGER[]) AS wanted),
c AS (
  SELECT unnest($6::INTEGER[]) AS q, unnest($7::INTEGER[]) AS t, unnest($8::INTEGER[]) AS col,
         unnest($9::INTEGER[]) AS op, unnest($10::VARCHAR[]) AS txt, unnest($11::DOUBLE[]) AS num),
hit AS (
  SELECT c.q, cells.r, count(*) AS met
  FROM c JOIN cells ON cells.t = c.t
  WHERE CASE WHEN c.num IS NOT NULL THEN CASE c.op
    WHEN 0 THEN cells.n[c.col] = c.num WHEN 1 THEN cells.n[c.col] > c.num
    WHEN 2 THEN cells.n[c.col] < c.num WHEN 3 THEN cells.n[c.col] >= c.num
    WHEN 4 THEN cells.n[c.col] <= c.num ELSE cells.n[c.col] <> c.num END
  ELSE CASE c.op
    WHEN 0 THEN cells.v[c.col] = c.txt WHEN 1 THEN cells.v[c.col] > c.txt
    WHEN 2 THEN cells.v[c.col] < c.txt WHEN 3 THEN cells.v[c.col] >= c.txt
    WHEN 4 THEN cells.v[c.col] <= c.txt ELSE cells.v[c.col] <> c.txt END END
  GROUP BY c.q, cells.r),
found AS (
  SELECT q.q, q.listed, cells.r, cells.v[q.sel] AS v, cells.n[q.sel] AS n, cells.s[q.sel] AS s
  FROM q JOIN cells ON cells.t = q.t LEFT JOIN hit ON hit.q = q.q AND hit.r = cells.r
  WHERE coalesce(hit.met, 0) = q.wanted)
SELECT q, count(*), count(v), max(n), min(n), max(v) FILTER (n IS NULL), min(v) FILTER (n IS NULL),
       sum(s), avg(s), list(v ORDER BY r) FILTER (listed), list(n ORDER BY r) FILTER (listed)
FROM found GROUP BY q
"""

STATEMENT = "WITH " + _QUERIES
"""The statement on the tables of the database."""

GIVEN_CELLS = """WITH cells AS MATERIALIZED (
  SELECT unnest(from_json($12::VARCHAR,
    '[{"t":"INTEGER","r":"INTEGER","v":["VARCHAR"],"n":["DOUBLE"],"s":["DOUBLE"]}]'),
    recursive := true))
"""

STATEMENT_ON_GIVEN = GIVEN_CELLS + "," + _QUERIES
"""The statement on tables that parameter 12 holds as JSON rows of ``cells``."""


@dataclass(frozen=True, slots=True)
class WikiSQLQuery:
    """A query of WikiSQL's shape, as data, on table number ``table``.

    A condition is ``(column, index of the operator, text, number)``; one of the last two is None.
    """

    table: int
    column: int
    aggregate: str
    conditions: tuple[tuple[int, int, str | None, float | None], ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """A result: rows of typed values, and how many rows satisfied the WHERE (None if unknown)."""

    rows: tuple[tuple[Any, ...], ...]
    matched: int | None

    @property
    def degenerate(self) -> bool:
        """Whether no row satisfies the WHERE, or every cell of the result is NULL."""
        return self.matched == 0 or all(value is None for row in self.rows for value in row)


def wikisql_query(query: Query, table: int, storage: Sequence[Storage]) -> WikiSQLQuery | None:
    """``query`` as data; None when it does not have WikiSQL's shape."""
    shape = wikisql_shape(query)
    if shape is None:
        return None
    item, comparisons = shape
    conditions = []
    for part in comparisons:
        operator = COMPARISONS.index(part.operator)
        text, value = literal(part.value, storage[part.column])
        if storage[part.column] != "text" and value is None and part.operator not in ("=", "<>"):
            text = None
        conditions.append((part.column, operator, text, value))
    column, aggregate = (0, _ROWS) if item.column is None else (item.column, item.aggregate)
    return WikiSQLQuery(table, column, aggregate, tuple(conditions))


def literal(value: str, storage: Storage) -> tuple[str | None, float | None]:
    """A literal typed by how its column is stored: (text, None) or (None, number)."""
    if storage != "text":
        found = number(value)
        if found is not None:
            return None, found
    return fold(value), None


def parameters(queries: Sequence[WikiSQLQuery]) -> list[list[Any]]:
    """The eleven lists of the statement's parameters; ``queries[i]`` is query number i."""
    columns: list[list[Any]] = [[] for _ in range(11)]
    for index, query in enumerate(queries):
        listed = not query.aggregate
        row = (index, query.table, query.column + 1, listed, len(query.conditions))
        for column, value in zip(columns[:5], row, strict=True):
            column.append(value)
        for place, operator, text, num in query.conditions:
            condition = (index, query.table, place + 1, operator, text, num)
            for column, part in zip(columns[5:], condition, strict=True):
                column.append(part)
    return columns


def results(queries: Sequence[WikiSQLQuery], answer: Sequence[Sequence[Any]]) -> list[Rows]:
    """The result of every query, taken from the rows that the statement returned."""
    nothing: dict[str, tuple[tuple[Any, ...], ...]] = {"": (), "COUNT": ((0,),), _ROWS: ((0,),)}
    found = [Rows(nothing.get(query.aggregate, ((None,),)), 0) for query in queries]
    for row in answer:
        found[row[0]] = Rows(_rows(queries[row[0]].aggregate, row), row[1])
    return found


def _rows(aggregate: str, row: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
    _, matched, count, max_n, min_n, max_v, min_v, total, mean, texts, numbers = row
    if not aggregate:
        pairs = zip(texts, numbers, strict=True)
        return tuple((text if value is None else value,) for text, value in pairs)
    values = {
        _ROWS: matched,
        "COUNT": count,
        "MAX": max_v if max_n is None else max_n,
        "MIN": min_v if min_n is None else min_n,
        "SUM": total,
        "AVG": mean,
    }
    return ((values[aggregate],),)
