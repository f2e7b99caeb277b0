"""Reading gold queries that are SQL text, by the reader that reads answers.

(text, table) pairs -> :class:`ReadGold`, or why a text is no gold: it must be one statement and
nothing else, since it is also what a model is trained to write. What the typed query cannot hold
(joins, sub-queries, expressions; see query.py) is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.data.records import Table
from harness.data.sources.jsonlines import BadLine
from harness.sql.failures import Failure
from harness.sql.query import ReadGold, to_logical_form
from harness.sql.read.bounded import read_all
from harness.sql.read.reader import Reader, Reading

_STATEMENT = re.compile(r"select\b(?:[^;'\"`]|'[^']*'|\"[^\"]*\"|`[^`]*`)*", re.IGNORECASE)


def read_golds(texts: Sequence[tuple[str, Table]]) -> list[ReadGold | BadLine]:
    """The gold of each text about its table.

    Raises:
        EnvironmentFault: the machine lets no process read.
    """
    readings = read_all(texts, Reader())
    return [_gold(text, found) for (text, _), found in zip(texts, readings, strict=True)]


def _gold(text: str, found: Reading) -> ReadGold | BadLine:
    if not _STATEMENT.fullmatch(text):
        return BadLine(f"{text!r:.80} is not one SELECT statement")
    if isinstance(found.result, Failure):
        told = f"{found.result.kind}: {found.result.detail}".rstrip(": ")
        return BadLine(f"{told} in {text!r:.80}")
    return ReadGold(text, to_logical_form(found.result), found.result)
