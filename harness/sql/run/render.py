"""The typed query as one DuckDB SELECT: quoted identifiers, literals typed by the schema.

Query + names and storage of its table's columns -> SQL, or a failure of kind ``type_mismatch``.
The SQL is complete: on a table whose text columns are VARCHAR and whose number columns are DOUBLE
it gives the graded result, text compared without regard to case. A real column that also holds
text (``mixed``) is a VARCHAR; its cells are cast where a number is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.sql.failures import Failure
from harness.sql.query import (
    And,
    Between,
    Comparison,
    In,
    IsNull,
    Item,
    Like,
    Or,
    Query,
    Where,
    leaves,
)
from harness.sql.run.batch import literal
from harness.sql.run.database import LEADING_NUMBER, number_text
from harness.sql.values import Storage, fold, number


def identifier(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(value: str) -> str:
    """A text literal, case-folded as the cells are."""
    return "'" + fold(value).replace("'", "''") + "'"


class Renderer:
    """Renders queries on one table.

    Args:
        names: the columns' unique names.
        storage: how each column is stored, see database.py.
    """

    def __init__(self, names: Sequence[str], storage: Sequence[Storage]) -> None:
        self.storage = storage
        self._name = [identifier(name) for name in names]
        self._folded = [
            name if stored == "number" else f"lower({name})"
            for name, stored in zip(self._name, storage, strict=True)
        ]

    def render(self, query: Query, table: str) -> str | Failure:
        """The SQL of ``query`` on the table called ``table``, or a ``type_mismatch``."""
        folded = query.distinct or bool(query.group_by)
        items = ", ".join(self.item(item, folded) for item in query.select)
        sql = f"SELECT {'DISTINCT ' if query.distinct else ''}{items} FROM {identifier(table)}"
        for leaf in leaves(query.where):
            if isinstance(leaf, Like) and self.storage[leaf.column] == "number":
                reason = f"LIKE on the number column {self._name[leaf.column]}"
                return Failure("type_mismatch", reason)
        if query.where is not None:
            sql += f" WHERE {self.where(query.where)}"
        if query.group_by:
            keys = ", ".join(self.item(Item(column), True) for column in query.group_by)
            sql += f" GROUP BY {keys}"
        if query.order_by:
            keys = ", ".join(
                key + (" DESC" if order.descending else "")
                for order in query.order_by
                for key in self.keys(order.item)
            )
            sql += f" ORDER BY {keys}"
        if query.limit is not None:
            sql += f" LIMIT {query.limit}"
        return sql

    def folded(self, column: int) -> str:
        return self._folded[column]

    def numeric(self, column: int) -> str:
        name = self._name[column]
        if self.storage[column] == "number":
            return name
        return f"TRY_CAST(replace({name}, ',', '') AS DOUBLE)"

    def addend(self, column: int) -> str:
        name = self._name[column]
        if self.storage[column] == "number":
            return name
        lead = f"regexp_extract(replace(lower({name}), ',', ''), '{LEADING_NUMBER}', 1)"
        return f"CASE WHEN {name} IS NOT NULL THEN coalesce(TRY_CAST({lead} AS DOUBLE), 0) END"

    def item(self, item: Item, folded: bool) -> str:
        if item.column is None:
            return "count(*)" if item.aggregate else "*"
        unique = "DISTINCT " if item.distinct else ""
        column = item.column
        if not item.aggregate:
            return self.folded(column) if folded else self._name[column]
        if item.aggregate == "COUNT":
            inner = self.folded(column) if item.distinct else self._name[column]
            return f"count({unique}{inner})"
        if item.aggregate in ("SUM", "AVG"):
            return f"{item.aggregate.lower()}({unique}{self.addend(column)})"
        name = item.aggregate.lower()
        if self.storage[column] != "mixed":
            return f"{name}({self.folded(column)})"
        number_part = f"CAST({name}({self.numeric(column)}) AS VARCHAR)"
        return f"coalesce({number_part}, {name}({self.folded(column)}))"

    def keys(self, item: Item) -> list[str]:
        if item.column is None or item.aggregate or self.storage[item.column] != "mixed":
            return [self.item(item, True)]
        return [self.numeric(item.column), self.folded(item.column)]

    def where(self, where: Where) -> str:
        match where:
            case And(parts):
                return " AND ".join(
                    f"({self.where(part)})" if isinstance(part, Or) else self.where(part)
                    for part in parts
                )
            case Or(parts):
                return " OR ".join(self.where(part) for part in parts)
            case Comparison(column, operator, value):
                return self.comparison(column, operator, value)
            case IsNull(column, negated):
                not_ = " NOT" if negated else ""
                return f"{self._name[column]} IS{not_} NULL"
            case Like(column, pattern, negated):
                not_ = "NOT " if negated else ""
                return f"{self.folded(column)} {not_}LIKE {text_literal(pattern)}"
            case In(column, values, negated):
                return self.inside(column, values, negated)
            case Between(column, low, high, negated):
                return self.between(column, low, high, negated)

    def comparison(self, column: int, operator: str, value: str) -> str:
        text, found = literal(value, self.storage[column])
        if text is None and found is not None:
            return f"{self.numeric(column)} {operator} {number_text(found)}"
        if self.storage[column] == "text":
            return f"{self.folded(column)} {operator} {text_literal(value)}"
        if operator in ("=", "<>"):
            name = self._name[column]
            return f"lower(CAST({name} AS VARCHAR)) {operator} {text_literal(value)}"
        # A text cannot be compared with numbers: the comparison is never true.
        return f"{self.numeric(column)} {operator} NULL::DOUBLE"

    def inside(self, column: int, values: Sequence[str], negated: bool) -> str:
        not_ = "NOT " if negated else ""
        if self.storage[column] == "text":
            listed = ", ".join(text_literal(value) for value in values)
            return f"{self.folded(column)} {not_}IN ({listed})"
        numbers = [found for value in values if (found := number(value)) is not None]
        texts = [value for value in values if number(value) is None]
        if not texts:
            listed = ", ".join(number_text(value) for value in numbers)
            return f"{self.numeric(column)} {not_}IN ({listed})"
        name = self._name[column]
        listed = ", ".join(text_literal(value) for value in texts)
        either = f"coalesce(lower(CAST({name} AS VARCHAR)) IN ({listed}), FALSE)"
        if numbers:
            listed = ", ".join(number_text(value) for value in numbers)
            either = f"coalesce({self.numeric(column)} IN ({listed}), FALSE) OR {either}"
        return f"({name} IS NOT NULL AND {not_}({either}))"

    def between(self, column: int, low: str, high: str, negated: bool) -> str:
        not_ = "NOT " if negated else ""
        if self.storage[column] == "text":
            bounds = f"{text_literal(low)} AND {text_literal(high)}"
            return f"{self.folded(column)} {not_}BETWEEN {bounds}"
        ends = [number(value) for value in (low, high)]
        bounds = " AND ".join("NULL::DOUBLE" if e is None else number_text(e) for e in ends)
        return f"{self.numeric(column)} {not_}BETWEEN {bounds}"
