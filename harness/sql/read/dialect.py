"""The schema-aware reader: WikiSQL's unquoted dialect, and the same grammar with quoted names.

Statement text + names of its table -> typed query or failure. It reads
``SELECT COUNT School/Club Team FROM 1-10015132-16 WHERE Player = 'Jalen Rose'`` as MLX's WikiSQL
data writes it, aggregates with or without parentheses, values with apostrophes that are doubled,
not doubled or never closed, and the rest of the typed query's grammar. ``MAX power`` may be the
aggregate of ``power`` or a column ``Max power``: every reading that fits the schema gets a score
for how exactly the text spells it, and a text whose best readings differ is a failure. Does not
cover aliases of the table, functions and casts: sqlglot_reader.py reads those. Source of the
dialect: mlx-examples, lora/data/wikisql.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.data.records import AGGREGATIONS
from harness.sql.column_names import DEFAULT_SCHEMAS, Names, plain
from harness.sql.failures import Failure
from harness.sql.query import Item, Order, Query, Where
from harness.sql.read.dialect_where import conditions
from harness.sql.read.scanner import Scanner, TooComplex

_COUNT = re.compile(r"\(?([0-9]{1,9})\)?(?=\s)")
_LIMIT = re.compile(r"([0-9]{1,9})(?![0-9])")
_FETCH = re.compile(r"fetch\s+(?:first|next)\s+(?:([0-9]{1,9})\s+)?rows?\s+only\b", re.IGNORECASE)
_UNSUPPORTED = ("having", "offset", "union", "intersect", "except", "join", "inner", "left")
_AGGREGATES = tuple((name.lower(), name) for name in AGGREGATIONS if name)
_MAX_ITEMS = 32
# What may stand before the table's name: a default schema, the word "table" before a quoted id.
_SCHEMA = re.compile(
    rf"[\"`\[]?(?:{'|'.join(DEFAULT_SCHEMAS)})[\"`\]]?\s*\.\s*|table\s*:?\s*(?=[\"`\['])",
    re.IGNORECASE,
)
_ALIAS = re.compile(r"\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|'[^']*'|[^\W\d]\w*")


def read_dialect(text: str, names: Names) -> Query | Failure:
    """Read one statement, from its SELECT to its end."""
    scanner = Scanner(text, names)
    try:
        return _statement(scanner)
    # Long chains of conditions nest as deep as they are long.
    except (TooComplex, RecursionError):
        return Failure("too_long", "the text has too many possible readings")


def _statement(s: Scanner) -> Query | Failure:
    start = s.keyword(s.skip(0), "select")
    if start < 0:
        return Failure("no_query", "the text does not start with SELECT")
    best: dict[Query, int] = {}
    for at, unique, top in _openings(s, start):
        for score, items, aliases, after in select_lists(s, at):
            found = _after_from(s, after, aliases)
            if found is not None:
                where, group_by, order_by, limit = found
                rows = limit if top is None else top
                query = Query(items, where, unique, group_by, order_by, rows)
                best[query] = max(best.get(query, 0), score)
    if not best and s.keyword(start, "from") >= 0:
        return Failure("syntax", "nothing is selected")
    if not best:
        return s.problem or Failure("syntax", "no reading of the text fits the table's columns")
    highest = max(best.values())
    winners = [query for query, score in best.items() if score == highest]
    if len(winners) > 1:
        return Failure("ambiguous", f"{len(winners)} different readings fit the columns")
    return winners[0]


def _openings(s: Scanner, start: int) -> list[tuple[int, bool, int | None]]:
    """Where the select list may start: after SELECT, DISTINCT, TOP n (T-SQL)."""
    found: list[tuple[int, bool, int | None]] = [(start, False, None)]
    distinct = s.keyword(start, "distinct")
    if distinct >= 0:
        found.append((distinct, True, None))
    for at, unique, _ in list(found):
        top = s.keyword(at, "top")
        digits = _COUNT.match(s.text, top) if top >= 0 else None
        if digits:
            found.append((s.skip(digits.end()), unique, int(digits[1])))
    return found


_Aliases = tuple[tuple[str, Item], ...]
_Clauses = tuple[tuple[int, ...], tuple[Order, ...], int | None]
_Tail = tuple[Where | None, tuple[int, ...], tuple[Order, ...], int | None]


def _after_from(s: Scanner, at: int, aliases: _Aliases) -> _Tail | None:
    after = _table(s, at)
    if after < 0:
        return None
    after = s.skip(after)
    where_at = s.keyword(after, "where")
    if where_at < 0:
        tail = _clauses(s, after, aliases)
        return None if tail is None else (None, *tail)
    for where, end in conditions(s, where_at, 0):
        tail = _clauses(s, s.skip(end), aliases)
        if tail is not None:
            return (where, *tail)
    return None


def _table(s: Scanner, at: int) -> int:
    """The position after this table's name, or -1."""
    if s.text.startswith(s.names.table.id, at):
        after = at + len(s.names.table.id)
        if after == s.end or s.text[after] in " \n;":
            s.is_sql = s.names.table.id.isidentifier()
            return after
    schema = _SCHEMA.match(s.text, at)
    start = schema.end() if schema else at
    closing = {'"': '"', "`": "`", "[": "]", "'": "'"}.get(s.text[start : start + 1])
    if closing:
        end = s.text.find(closing, start + 1)
        name, after = s.text[start + 1 : end], end + 1
        if end < 0:
            name, after = s.text[start:], s.end
        known = s.names.is_table(name)
    else:
        match = s.names.table_pattern.match(s.text, start)
        after = match.end() if match else start
        name, known = s.text[start:after] or s.text[at:].split(None, 1)[0], match is not None
    if known and s.text[after : after + 1] in ("@", "#", "$", "["):
        s.fail(after, Failure("syntax", f"cannot read {s.text[after : after + 40]!r}"))
        return -1
    if known:
        s.is_sql = closing is not None or (name.isidentifier() and name.lower() != "table")
        return after
    s.fail(at, Failure("unknown_table", f"{name[:60]!r} is not {s.names.table.id}"))
    return -1


def _clauses(s: Scanner, at: int, aliases: _Aliases) -> _Clauses | None:
    """GROUP BY, ORDER BY and LIMIT up to the end of the statement, or None."""
    group_by: list[int] = []
    order_by: list[Order] = []
    limit = None
    at = s.over_comments(at)
    inner = s.keyword(at, "group", "by")
    while inner >= 0:
        columns = [(column, end) for column, end in s.columns(inner) if isinstance(column, int)]
        if not columns:
            return _unread(s, inner)
        group_by.append(columns[0][0])
        at = s.skip(columns[0][1])
        inner = s.skip(at + 1) if s.low.startswith(",", at) else -1
    at = s.over_comments(at)
    inner = s.keyword(at, "order", "by")
    while inner >= 0:
        # In ORDER BY a name is an alias before it is a column.
        keys = [
            *_aliased(s, inner, aliases),
            *(
                (item, end)
                for _, item, end in select_items(s, inner)
                if item.column is not None or item.aggregate
            ),
        ]
        if not keys:
            return _unread(s, inner)
        at = s.skip(max(end for _, end in keys))
        item = next(item for item, end in keys if s.skip(end) == at)
        descending = s.keyword(at, "desc")
        at = max(at, descending, s.keyword(at, "asc"))
        order_by.append(Order(item, descending >= 0))
        inner = s.skip(at + 1) if s.low.startswith(",", at) else -1
    at = s.over_comments(at)
    inner = s.keyword(at, "limit")
    rows = _LIMIT.match(s.text, inner) if inner >= 0 else _FETCH.match(s.text, at)
    if rows is not None:
        limit = int(rows[1] or 1)
        at = s.skip(rows.end())
    elif inner >= 0:
        return _unread(s, inner)
    if not s.ends_at(at):
        return _unread(s, at)
    return tuple(group_by), tuple(order_by), limit


def _aliased(s: Scanner, at: int, aliases: _Aliases) -> Iterator[tuple[Item, int]]:
    """The item of the select list that is named by an alias at ``at``."""
    named = _ALIAS.match(s.text, at)
    for alias, item in aliases:
        if named and named[0][0] != "'" and plain(named[0].strip('"`[]')) == alias:
            yield item, named.end()


def _unread(s: Scanner, at: int) -> _Clauses | None:
    """Remember that the text cannot be read from ``at`` on; the result is always None."""
    if any(s.keyword(at, word) >= 0 for word in _UNSUPPORTED):
        s.fail(s.end, Failure("unsupported", f"{s.text[at : at + 40]!r}"))
    s.fail(at, Failure("syntax", f"cannot read {s.text[at : at + 40]!r}"))
    return None


def select_lists(
    s: Scanner, position: int
) -> Iterator[tuple[int, tuple[Item, ...], _Aliases, int]]:
    """Every reading of a select list that ends before FROM, with its aliases and the position after
    FROM."""
    pending: list[tuple[int, tuple[Item, ...], _Aliases, int]] = [(0, (), (), position)]
    while pending:
        score, items, aliases, at = pending.pop()
        for more, item, after in select_items(s, at):
            after = s.skip(after)
            alias = s.keyword(after, "as")
            names = aliases
            if alias >= 0 and (named := _ALIAS.match(s.text, alias)):
                after = s.skip(named.end())
                names = (*aliases, (plain(named[0].strip("\"`[]'")), item))
            chosen = (*items, item)
            table = s.keyword(after, "from")
            if table >= 0:
                yield score + more, chosen, names, table
            elif after < s.end and s.low[after] == "," and len(chosen) < _MAX_ITEMS:
                pending.append((score + more, chosen, names, s.skip(after + 1)))
            else:
                s.fail(after, Failure("syntax", f"expected FROM at {s.text[after : after + 20]!r}"))


def select_items(s: Scanner, at: int) -> Iterator[tuple[int, Item, int]]:
    """Readings of one select item, as (how exactly it is spelled, item, position after it)."""
    s.step()
    if s.low.startswith("*", at):
        yield 0, Item(None), at + 1
    for word, name in _AGGREGATES:
        inner = s.keyword(at, word)
        if inner < 0:
            continue
        exact = 1 if s.text.startswith(name, at) else 0
        if inner < s.end and s.low[inner] == "(":
            for item, after in _argument(s, s.skip(inner + 1), name):
                after = s.skip(after)
                if after < s.end and s.low[after] == ")":
                    yield exact + _exactness(s, item, at), item, after + 1
        for column, after in s.known_columns(inner):
            item = Item(column, name)
            yield exact + _exactness(s, item, at), item, after
    for column, after in s.known_columns(at):
        yield 2 * _exactness(s, Item(column), at), Item(column), after


def _argument(s: Scanner, at: int, name: str) -> Iterator[tuple[Item, int]]:
    if s.low.startswith("*", at) and name == "COUNT":
        yield Item(None, name), at + 1
    distinct = s.keyword(at, "distinct")
    if distinct >= 0:
        for column, after in s.columns(s.skip(distinct)):
            if isinstance(column, int):
                yield Item(column, name, True), after
    for column, after in s.known_columns(at):
        yield Item(column, name), after


def _exactness(s: Scanner, item: Item, at: int) -> int:
    """1 where the header stands in the text in its own case, else 0. This decides between readings
    of ``SELECT MAX power`` (columns ``Power`` and ``Max power``)."""
    if item.column is None:
        return 0
    return int(s.names.table.header[item.column] in s.text[at : at + 400])
