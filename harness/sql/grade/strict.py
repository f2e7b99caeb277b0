"""Whether a text needs no repair: it is one DuckDB statement with exact names and types.

Raw text + DuckDB's own syntax tree of it + schema -> bool. DuckDB parses the text in the worker
process without running it, and the tree is checked: the table by its name, every column by its name
(DuckDB ignores case), text columns compared with text and real columns with numbers, SUM, AVG and
LIKE only where DuckDB has them. Whether the text means what was read is not covered: a text is
checked here only after its reading gave gold's result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.data.records import Table
from harness.sql.failures import Failure
from harness.sql.read.reader import canonical_sql
from harness.sql.read.statement import MAX_STATEMENT
from harness.sql.run.sandbox import Sandbox
from harness.sql.values import is_plain_number

_TEXTS_PER_REQUEST = 200
_LIKE = frozenset(("~~", "!~~", "~~*", "!~~*", "like_escape", "ilike_escape"))
_NUMERIC_ONLY = frozenset(("sum", "avg", "mean"))


def strict(sandbox: Sandbox, items: Sequence[tuple[str, Table, Sequence[str]]]) -> list[bool]:
    """Whether each ``(text, table, DuckDB's column names)`` needs no repair."""
    quick = [canonical_fits(*item) for item in items]
    verdicts = [found is True for found in quick]
    likely = [
        index
        for index, (text, table, _) in enumerate(items)
        if quick[index] is None and _may(text, table)
    ]
    for start in range(0, len(likely), _TEXTS_PER_REQUEST):
        part = likely[start : start + _TEXTS_PER_REQUEST]
        for index, tree in zip(part, _trees(sandbox, [items[i][0] for i in part]), strict=True):
            _, table, names = items[index]
            verdicts[index] = tree is not None and _fits(json.loads(tree), table, names)
    return verdicts


def _may(text: str, table: Table) -> bool:
    # Most texts of the dialect are refused here, before anything is parsed.
    low, name = text.lower(), table.id.lower()
    return len(text) <= MAX_STATEMENT and (f'"{name}"' in low or table.id.isidentifier())


def canonical_fits(text: str, table: Table, names: Sequence[str]) -> bool | None:
    """The verdict on a text whose tree is known without DuckDB; None for any other text."""
    found = canonical_sql(text)
    if found is None or found.table != table.id:
        return None
    types = {name.lower(): kind for name, kind in zip(names, table.types, strict=True)}
    column = types.get(found.column.lower())
    if column is None or (column == "text" and found.aggregate.lower() in _NUMERIC_ONLY):
        return False
    return all(
        number is None if kind == "text" else kind and (value is None or is_plain_number(value))
        for name, _, value, number in found.conditions
        for kind in (types.get(name.lower()),)
    )


def _trees(sandbox: Sandbox, texts: list[str]) -> list[str | None]:
    trees = sandbox.parse(texts)
    if not isinstance(trees, Failure):
        return trees
    if len(texts) == 1:
        return [None]
    return [_trees(sandbox, [text])[0] for text in texts]


def _fits(tree: Any, table: Table, names: Sequence[str]) -> bool:
    if tree.get("error") or len(tree.get("statements", ())) != 1:
        return False
    node = tree["statements"][0]["node"]
    if node["type"] != "SELECT_NODE" or node["cte_map"]["map"]:
        return False
    source = node["from_table"]
    if source["type"] != "BASE_TABLE" or source["schema_name"].lower() not in ("", "main"):
        return False
    if source["table_name"].lower() != table.id.lower():
        return False
    types = {name.lower(): kind for name, kind in zip(names, table.types, strict=True)}
    aliases = {item.get("alias", "").lower() for item in node["select_list"]} - {""}
    scope = _Scope(types, aliases, (source["alias"] or source["table_name"]).lower())
    return all(scope.fits(part) for part in _nodes(node))


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "class" in value:
            yield value
        for part in value.values():
            yield from _nodes(part)
    elif isinstance(value, list):
        for part in value:
            yield from _nodes(part)


@dataclass
class _Scope:
    """What names mean in one statement: columns with their types, aliases, the table."""

    types: dict[str, str]
    aliases: set[str]
    table: str

    def kind(self, node: dict[str, Any]) -> str | None:
        """The type of a column reference; None for anything else."""
        if node.get("class") != "COLUMN_REF":
            return None
        return self.types.get(node["column_names"][-1].lower())

    def fits(self, node: dict[str, Any]) -> bool:
        match node["class"]:
            case "COLUMN_REF":
                path = [name.lower() for name in node["column_names"]]
                if len(path) == 1:
                    return path[0] in self.types or path[0] in self.aliases
                return len(path) == 2 and path[0] == self.table and path[1] in self.types
            case "COMPARISON":
                return self.compared([node["left"], node["right"]])
            case "BETWEEN":
                return self.compared([node["input"], node["lower"], node["upper"]])
            case "OPERATOR":
                return node["type"] not in ("COMPARE_IN", "COMPARE_NOT_IN") or self.compared(
                    node["children"]
                )
            case "FUNCTION":
                return self.called(node)
            case _:
                return True

    def compared(self, operands: Sequence[dict[str, Any]]) -> bool:
        """Whether literals have the type of the column with which they are compared."""
        kinds = {self.kind(operand) for operand in operands}
        literals = [found for operand in operands if (found := operand.get("literal")) is not None]
        texts = [literal["text"] for literal in literals if literal["kind"] == "STRING"]
        if "text" in kinds and len(texts) < len(literals):
            return False
        return "real" not in kinds or all(map(is_plain_number, texts))

    def called(self, node: dict[str, Any]) -> bool:
        """Whether a function has the argument type that DuckDB wants."""
        name = node["function_name"].lower()
        kinds = {self.kind(argument["expression"]) for argument in node["arguments"]}
        if name in _NUMERIC_ONLY:
            return "text" not in kinds
        return "real" not in kinds or name not in (*_LIKE, "lower", "upper")
