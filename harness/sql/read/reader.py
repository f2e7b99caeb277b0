"""Reading a model's text: raw answer + table -> typed query or named failure.

The order of the readers: the statement is found (clean.py), the schema-aware reader tries it
(dialect.py), then sqlglot (sqlreader.py). The first statement counts. What cannot be read is a
failure; nothing is guessed. Structured predictions are checked here too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from harness.data.records import Table
from harness.sql.column_names import Names
from harness.sql.failures import Failure
from harness.sql.query import Query
from harness.sql.read import statement
from harness.sql.read.block import answer_block
from harness.sql.read.dialect import read_dialect
from harness.sql.read.quick import read_quickly

# A table id that is not quoted starts with a digit and is never an SQL name.
_DIALECT_ONLY = re.compile(r"\bfrom\s+\d[\w.]*-", re.IGNORECASE)
_FINAL = ("ambiguous",)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read from one prediction; exactly one of ``query`` and ``failure`` is None.

    ``note`` says that further statements were left out, where there were some.
    """

    query: Query | None
    failure: Failure | None
    statement: str = ""
    note: str = ""


class Reader:
    """Reads texts; keeps the name index of each table."""

    def __init__(self) -> None:
        self._names: dict[int, Names] = {}

    def names(self, table: Table) -> Names:
        """The table's name index."""
        found = self._names.get(id(table))
        if found is None or found.table is not table:
            found = self._names[id(table)] = Names(table)
        return found

    def read(self, text: str, table: Table) -> Reading:
        """The typed query of a model's answer about ``table``."""
        quick = len(text) <= statement.MAX_STATEMENT
        query = read_quickly(text, self.names(table)) if quick else None
        if query is not None:
            return Reading(query, None, text)
        # Not Unicode that can be stored or sent; such a character equals no cell's.
        text = text.encode("utf-8", "replace").decode("utf-8")
        block = answer_block(text)
        other = statement.other_statement(block)
        if other == "WITH":
            return _failed(Failure("unsupported", "WITH"))
        if other:
            return _failed(Failure("not_select", f"a {other} statement"))
        found = statement.statements(block)
        if not found:
            return _failed(Failure("no_query", "no SELECT in the text"))
        first: Reading | None = None
        for candidate in found:
            reading = self._statement(candidate.statement, table)
            if reading.query is not None and statement.has_more_statements(block):
                return replace(reading, note="the first of several statements")
            if reading.query is not None or candidate.certain:
                return reading
            first = first or reading
        assert first is not None
        if first.failure is not None and first.failure.kind in ("syntax", "unknown_column"):
            return _failed(Failure("no_query", "only the word in a sentence"))
        return first

    def _statement(self, text: str, table: Table) -> Reading:
        if len(text) > statement.MAX_STATEMENT:
            return _failed(Failure("too_long", f"{len(text)} characters"), text)
        names = self.names(table)
        result = read_dialect(text, names)
        if isinstance(result, Query):
            return Reading(result, None, text)
        if _DIALECT_ONLY.search(text) or result.kind in _FINAL:
            return _failed(result, text)
        # Imported on need: sqlglot takes longer to load than most files take to read.
        from harness.sql.read.sqlglot_reader import read_sql

        second = read_sql(text, names)
        if isinstance(second, Query):
            return Reading(second, None, text)
        return _failed(result if second.kind == "syntax" else second, text)


def _failed(failure: Failure, statement: str = "") -> Reading:
    return Reading(None, failure, statement)
