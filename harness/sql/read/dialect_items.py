"""The select list of the dialect: position after SELECT -> every reading that fits the schema.

``MAX power`` may be the aggregate of ``power`` or a column ``Max power``: both are yielded, with a
score for how exactly the text spells them; dialect.py decides or finds them ambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.data.records import AGGREGATIONS
from harness.sql.failures import Failure
from harness.sql.query import Item
from harness.sql.read.scanner import Scanner

_AGGREGATES = tuple((name.lower(), name) for name in AGGREGATIONS if name)
_MAX_ITEMS = 32
_ALIAS = re.compile(r"\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|'[^']*'|[^\W\d]\w*")


def select_lists(s: Scanner, position: int) -> Iterator[tuple[int, tuple[Item, ...], int]]:
    """Every reading of a select list that ends before FROM, with the position after FROM."""
    pending: list[tuple[int, tuple[Item, ...], int]] = [(0, (), position)]
    while pending:
        score, items, at = pending.pop()
        for more, item, after in select_items(s, at):
            after = s.skip(after)
            alias = s.keyword(after, "as")
            if alias >= 0 and (named := _ALIAS.match(s.text, alias)):
                after = s.skip(named.end())
            chosen = (*items, item)
            table = s.keyword(after, "from")
            if table >= 0:
                yield score + more, chosen, table
            elif after < s.end and s.text[after] == "," and len(chosen) < _MAX_ITEMS:
                pending.append((score + more, chosen, s.skip(after + 1)))
            else:
                s.fail(after, Failure("syntax", f"expected FROM at {s.text[after : after + 20]!r}"))


def select_items(s: Scanner, at: int) -> Iterator[tuple[int, Item, int]]:
    """Readings of one select item: (how exactly it is spelled, item, position after it)."""
    s.step()
    if s.text.startswith("*", at):
        yield 0, Item(None), at + 1
    for word, name in _AGGREGATES:
        inner = s.keyword(at, word)
        if inner < 0:
            continue
        exact = 1 if s.text.startswith(name, at) else 0
        if inner < s.end and s.text[inner] == "(":
            for item, after in _argument(s, s.skip(inner + 1), name):
                after = s.skip(after)
                if after < s.end and s.text[after] == ")":
                    yield exact + _exactness(s, item, at), item, after + 1
        for column, after in s.columns(inner):
            if isinstance(column, int):
                item = Item(column, name)
                yield exact + _exactness(s, item, at), item, after
            else:
                s.fail(after, column)
    for column, after in s.columns(at):
        if isinstance(column, int):
            yield 2 * _exactness(s, Item(column), at), Item(column), after
        else:
            s.fail(after, column)


def _argument(s: Scanner, at: int, name: str) -> Iterator[tuple[Item, int]]:
    if s.text.startswith("*", at) and name == "COUNT":
        yield Item(None, name), at + 1
    distinct = s.keyword(at, "distinct")
    if distinct >= 0:
        for column, after in s.columns(s.skip(distinct)):
            if isinstance(column, int):
                yield Item(column, name, True), after
    for column, after in s.columns(at):
        if isinstance(column, int):
            yield Item(column, name), after
        else:
            s.fail(after, column)


def _exactness(s: Scanner, item: Item, at: int) -> int:
    """1 where the header stands in the text in its own case; breaks ties such as
    ``SELECT MAX power`` (columns ``Power`` and ``Max power``)."""
    if item.column is None:
        return 0
    return int(s.names.table.header[item.column] in s.text[at : at + 400])
