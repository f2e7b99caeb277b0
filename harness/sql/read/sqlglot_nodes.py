"""The allow-list of sqlglot nodes: tree -> nothing, or the refusal of what is not understood.

sqlglot keeps what a dialect adds in further arguments of a node (``MAX(x, 5)`` is a ``Max`` with a
``count``), so every node of a tree must be listed here with every argument that the readers look
at; anything else is refused before they start.
"""

from __future__ import annotations

from sqlglot import exp

from harness.sql.failures import Failure

_OPERANDS = frozenset(("this", "expression"))
_THIS = frozenset(("this",))

ALLOWED: dict[type[object], frozenset[str]] = {
    exp.Select: frozenset(("expressions", "from_", "where", "group", "order", "limit", "distinct")),
    exp.From: _THIS,
    exp.Table: frozenset(("this", "alias", "db")),
    exp.TableAlias: _THIS,
    exp.Where: _THIS,
    exp.Group: frozenset(("expressions",)),
    exp.Order: frozenset(("expressions",)),
    exp.Ordered: frozenset(("this", "desc", "nulls_first")),
    exp.Limit: frozenset(("expression",)),
    exp.Fetch: frozenset(("count", "direction")),
    exp.Distinct: frozenset(("expressions",)),
    exp.Alias: frozenset(("this", "alias")),
    exp.Column: frozenset(("this", "table")),
    exp.Identifier: frozenset(("this", "quoted")),
    exp.Star: frozenset(),
    exp.Literal: frozenset(("this", "is_string")),
    exp.National: _THIS,
    exp.Neg: _THIS,
    exp.Null: frozenset(),
    exp.Paren: _THIS,
    exp.Count: frozenset(("this", "big_int")),
    exp.Max: _THIS,
    exp.Min: _THIS,
    exp.Sum: _THIS,
    exp.Avg: _THIS,
    exp.And: _OPERANDS,
    exp.Or: _OPERANDS,
    exp.Not: _THIS,
    exp.EQ: _OPERANDS,
    exp.NEQ: _OPERANDS,
    exp.GT: _OPERANDS,
    exp.LT: _OPERANDS,
    exp.GTE: _OPERANDS,
    exp.LTE: _OPERANDS,
    exp.Like: frozenset(("this", "expression", "negate")),
    exp.ILike: frozenset(("this", "expression", "negate")),
    exp.In: frozenset(("this", "expressions", "negate")),
    exp.Between: frozenset(("this", "low", "high", "negate")),
    exp.Is: frozenset(("this", "expression", "negate")),
    exp.Lower: _THIS,
    exp.Upper: _THIS,
    exp.Collate: _OPERANDS,
    exp.Var: _THIS,
    exp.Cast: frozenset(("this", "to")),
    exp.DataType: _THIS,
}
"""Node types with the arguments that are understood. Exact types: a subclass is another node."""


class Refused(Exception):
    """The tree holds something that the typed query cannot express."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def unsupported(node: object) -> Refused:
    """The refusal of a node."""
    if isinstance(node, exp.Expression):
        try:
            text = f"{node.key.upper()}: {node.sql()[:80]}"
        except (ValueError, RecursionError, TypeError, AttributeError):
            text = node.key.upper()
        return Refused(Failure("unsupported", text))
    return Refused(Failure("unsupported", str(node)[:80]))


def check_nodes(tree: exp.Expression) -> None:
    """Refuse a tree with a node or an argument that is not understood.

    Raises:
        Refused: the first such node, from the top.
    """
    for node in tree.walk():
        allowed = ALLOWED.get(type(node))
        if allowed is None:
            raise unsupported(node)
        for key, value in node.args.items():
            if key not in allowed and value not in (None, False, []):
                name = key.strip("_").replace("_", " ").upper()
                raise Refused(Failure("unsupported", f"{node.key.upper()} with {name}"))
