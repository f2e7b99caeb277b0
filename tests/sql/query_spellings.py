"""One typed query spelled in the WikiSQL dialect, standard SQL, MySQL and T-SQL.

Typed query + table -> text. Each spelling reads back as the query that it was written from.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.data.records import Table
from harness.sql.column_names import Names
from harness.sql.query import And, Between, Comparison, In, IsNull, Item, Like, Or, Query, Where


def dialect(query: Query, table: Table) -> str:
    """WikiSQL's dialect: headers as they are, values in quotes that nothing escapes."""
    return _write(query, table.id, list(table.header), _Style(_same, _bare_quotes, " "))


def standard(query: Query, table: Table) -> str:
    """Standard SQL as DuckDB and SQLite take it."""
    return _write(query, _double(table.id), _quoted(table, _double), _Style(_double, _single, "()"))


def mysql(query: Query, table: Table) -> str:
    """MySQL: names in backticks."""
    return _write(
        query, _backtick(table.id), _quoted(table, _backtick), _Style(_backtick, _single, "()")
    )


def tsql(query: Query, table: Table) -> str:
    """T-SQL: names in brackets, LIMIT as TOP."""
    style = _Style(_bracket, _single, "()", top=True)
    return _write(query, _bracket(table.id), _quoted(table, _bracket), style)


def columns(query: Query, table: Table) -> str:
    """WikiSQL's own column names: ``SELECT col3 FROM table_1_10015132_11``."""
    name = "table_" + table.id.replace("-", "_")
    names = [f"col{index}" for index in range(len(table.header))]
    return _write(query, name, names, _Style(_same, _single, "()"))


SPELLINGS: dict[str, Callable[[Query, Table], str]] = {
    "dialect": dialect,
    "standard": standard,
    "mysql": mysql,
    "tsql": tsql,
    "columns": columns,
}
"""Every spelling by name."""


class _Style:
    def __init__(
        self,
        name: Callable[[str], str],
        value: Callable[[str], str],
        call: str,
        top: bool = False,
    ) -> None:
        self.name = name
        self.value = value
        self.call = call
        self.top = top


def _same(name: str) -> str:
    return name


def _double(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _backtick(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _bracket(name: str) -> str:
    return "[" + name.replace("]", "]]") + "]"


def _single(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _bare_quotes(value: str) -> str:
    return f"'{value}'"


def _quoted(table: Table, quote: Callable[[str], str]) -> list[str]:
    return [quote(name) for name in Names(table).sql]


def _write(query: Query, table: str, names: list[str], style: _Style) -> str:
    items = ", ".join(_item(item, names, style) for item in query.select)
    top = f"TOP {query.limit} " if style.top and query.limit is not None else ""
    unique = "DISTINCT " if query.distinct else ""
    text = f"SELECT {unique}{top}{items} FROM {table}"
    if query.where is not None:
        text += f" WHERE {_where(query.where, names, style)}"
    if query.group_by:
        text += " GROUP BY " + ", ".join(names[column] for column in query.group_by)
    if query.order_by:
        keys = (
            _item(order.item, names, style) + (" DESC" if order.descending else "")
            for order in query.order_by
        )
        text += " ORDER BY " + ", ".join(keys)
    if query.limit is not None and not style.top:
        text += f" LIMIT {query.limit}"
    return text


def _item(item: Item, names: list[str], style: _Style) -> str:
    if item.column is None:
        return "COUNT(*)" if item.aggregate else "*"
    name = names[item.column]
    if not item.aggregate:
        return name
    if item.distinct:
        return f"{item.aggregate}(DISTINCT {name})"
    return f"{item.aggregate}({name})" if style.call == "()" else f"{item.aggregate} {name}"


def _where(where: Where, names: list[str], style: _Style) -> str:
    match where:
        case And(parts):
            return " AND ".join(
                f"({_where(part, names, style)})"
                if isinstance(part, Or)
                else _where(part, names, style)
                for part in parts
            )
        case Or(parts):
            return " OR ".join(_where(part, names, style) for part in parts)
        case Comparison(column, operator, value):
            return f"{names[column]} {operator} {style.value(value)}"
        case Like(column, pattern, negated):
            return f"{names[column]} {'NOT ' if negated else ''}LIKE {style.value(pattern)}"
        case In(column, values, negated):
            listed = ", ".join(style.value(value) for value in values)
            return f"{names[column]} {'NOT ' if negated else ''}IN ({listed})"
        case Between(column, low, high, negated):
            word = "NOT BETWEEN" if negated else "BETWEEN"
            return f"{names[column]} {word} {style.value(low)} AND {style.value(high)}"
        case IsNull(column, negated):
            return f"{names[column]} IS {'NOT ' if negated else ''}NULL"
