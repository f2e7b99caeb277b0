"""The WHERE of a sqlglot tree -> the typed query's condition; and which nodes a tree may hold.

Literals keep their text; case functions and collations around a column or literal are dropped,
since every comparison of text ignores case; a cast that changes nothing is dropped. Everything
else that is no ``column operator literal`` is refused. The language is standard SQL, with SQLite's
habit that a double-quoted name which is no column is a text.

sqlglot keeps what a dialect adds in further arguments of a node (``MAX(x, 5)`` is a ``Max`` with a
``count``). Every node of a tree must therefore be in :data:`ALLOWED`, with every argument that the
readers look at; a tree with anything else is refused before it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlglot import exp

from harness.sql.column_names import Names
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
    Where,
    joined,
    negation,
)

_OPERATORS: dict[type[exp.Expression], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.GT: ">",
    exp.LT: "<",
    exp.GTE: ">=",
    exp.LTE: "<=",
}
_FLIPPED = {"=": "=", "<>": "<>", ">": "<", "<": ">", ">=": "<=", "<=": ">="}
_TEXT_TYPES = frozenset(("TEXT", "VARCHAR", "CHAR", "NVARCHAR", "NCHAR"))
_REAL_TYPES = frozenset(("FLOAT", "DOUBLE", "REAL"))
_WHOLE_TYPES = frozenset(("INT", "BIGINT", "INT128"))
_SELECT_ARGUMENTS = ("expressions", "from_", "where", "group", "order", "limit", "distinct")
_BY_ARGUMENTS: dict[tuple[str, ...], tuple[type[object], ...]] = {
    (): (exp.Star, exp.Null),
    ("this",): (
        *(exp.From, exp.TableAlias, exp.Where, exp.National, exp.Neg, exp.Paren, exp.Not, exp.Var),
        *(exp.Max, exp.Min, exp.Sum, exp.Avg, exp.Lower, exp.Upper, exp.DataType),
    ),
    ("this", "expression"): (
        *(exp.And, exp.Or, exp.EQ, exp.NEQ, exp.GT, exp.LT, exp.GTE, exp.LTE, exp.Collate),
    ),
    ("this", "expression", "negate"): (exp.Like, exp.ILike, exp.Is),
    ("this", "expressions", "negate"): (exp.In,),
    ("this", "low", "high", "negate"): (exp.Between,),
    ("expressions",): (exp.Group, exp.Order, exp.Distinct),
    _SELECT_ARGUMENTS: (exp.Select,),
    ("this", "alias", "db"): (exp.Table,),
    ("this", "desc", "nulls_first"): (exp.Ordered,),
    ("expression",): (exp.Limit,),
    ("count", "direction", "limit_options"): (exp.Fetch,),
    ("rows",): (exp.LimitOptions,),
    ("this", "alias"): (exp.Alias,),
    ("this", "table"): (exp.Column,),
    ("this", "quoted"): (exp.Identifier,),
    ("this", "is_string"): (exp.Literal,),
    ("this", "big_int"): (exp.Count,),
    ("this", "to"): (exp.Cast,),
    ("this", "to", "safe"): (exp.TryCast,),
}
ALLOWED = {node: arguments for arguments, nodes in _BY_ARGUMENTS.items() for node in nodes}
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


def unwrap(node: exp.Expression) -> exp.Expression:
    """A node without its parentheses."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def uncast(node: exp.Expression, scope: Scope) -> exp.Expression:
    """A node without its parentheses and the casts that change nothing.

    Raises:
        Refused: a cast may change something.
    """
    node = unwrap(node)
    while isinstance(node, exp.Cast):
        inner = uncast(node.this, scope)
        if node.to.expressions or node.to.this.name not in _own_types(inner, scope):
            raise unsupported(node)
        node = inner
    return node


def _own_types(node: exp.Expression, scope: Scope) -> frozenset[str]:
    """The types to which a cast of ``node`` changes nothing."""
    if isinstance(node, exp.Literal) and not node.is_string:
        return _REAL_TYPES | (_WHOLE_TYPES if node.name.isdigit() else frozenset())
    if isinstance(node, exp.Literal):
        return _TEXT_TYPES
    if isinstance(node, exp.Neg | exp.Max | exp.Min):
        return _own_types(uncast(node.this, scope), scope)
    if isinstance(node, exp.Column):
        kind = scope.names.table.types[scope.column(node)]
        return _TEXT_TYPES if kind == "text" else _REAL_TYPES
    if isinstance(node, exp.Count):
        return _WHOLE_TYPES
    return _REAL_TYPES if isinstance(node, exp.Sum | exp.Avg) else frozenset()


@dataclass
class Scope:
    """What names mean in one statement. ``qualifiers`` may stand before a column."""

    names: Names
    qualifiers: frozenset[str]
    aliases: dict[str, Item] = field(default_factory=dict)
    statement: str = ""

    def check_qualifier(self, node: exp.Column) -> None:
        """Refuse a column of another table."""
        if node.table and node.table.lower() not in self.qualifiers:
            raise Refused(Failure("unknown_table", node.table[:60]))

    def column(self, node: exp.Column) -> int:
        """The index of a column."""
        if not isinstance(node.this, exp.Identifier):
            raise unsupported(node)
        self.check_qualifier(node)
        found = self.names.column(node.name)
        if isinstance(found, Failure):
            raise Refused(found)
        return found


def read_where(node: exp.Expression, scope: Scope) -> Where:
    """The condition that a boolean expression is."""
    node = unwrap(node)
    if isinstance(node, exp.And | exp.Or):
        parts: list[Where] = [read_where(part, scope) for part in node.flatten()]  # type: ignore[arg-type]
        return joined(Or if isinstance(node, exp.Or) else And, parts)
    if isinstance(node, exp.Not):
        return negation(read_where(node.this, scope))
    for node_type, operator in _OPERATORS.items():
        if type(node) is node_type:
            return _comparison(node, operator, scope)
    reader = _READERS.get(type(node))
    if reader is None:
        raise unsupported(node)
    return reader(node, scope)


def _comparison(node: exp.Expression, operator: str, scope: Scope) -> Where:
    left, right = node.this, node.expression
    column, value = _column(left, scope), None
    if column is not None:
        value = _literal(right, scope)
        return Comparison(column, operator, value)
    column = _column(right, scope)
    if column is None:
        _refuse_unknown((left, right), scope)
        raise unsupported(node)
    return Comparison(column, _FLIPPED[operator], _literal(left, scope))


def _refuse_unknown(nodes: tuple[exp.Expression, ...], scope: Scope) -> None:
    for node in nodes:
        inner = _bare(node)
        if isinstance(inner, exp.Column):
            scope.column(inner)


def _bare(node: exp.Expression) -> exp.Expression:
    """A node without case functions and collations, which change no comparison here."""
    node = unwrap(node)
    while isinstance(node, exp.Lower | exp.Upper | exp.Collate):
        if isinstance(node, exp.Collate) and node.expression.name.upper() != "NOCASE":
            raise unsupported(node)
        node = unwrap(node.this)
    return node


def _column(node: exp.Expression, scope: Scope) -> int | None:
    """The column that an operand is, or None."""
    node = _bare(node)
    if isinstance(node, exp.Cast):
        if not any(isinstance(inner, exp.Column) for inner in node.walk()):
            return None
        node = _bare(uncast(node, scope))
    if not isinstance(node, exp.Column):
        return None
    found = scope.names.column(node.name) if isinstance(node.this, exp.Identifier) else None
    if isinstance(found, Failure) and found.kind == "unknown_column" and _is_text(node):
        return None
    return scope.column(node)


def _is_text(node: exp.Column) -> bool:
    """Whether a name that is no column may be a text in double quotes."""
    return bool(node.this.args.get("quoted")) and not node.table


def _literal(node: exp.Expression, scope: Scope) -> str:
    node = uncast(_bare(node), scope)
    sign = ""
    if isinstance(node, exp.Neg):
        node, sign = unwrap(node.this), "-"
    if isinstance(node, exp.Literal) and not (sign and node.is_string):
        return sign + str(node.this)
    if isinstance(node, exp.National) and not sign:
        return str(node.this)
    if isinstance(node, exp.Column) and not sign:
        found = scope.names.column(node.name)
        if isinstance(found, Failure) and found.kind == "unknown_column" and _is_text(node):
            return node.name
        if isinstance(found, int) and _is_text(node):
            raise Refused(Failure("ambiguous", f'"{node.name}" may be the column or a text'))
        scope.column(node)
        raise Refused(Failure("unsupported", "a comparison of two columns"))
    raise unsupported(node)


def _required(node: exp.Expression, scope: Scope) -> int:
    column = _column(node, scope)
    if column is None:
        _refuse_unknown((node,), scope)
        raise unsupported(node)
    return column


def _like(node: exp.Expression, scope: Scope) -> Where:
    pattern = _literal(node.expression, scope)
    return Like(_required(node.this, scope), pattern, bool(node.args.get("negate")))


def _in(node: exp.Expression, scope: Scope) -> Where:
    values = tuple(_literal(value, scope) for value in node.expressions)
    if not values:
        raise unsupported(node)
    return In(_required(node.this, scope), values, bool(node.args.get("negate")))


def _between(node: exp.Expression, scope: Scope) -> Where:
    low, high = (_literal(node.args[key], scope) for key in ("low", "high"))
    return Between(_required(node.this, scope), low, high, bool(node.args.get("negate")))


def _is(node: exp.Expression, scope: Scope) -> Where:
    inner, negated = unwrap(node.expression), bool(node.args.get("negate"))
    if isinstance(inner, exp.Not):
        inner, negated = unwrap(inner.this), not negated
    if not isinstance(inner, exp.Null):
        raise unsupported(node)
    return IsNull(_required(node.this, scope), negated)


_READERS: dict[type[exp.Expression], Callable[[exp.Expression, Scope], Where]] = {
    exp.Like: _like,
    exp.ILike: _like,
    exp.In: _in,
    exp.Between: _between,
    exp.Is: _is,
}
