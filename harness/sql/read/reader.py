"""Reading a model's text: raw answer + table -> typed query or named failure.

Nearly every answer of a tuned model is ``SELECT [AGG ]header FROM id[ WHERE header op value[ AND
…]]``, or the same as SQL with quoted names (:func:`canonical_sql`), with headers in their own
spelling and values that hold no quote or operator. Such a text has only one reading, and
:func:`read_quickly` takes it ten times faster; tests hold it to the answer of the other readers.
For every other text the statement is found first (answer.py, statement.py);
then the schema-aware reader tries it (dialect.py), then sqlglot (sqlglot_reader.py). The first
statement counts. A text that cannot be read is a failure; nothing is guessed.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from harness.data.records import Table
from harness.sql.column_names import Names
from harness.sql.failures import Failure
from harness.sql.query import Comparison, Item, Query, Where, conjunction
from harness.sql.read import statement
from harness.sql.read.answer import MAX_TEXT, Block, blocks, without_entities
from harness.sql.read.dialect import read_dialect

# A table id that is not quoted starts with a digit and is never an SQL name.
_DIALECT_ONLY = re.compile(r"\bfrom\s+\d[\w.]*-", re.IGNORECASE)
# The one spelling that read_quickly takes.
_HEAD = re.compile(
    r"\s{0,4}SELECT (?:(MAX|MIN|COUNT|SUM|AVG) )?([^\n'\"`]+?) FROM (\S+)"
    r"(?: WHERE ([^\n]+))?\s{0,4}"
)
_CONDITION = re.compile(
    r"([^\n'\"`=<>]+?) (=|>|<) "
    r"(?:'([^'\n<>=;\\`|]*)'|([-+]?[0-9]+(?:,[0-9]+)*(?:\.[0-9]+)?))(?: AND |$)"
)
# The same as SQL; what a name or a value holds there needs no look at what stands around it.
_NAME, _VALUE = (rf"[^{quote}\x00-\x1f<>;\\\\`|{{}}\[\]◁]+" for quote in "\"'")
_SQL_HEAD = re.compile(
    rf'\s{{0,4}}SELECT (?:(MAX|MIN|COUNT|SUM|AVG)\()?"({_NAME})"(?(1)\)) FROM "({_NAME})"'
    rf"(?: WHERE ([^\n;]+))?;?\s{{0,4}}"
)
_SQL_CONDITION = re.compile(
    rf"\"({_NAME})\" (=|>|<) (?:'({_VALUE})'|([0-9]+(?:\.[0-9]+)?))(?: AND |$)"
)
_CONNECTIVE = re.compile(r"\b(?:and|or)\b", re.IGNORECASE)
# One line that nothing stands around.
# A literal whose quotes are entities would else be read as an unquoted value.
_QUOTED_BY_ENTITY = re.compile(r"[=<>(,]\s*&(?:apos|quot|#0*3[49]|#[xX]0*2[27]);")
# What of a statement may stand beyond the text that is read.
_CLAUSE = re.compile(
    r"\b(?:where|and|or|limit|offset|having|union|except|intersect|join|(?:group|order)\s+by)\b",
    re.IGNORECASE,
)
_ESCAPED_TAG = re.compile(r"&lt;\s?/?\w[\w-]{0,40}\s?&gt;")
_BARE = re.compile(
    r"\s{0,4}SELECT (?:(?!select\b|final\b|corrected\b|revised\b)"
    r"[^\n`{}\[\]|◁<\\]|<(?=[ =>\d'\"])){1,2000}(?<!\.)",
    re.IGNORECASE,
)


class Reading(NamedTuple):
    """What a text was read as. ``read_as`` tells how: the language that it was read in, and what
    the query was taken out of, innermost first (``sql in json in fence``); None for a failure."""

    result: Query | Failure
    read_as: str | None = None


class Reader:
    """Reads texts; keeps the names of each table."""

    def __init__(self) -> None:
        self._names: dict[int, Names] = {}

    def names(self, table: Table) -> Names:
        """The names of a table."""
        found = self._names.get(id(table))
        if found is None or found.table is not table:
            found = self._names[id(table)] = Names(table)
        return found

    def read(self, text: str, table: Table) -> Query | Failure:
        """The typed query of a model's answer about ``table``."""
        return self.reading(text, table)[0]

    def reading(self, text: str, table: Table) -> Reading:
        """As :meth:`read`, with how the text was read."""
        names = self.names(table)
        query = read_quickly(text, names) if len(text) <= statement.MAX_STATEMENT else None
        return _read(text, names) if query is None else Reading(query, "dialect")


def _read(text: str, names: Names) -> Reading:
    # A lone surrogate can be neither stored nor sent, and no cell holds one.
    text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) > MAX_TEXT and _CLAUSE.search(text, MAX_TEXT):
        return Reading(Failure("too_long", f"{len(text)} characters"))
    if _ESCAPED_TAG.search(text):
        found = _read_text(without_entities(text), names)
        return found._replace(read_as=found.read_as and f"{found.read_as} in entities")
    found = _read_text(text, names)
    if isinstance(found.result, Failure) or _QUOTED_BY_ENTITY.search(text):
        plain = without_entities(text[:MAX_TEXT])
        second = found if plain == text[:MAX_TEXT] else _read_text(plain, names)
        if isinstance(second.result, Query):
            return Reading(second.result, f"{second.read_as} in entities")
    return found


def _read_text(text: str, names: Names) -> Reading:
    if _BARE.fullmatch(text):
        result, language = _read_statement(text.strip(), names)
        if isinstance(result, Query):
            return Reading(result, language)
    reading = Reading(Failure("no_query", "no SELECT in the text"))
    for block in blocks(text):
        reading = _read_block(block, names)
        if not isinstance(reading.result, Failure) or reading.result.kind != "no_query":
            break
    return reading


def _read_block(block: Block, names: Names) -> Reading:
    if block.problem:
        return Reading(Failure("unsupported", block.problem))
    other = statement.other_statement(block.text)
    if other == "WITH":
        return Reading(Failure("unsupported", "WITH"))
    if other:
        return Reading(Failure("not_select", f"a {other} statement"))
    found = statement.statements(block.text)
    if not found:
        return Reading(Failure("no_query", "no SELECT in the text"))
    failures: list[Failure] = []
    for number, candidate in enumerate(found):
        result, language = _read_statement(candidate.statement, names)
        if isinstance(result, Query):
            around = (*block.wrappers, *(("string",) if candidate.quoted else ()))
            return Reading(result, " in ".join((language, *reversed(around))))
        failures.append(result)
        if candidate.certain and (candidate.capital or number == len(found) - 1):
            return Reading(result)
    sentence = not found[0].capital or " from " not in found[0].statement.lower()
    if sentence and failures[0].kind in ("syntax", "unknown_column"):
        return Reading(Failure("no_query", "only the word in a sentence"))
    return Reading(failures[0])


def _read_statement(text: str, names: Names) -> tuple[Query | Failure, str]:
    """The query of a statement, and the language that it was read in."""
    if len(text) > statement.MAX_STATEMENT:
        return Failure("too_long", f"{len(text)} characters"), ""
    result = read_dialect(text, names)
    if isinstance(result, Query) or result.kind == "ambiguous" or _DIALECT_ONLY.search(text):
        return result, "dialect"
    # Imported on need: sqlglot takes longer to load than most files take to read.
    from harness.sql.read.sqlglot_reader import read_sql

    second = read_sql(text, names)
    if isinstance(second, Failure) and second.kind == "syntax":
        return result, "dialect"
    return second, "sql"


class Canonical(NamedTuple):
    """A statement in the one spelling that needs no grammar: its names as they stand there. A
    condition is (name, operator, text in quotes, number), one of the last two None."""

    column: str
    aggregate: str
    table: str
    conditions: list[tuple[str | Any, ...]]


def canonical_sql(text: str) -> Canonical | None:
    """What a text in the spelling of the `sql` prompts says, with nothing around it; else None.

    ``SELECT MAX("To par") FROM "1-10" WHERE "Player" = 'aaron' AND "Score" < 153``; nothing in
    quotes holds the same quote, AND, OR, or a sign that a model's markup may have.
    """
    found = _canonical(text, _SQL_HEAD, _SQL_CONDITION)
    if found is None or not _BARE.fullmatch(text):
        return None
    return None if any(_CONNECTIVE.search(c[2] or "") for c in found.conditions) else found


def _canonical(
    text: str, statement: re.Pattern[str], condition: re.Pattern[str]
) -> Canonical | None:
    head = statement.fullmatch(text)
    if head is None:
        return None
    conditions = []
    rest, at = (head[4] or "").rstrip(), 0
    while at < len(rest):
        if (match := condition.match(rest, at)) is None:
            return None
        conditions.append(match.groups())
        at = match.end()
    return Canonical(head[2], head[1] or "", head[3], conditions)


def read_quickly(text: str, names: Names) -> Query | None:
    """The query of a canonical text; None when the other readers must read it."""
    plain = _canonical(text, _HEAD, _CONDITION)
    found = plain or canonical_sql(text)
    if found is None or found.table != names.table.id:
        return None
    columns = names.quoted if plain is None else names.unquoted
    if not columns.keys() >= {found.column, *(condition[0] for condition in found.conditions)}:
        return None
    conditions: list[Where] = [
        Comparison(columns[name], operator, value if number is None else number)
        for name, operator, value, number in found.conditions
    ]
    return Query((Item(columns[found.column], found.aggregate),), conjunction(conditions))
