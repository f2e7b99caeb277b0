"""Reading standard SQL with sqlglot: statement + names of its table -> typed query or failure.

The dialects that models write are tried in the order that the quoting suggests (SQLite and
DuckDB, MySQL's backticks, T-SQL's brackets and TOP). Everything in the tree must be understood:
a node or an argument that the typed query cannot express is ``unsupported``. Conditions are read in
sqlglot_where.py. The WikiSQL dialect is not covered (dialect.py).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from harness.sql.column_names import DEFAULT_SCHEMAS, PUNCTUATION, Names
from harness.sql.failures import Failure
from harness.sql.query import Item, Order, Query
from harness.sql.read.sqlglot_limits import too_much
from harness.sql.read.sqlglot_where import (
    Refused,
    Scope,
    check_nodes,
    read_where,
    uncast,
    unsupported,
    unwrap,
)

_AGGREGATES = {exp.Max: "MAX", exp.Min: "MIN", exp.Count: "COUNT", exp.Sum: "SUM", exp.Avg: "AVG"}
_UNFINISHED = re.compile(
    r"(?:\b(?:group\s+by|order\s+by|where|having|limit|and|or|not|in|like|between|select)|[=<>(])"
    r"\s*;?\s*\Z",
    re.IGNORECASE,
)
# sqlglot forgives these; no database does.
_ASTRAY = re.compile(
    r",\s*(?:from|where|group\s+by|order\s+by|limit)\b|\b(?:select|distinct|limit)\s*,"
    r"|\b(?:select|distinct)\s+as\b|\bby\s*(?:,|distinct\b)|\bgroup\s+by\s+(?:order|limit)\b|\bnot\s+not\s+null\b"
    r"|\bas\s+(?:from|where|group\s+by|order\s+by|limit|and|as)\b|\b(?:as|,)\s*;?\s*\Z|\bas\s*,|\bbetween\b(?!.*\band\b)"
    r"|,\s*,|\b(?:asc|desc)\s+(?:asc|desc)\b|\bfrom\s*\.|\bfrom\s+\S+\s*\*|\bminus\s+(?:all\s+)?\(?\s*select\b"
    r"|\bfetch\b(?!\s+(?:first|next)(?:\s+\d+)?\s+rows?\s+(?:only|with\s+ties)\b)",
    re.IGNORECASE | re.DOTALL,
)
# What is in quotes or a comment; MySQL escapes quotes by a backslash.
_QUOTED = [
    re.compile(rf"{single}|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*(?:[^*]|\*(?!/))*\*/")
    for single in (r"'[^']*'", r"'(?:[^'\\]|\\.)*'")
]
_SIGNS = re.compile(
    rf"'[^']*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|[‘’＇](?P<single>[^’＇\n]*)[’＇]"
    rf"|[“”„＂](?P<double>[^“”＂\n]*)[“”＂]|(?P<sign>[{''.join(PUNCTUATION)}])"
)
_RESERVED = frozenset(
    (
        *("all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "both"),
        *("case", "cast", "check", "collate", "column", "constraint", "create", "default"),
        *(
            "deferrable",
            "desc",
            "describe",
            "distinct",
            "do",
            "else",
            "end",
            "escape",
            "except",
            "false",
        ),
        *("fetch", "for", "foreign", "from", "group", "having", "in", "initially", "intersect"),
        *("into", "is", "join", "lambda", "lateral", "leading", "like", "limit", "not", "null"),
        *("offset", "on", "only", "or", "order", "pivot", "placing", "primary", "qualify"),
        *("references", "returning", "select", "show", "some", "summarize", "symmetric", "table"),
        *("then", "to", "trailing", "true", "union", "unique", "unpivot", "using", "variadic"),
        *("when", "where", "window", "with", "between", "by", "exists"),
    )
)
# The order of clauses, which sqlglot does not ask for; it is not that of a set operation's parts.
_CLAUSE = re.compile(
    r"\b(?:(where)|(group\s+by)|(having)|(order\s+by)|(?:limit|offset|fetch))\b", re.IGNORECASE
)
_SET_OPERATION = re.compile(r"\b(?:union|intersect|except)\b", re.IGNORECASE)
_NULL_ORDER = re.compile(r"\bnulls\s+(?:first|last)\b", re.IGNORECASE)


def read_sql(statement: str, names: Names) -> Query | Failure:
    """Read one statement; of several, the first.

    ``syntax`` means that no dialect parses the statement; any other failure is that of the first
    dialect that does.
    """
    if (excess := too_much(statement)) is not None:
        return excess
    if _NULL_ORDER.search(statement):
        # sqlglot fills in each dialect's default, which looks the same as an explicit order.
        return Failure("unsupported", "NULLS FIRST or LAST")
    statement = _with_sql_punctuation(statement)
    bare = [pattern.sub(_without_content, statement) for pattern in _QUOTED]
    if _UNFINISHED.search(statement) or all(map(_UNFINISHED.search, bare)):
        return Failure("syntax", "a clause is cut off")
    if all(map(_unbalanced, bare)):
        return Failure("syntax", "a parenthesis is not closed")
    if all(map(_ASTRAY.search, bare)):
        return Failure("syntax", "a comma, AS or BETWEEN without what belongs to it")
    if all(map(_disordered, bare)):
        return Failure("syntax", "the clauses are out of order")
    first: Failure | None = None
    for dialect in _dialects(statement):
        tree = _parse(statement, dialect)
        if isinstance(tree, Failure):
            continue
        try:
            return _query(tree, names, statement)
        except Refused as refused:
            first = first or refused.failure
    return first or Failure("syntax", "sqlglot cannot parse it")


def _without_content(match: re.Match[str]) -> str:
    return " " if match[0].startswith(("--", "/*")) else "''"


def _disordered(text: str) -> bool:
    if "(" in text or _SET_OPERATION.search(text):
        return False  # an order of its own
    places = [match.lastindex or 5 for match in _CLAUSE.finditer(text)]
    return places != sorted(places)


def _unbalanced(text: str) -> bool:
    return text.count("(") != text.count(")")


def _with_sql_punctuation(statement: str) -> str:
    """``statement`` with SQL's characters for full-width and curly ones outside of quotes."""
    if statement.isascii():
        return statement

    def plain(match: re.Match[str]) -> str:
        if match["single"] is not None:
            return "'" + match["single"].replace("'", "''") + "'"
        if match["double"] is not None:
            return '"' + match["double"].replace('"', '""') + '"'
        return match[0] if match["sign"] is None else PUNCTUATION[match["sign"]]

    return _SIGNS.sub(plain, statement)


def _dialects(text: str) -> list[str]:
    if "`" in text:
        return ["mysql", "sqlite"]
    if "[" in text:
        return ["tsql", "sqlite"]
    return ["duckdb", "sqlite", "mysql", "tsql"]


def _parse(text: str, dialect: str) -> exp.Expression | Failure:
    # sqlglot warns on standard error about statements that it only keeps as text.
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    try:
        trees = sqlglot.parse(text, read=dialect)
    except (SqlglotError, RecursionError):
        return Failure("syntax", "")
    # sqlglot's parser can trip over garbage; what it cannot parse is a failure of the text.
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        return Failure("syntax", f"{type(error).__name__}: {error}"[:200])
    tree = next((tree for tree in trees if tree is not None), None)
    return Failure("syntax", "") if tree is None else tree  # type: ignore[return-value]


def _query(tree: exp.Expression, names: Names, statement: str) -> Query:
    if not isinstance(tree, exp.Select):
        if isinstance(tree, exp.SetOperation | exp.Subquery):
            raise unsupported(tree)
        raise Refused(Failure("not_select", f"a {tree.key.upper()} statement"))
    check_nodes(tree)
    scope = Scope(names, _qualifiers(tree, names), statement=statement)
    items = tuple(_items(tree, scope))
    where = tree.args.get("where")
    return Query(
        select=items,
        where=read_where(where.this, scope) if where else None,
        distinct=bool(tree.args.get("distinct")),
        group_by=tuple(_group(tree, scope, items)),
        order_by=tuple(_order(tree, scope, items)),
        limit=_limit(tree),
    )


def _qualifiers(tree: exp.Select, names: Names) -> frozenset[str]:
    """The names that may stand before a column: the table's, its alias."""
    source = tree.args.get("from_")
    if source is None:
        raise Refused(Failure("unsupported", "a SELECT without FROM"))
    table = source.this
    if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
        raise unsupported(table)
    if table.db and table.db.lower() not in DEFAULT_SCHEMAS:
        raise Refused(Failure("unknown_table", f"{table.db}.{table.name}"))
    alias = table.args.get("alias")
    _check_alias(alias.this if alias else None, "")
    if not names.is_table(table.name):
        raise Refused(Failure("unknown_table", f"{table.name[:60]!r} is not {names.table.id}"))
    return frozenset((table.alias_or_name.lower(),))


def _check_alias(alias: object, statement: str) -> None:
    """Refuse a keyword where a name should stand, which sqlglot takes for an alias."""
    if not isinstance(alias, exp.Identifier) or alias.args.get("quoted"):
        return
    # After AS a column may be called anything.
    named = re.search(rf"\bas\s+{re.escape(alias.name)}\b", statement, re.IGNORECASE)
    if alias.name.lower() in _RESERVED and not named:
        raise Refused(Failure("syntax", f"the keyword {alias.name.upper()} out of place"))


def _items(tree: exp.Select, scope: Scope) -> Iterator[Item]:
    if not tree.expressions:
        raise Refused(Failure("syntax", "nothing is selected"))
    for expression in tree.expressions:
        _check_alias(expression.args.get("alias"), scope.statement)
        # Of an alias, unalias() is what it names; of anything else, the thing itself.
        item = _item(expression.unalias(), scope)
        if isinstance(expression, exp.Alias):
            scope.aliases.setdefault(expression.alias.lower(), item)
        yield item


def _item(node: exp.Expression, scope: Scope) -> Item:
    node = uncast(node, scope)
    if isinstance(node, exp.Star):
        return Item(None)
    if isinstance(node, exp.Column):
        if isinstance(node.this, exp.Star):
            scope.check_qualifier(node)
            return Item(None)
        return Item(scope.column(node))
    for node_type, name in _AGGREGATES.items():
        if isinstance(node, node_type):
            return _aggregate(node, name, scope)
    raise unsupported(node)


def _aggregate(node: exp.Expression, name: str, scope: Scope) -> Item:
    inner = uncast(node.this, scope)
    distinct = isinstance(inner, exp.Distinct)
    if isinstance(inner, exp.Distinct):
        if len(inner.expressions) != 1:
            raise unsupported(inner)
        inner = uncast(inner.expressions[0], scope)
    counts_rows = isinstance(inner, exp.Star) or (
        isinstance(inner, exp.Literal) and not inner.is_string
    )
    if counts_rows:
        if name != "COUNT" or distinct:
            raise unsupported(node)
        return Item(None, name)
    if not isinstance(inner, exp.Column):
        raise unsupported(inner)
    return Item(scope.column(inner), name, distinct)


def _group(tree: exp.Select, scope: Scope, items: tuple[Item, ...]) -> Iterator[int]:
    for node in _listed(tree, "group"):
        named = unwrap(node)
        # In GROUP BY a name is a column before it is an alias, in ORDER BY the reverse.
        column = isinstance(named, exp.Column) and isinstance(scope.names.column(named.name), int)
        item = _item(named, scope) if column else _key(node, scope, items)
        if item.column is None or item.aggregate:
            raise Refused(Failure("unsupported", "GROUP BY an aggregate"))
        yield item.column


def _order(tree: exp.Select, scope: Scope, items: tuple[Item, ...]) -> Iterator[Order]:
    for node in _listed(tree, "order"):
        if not isinstance(node, exp.Ordered):
            raise unsupported(node)
        item = _key(node.this, scope, items)
        if item.column is None and not item.aggregate:
            raise Refused(Failure("unsupported", "ORDER BY *"))
        yield Order(item, bool(node.args.get("desc")))


def _listed(tree: exp.Select, clause: str) -> list[exp.Expression]:
    """The keys of a clause; none where the statement does not have it."""
    found = tree.args.get(clause)
    return [] if found is None else found.expressions


def _key(node: exp.Expression, scope: Scope, items: tuple[Item, ...]) -> Item:
    """A sort or group key: a position, an alias of the select list, or an item."""
    node = uncast(node, scope)
    if isinstance(node, exp.Literal) and not node.is_string:
        position = int(node.name) if node.name.isdigit() else 0
        if not 1 <= position <= len(items):
            raise Refused(Failure("unsupported", f"position {node.name}"))
        return items[position - 1]
    if isinstance(node, exp.Column) and not node.table and node.name.lower() in scope.aliases:
        return scope.aliases[node.name.lower()]
    return _item(node, scope)


def _limit(tree: exp.Select) -> int | None:
    limit = tree.args.get("limit")
    if limit is None:
        return None
    key = "count" if isinstance(limit, exp.Fetch) else "expression"
    count = limit.args.get(key)
    if count is None and isinstance(limit, exp.Fetch):
        return 1
    if isinstance(count, exp.Paren):
        count = count.this
    if not isinstance(count, exp.Literal) or not count.name.isdigit() or len(count.name) > 9:
        raise Refused(Failure("unsupported", "LIMIT that is no number"))
    return int(count.name)
