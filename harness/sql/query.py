"""The typed query: everything that may run, and nothing else.

A model's text (read/reader.py) or a WikiSQL logical form -> :class:`Query` -> SQL (run/render.py).
A query is one SELECT over one table. Columns are indices, so no identifier that the model wrote is
ever run; literals are the strings that were written, and the schema types them only when they are
rendered. Joins, sub-queries, set operations, expressions, HAVING, OFFSET and functions other than
the five aggregates are not covered: they are failures of kind ``unsupported``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.data.records import AGGREGATIONS, OPERATORS, Condition, Gold, LogicalForm, SqlGold

COMPARISONS = ("=", ">", "<", ">=", "<=", "<>")
"""The comparison operators that a typed query can hold."""


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the select list; ``column`` is None for ``*`` (all columns, ``COUNT(*)``)."""

    column: int | None
    aggregate: str = ""
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """``column operator value``."""

    column: int
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Like:
    """``column [NOT] LIKE pattern``, without regard to case and without ESCAPE."""

    column: int
    pattern: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class In:
    """``column [NOT] IN (values)``."""

    column: int
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Between:
    """``column [NOT] BETWEEN low AND high``."""

    column: int
    low: str
    high: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class IsNull:
    """``column IS [NOT] NULL``."""

    column: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class And:
    """All of ``parts`` hold; there are two or more, and none of them is an And."""

    parts: tuple[Where, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of ``parts`` holds; there are two or more, and none of them is an Or."""

    parts: tuple[Where, ...]


Where = Comparison | Like | In | Between | IsNull | And | Or


@dataclass(frozen=True, slots=True)
class Order:
    """One ORDER BY key."""

    item: Item
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One SELECT over one table. A ``where`` of None is no WHERE, a ``limit`` of None no LIMIT."""

    select: tuple[Item, ...]
    where: Where | None = None
    distinct: bool = False
    group_by: tuple[int, ...] = ()
    order_by: tuple[Order, ...] = ()
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class ReadGold(SqlGold):
    """SQL text that is gold, with the query that it was read as (read/gold.py)."""

    query: Query


def joined(kind: type[And | Or], parts: list[Where]) -> Where:
    """``parts``, at least one, joined by AND or OR, with nested ones of that kind flattened."""
    flat: list[Where] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, kind) else (part,))
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def conjunction(parts: list[Where]) -> Where | None:
    """``parts`` joined by AND; None when there are no parts."""
    return joined(And, parts) if parts else None


_OPPOSITE = {"=": "<>", "<>": "=", ">": "<=", "<=": ">", "<": ">=", ">=": "<"}


def negation(where: Where) -> Where:
    """``NOT where``, pushed down to the comparisons (exact in three-valued logic)."""
    match where:
        case Comparison(column, operator, value):
            return Comparison(column, _OPPOSITE[operator], value)
        case And(parts):
            return joined(Or, [negation(part) for part in parts])
        case Or(parts):
            return joined(And, [negation(part) for part in parts])
        case _:
            return replace(where, negated=not where.negated)


def leaves(where: Where | None) -> Iterator[Comparison | Like | In | Between | IsNull]:
    """The comparisons of a condition, left to right."""
    if isinstance(where, And | Or):
        for part in where.parts:
            yield from leaves(part)
    elif where is not None:
        yield where


def from_logical_form(form: LogicalForm) -> Query:
    """The typed query of a WikiSQL logical form."""
    conditions: list[Where] = [
        Comparison(condition.column, OPERATORS[condition.operator], str(condition.value))
        for condition in form.conds
    ]
    return Query((Item(form.sel, AGGREGATIONS[form.agg]),), conjunction(conditions))


def gold_query(gold: Gold) -> Query:
    """The typed query of a gold query.

    Raises:
        TypeError: it is SQL text that was not read: the data were loaded without ``read_golds``.
    """
    if isinstance(gold, LogicalForm):
        return from_logical_form(gold)
    if not isinstance(gold, ReadGold):
        raise TypeError(f"gold was not read: {gold.text!r}")
    return gold.query


def aggregate_of(gold: Gold) -> str:
    """The aggregate of a gold query's first item; empty for none."""
    if isinstance(gold, LogicalForm):
        return AGGREGATIONS[gold.agg]
    return gold_query(gold).select[0].aggregate


def conditions_of(gold: Gold) -> int:
    """How many conditions a gold query has."""
    if isinstance(gold, LogicalForm):
        return len(gold.conds)
    return sum(1 for _ in leaves(gold_query(gold).where))


def beyond_wikisql(query: Query) -> list[str]:
    """What a query has that WikiSQL's form cannot hold, as people call it; nothing for one that
    has such a form."""
    items, names = query.select, {Like: "LIKE", In: "IN", Between: "BETWEEN", IsNull: "IS NULL"}
    where = query.where
    kinds = [type(leaf) for leaf in leaves(where)]
    compared = [leaf.operator for leaf in leaves(where) if isinstance(leaf, Comparison)]
    found = {
        "several columns": len(items) > 1 or Item(None) in items,
        "COUNT(*)": Item(None, "COUNT") in items,
        "DISTINCT": query.distinct or any(item.distinct for item in items),
        ">=, <= or <>": any(operator not in OPERATORS for operator in compared),
        **{name: kind in kinds for kind, name in names.items()},
        "OR": _has_or(where),
        "GROUP BY": bool(query.group_by),
        "ORDER BY": bool(query.order_by),
        "LIMIT": query.limit is not None,
    }
    return [name for name, has in found.items() if has]


def _has_or(where: Where | None) -> bool:
    return isinstance(where, Or) or (isinstance(where, And) and any(map(_has_or, where.parts)))


def wikisql_shape(query: Query) -> tuple[Item, list[Comparison]] | None:
    """The only item and the conditions of a query of WikiSQL's shape; None for any other query.

    The shape is one item, and comparisons joined by AND.
    """
    if len(query.select) != 1 or query.distinct or query.group_by or query.order_by:
        return None
    item = query.select[0]
    if query.limit is not None or item.distinct or (item.column is None and not item.aggregate):
        return None
    parts = query.where.parts if isinstance(query.where, And) else (query.where,)
    comparisons = [part for part in parts if isinstance(part, Comparison)]
    return (item, comparisons) if query.where is None or len(comparisons) == len(parts) else None


def to_logical_form(query: Query) -> LogicalForm | None:
    """WikiSQL's form of a query, or None where that form cannot express it."""
    shape = wikisql_shape(query)
    if shape is None:
        return None
    item, comparisons = shape
    if item.column is None or any(part.operator not in OPERATORS for part in comparisons):
        return None
    conditions = tuple(
        Condition(part.column, OPERATORS.index(part.operator), part.value) for part in comparisons
    )
    return LogicalForm(item.column, AGGREGATIONS.index(item.aggregate), conditions)
