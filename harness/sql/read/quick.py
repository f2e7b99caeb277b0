"""The shortcut for text exactly as MLX's WikiSQL data writes it.

Nearly every answer of a tuned model is ``SELECT [AGG ]header FROM id[ WHERE header op value[ AND
…]]`` with headers in their own spelling and values that hold no quote or operator. Such a text has
one reading, so it is taken here ten times faster; everything else is left to dialect.py, and a
test holds both to the same answer.
"""

from __future__ import annotations

import re

from harness.sql.column_names import Names
from harness.sql.query import Comparison, Item, Query, Where, conjunction

_HEAD = re.compile(
    r"\s{0,4}SELECT (?:(MAX|MIN|COUNT|SUM|AVG) )?([^\n'\"`]+?) FROM (\S+)"
    r"(?: WHERE ([^\n]+))?\s{0,4}"
)
_CONDITION = re.compile(
    r"([^\n'\"`=<>]+?) (=|>|<) "
    r"(?:'([^'\n<>=;\\`|]*)'|([-+]?[0-9]+(?:,[0-9]+)*(?:\.[0-9]+)?))(?: AND |$)"
)
_RISKY = re.compile(
    r"['\"`=<>;*]|^\(|\b(?:select|from|where|and|distinct|top)\b|^\s|\s$|\s\s|[^\S ]",
    re.IGNORECASE,
)


def read_quickly(text: str, names: Names) -> Query | None:
    """The query of a canonical text, or None when the slow reader must look."""
    columns = names.quick
    if columns is None:
        columns = names.quick = _columns(names)
    if not columns:
        return None
    head = _HEAD.fullmatch(text)
    if head is None or head[3] != names.table.id:
        return None
    column = columns.get(head[2])
    if column is None:
        return None
    conditions: list[Where] = []
    rest = head[4]
    if rest is not None:
        at, end = 0, len(rest)
        while at < end:
            match = _CONDITION.match(rest, at)
            if match is None:
                return None
            left = columns.get(match[1])
            if left is None:
                return None
            value = match[3] if match[3] is not None else match[4]
            conditions.append(Comparison(left, match[2], value))
            at = match.end()
        if rest.endswith(" AND "):
            return None
    return Query((Item(column, head[1] or ""),), conjunction(conditions))


def _columns(names: Names) -> dict[str, int]:
    """The headers that can be cut out by position; empty when a table's headers are treacherous."""
    if len(set(names.plain)) < len(names.plain):
        return {}
    if any(name.startswith(("max ", "min ", "count ", "sum ", "avg ")) for name in names.plain):
        return {}
    return {
        header: index
        for index, header in enumerate(names.table.header)
        if not _RISKY.search(header)
    }
