"""Where a value of the dialect ends.

Position of a value -> candidate pairs (value, position after it), the most likely first. The
dialect does not escape apostrophes and sometimes leaves the quotes out, and models forget the
closing one. So a value ends where the statement can go on: at the end of the text, at a closing
parenthesis, or at a connective that a condition follows. A value that itself reads like
``… AND column = …`` is refused, because it is more likely two conditions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.sql.failures import Failure
from harness.sql.read.scanner import Scanner, unquote

_CLAUSES = (("group", "by"), ("order", "by"), ("limit",))
# A bare text that holds one of these is more likely SQL that is not understood than a value.
_SQL = re.compile(
    r"\b(select|from|where|order\s+by|group\s+by|having|limit|union|intersect|except|join|like"
    r"|between|is\s+(not\s+)?null|not\s+in|in\s*\(|exists|case\s+when|collate|escape)\b"
    r"|[<>=\"`'\[\]{}\\]|\|\||--|/\*|::|\w\(",
    re.IGNORECASE,
)
_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w|\s|$)")
_QUOTES = ("'", '"')
# A quote, a connective and an operator inside one literal: two conditions, the second unreadable.
_TWO_CONDITIONS = {
    quote: re.compile(
        rf"{quote}\s+(?:and|or)\s.*?(?:[<>=]|\s(?:like|between|in|is)\s)", re.IGNORECASE | re.DOTALL
    )
    for quote in _QUOTES
}
# A quote that closes (``Duke' UNION``) and one that opens again (``= 'x``); the first of the two
# literals may be empty (``'') OR … IN ('``), and so may the second.
_TWO_LITERALS = {
    quote: re.compile(
        rf"(?:\A|[^\s{quote}]){quote}\s*[\s),;|+].*?[\s(,|+=<>]{quote}(?:\Z|[^\s{quote}])",
        re.DOTALL,
    )
    for quote in _QUOTES
}
# A literal that was closed, and goes on in a way that is not understood.
_CLOSED = re.compile(
    r"['\"]\s*(?:[),;|+:*/=<>]|--|(?:union|intersect|except|having|and|or|group|order|limit|offset|collate"
    r"|escape|select|from|where|between|like|in|is)\b)",
    re.IGNORECASE,
)
_ARITHMETIC = re.compile(r"[\w.)]\s*[-+*/%|]\s*[\w(]")
_CONNECTIVE = re.compile(r"\s(and|or)\s", re.IGNORECASE)
_WORDS_NOT_VALUES = frozenset(("null", "true", "false", "current_date", "?"))


def value_ends(
    s: Scanner, at: int, depth: int, listed: bool = False, between: bool = False
) -> Iterator[tuple[str, int]]:
    """Values that can be read at ``at``.

    Args:
        depth: how many parentheses are open.
        listed: inside ``IN (…)``, where a comma ends a value too.
        between: the first bound of BETWEEN, which an AND must end.
    """
    if at >= s.end:
        return
    quote = s.text[at]
    if quote in "'\"":
        if quote == '"' and s.is_sql and _quoted_column(s, at):
            s.fail(at, Failure("ambiguous", "a column or a text in double quotes"))
            return
        closed = False
        for end in s.ends(at, quote):
            if _goes_on(s, end + 1, depth, listed, between):
                content = s.text[at + 1 : end]
                if not _swallows(s, at + 1, end):
                    closed = True
                    yield unquote(content, quote), end + 1
        if not closed and not listed and not between and depth == 0:
            for value, end in _bare(s, at + 1, depth):
                if not _CLOSED.search(value):
                    yield unquote(value, quote), end
        return
    number = s.number(at, listed)
    if number >= 0 and _goes_on(s, number, depth, listed, between):
        yield s.text[at:number], number
    elif not listed and not between:
        for value, end in _bare(s, at, depth):
            plain = _APOSTROPHE.sub("", value)
            if _SQL.search(plain) or value.lower() in _WORDS_NOT_VALUES:
                s.fail(end, Failure("unsupported", f"{value[:60]!r} is no value"))
            elif plain.count("(") == plain.count(")") and not _means_more(s, value):
                yield value, end


def _quoted_column(s: Scanner, at: int) -> bool:
    end = s.text.find('"', at + 1)
    return end > 0 and isinstance(s.names.column(s.text[at + 1 : end]), int)


def _means_more(s: Scanner, value: str) -> bool:
    """Whether SQL would take a bare value for a column or an expression. The dialect has neither
    there, so in the dialect the text is a value."""
    if not s.is_sql:
        return False
    if value.startswith("(") or _ARITHMETIC.search(value):
        return True
    return isinstance(s.names.column(value), int)


def _goes_on(s: Scanner, at: int, depth: int, listed: bool, between: bool) -> bool:
    """Whether a statement can go on at ``at``, after a value."""
    at = s.skip(at)
    if at >= s.end:
        return not listed and not between
    character = s.text[at]
    if between:
        return s.keyword(at, "and") >= 0
    if listed:
        return character in ",)"
    if character == ";" or (character == ")" and depth > 0):
        return True
    return any(s.keyword(at, *words) >= 0 for words in (("and",), ("or",), *_CLAUSES))


def _swallows(s: Scanner, start: int, end: int) -> bool:
    """Whether the text between holds a connective, a column and an operator: two conditions."""
    quote = s.text[start - 1]
    if quote in _QUOTES:
        if _TWO_CONDITIONS[quote].search(s.text, start, end):
            return True
        if _TWO_LITERALS[quote].search(s.text[start:end]):
            return True
    for match in _CONNECTIVE.finditer(s.text, start, end):
        at = s.skip(match.end())
        for column, after in s.columns(at):
            if isinstance(column, int) and s.operator(s.skip(after)) is not None:
                return True
    return False


def _bare(s: Scanner, at: int, depth: int) -> Iterator[tuple[str, int]]:
    """The unquoted text from ``at`` to each place where the statement can go on, shortest first."""
    ends = []
    for match in _CONNECTIVE.finditer(s.text, at):
        s.step()
        following = s.skip(match.end())
        opened = s.text.startswith("(", following) or s.keyword(following, "not") >= 0
        if opened or any(isinstance(column, int) for column, _ in s.columns(following)):
            ends.append(match.start())
    for position in range(at, s.end):
        character = s.text[position]
        stops = character == ";" or (character == ")" and depth > 0)
        if not stops and character.isspace():
            stops = any(s.keyword(position + 1, *words) >= 0 for words in _CLAUSES)
        if stops:
            ends.append(position)
    ends.append(s.end)
    for end in sorted(set(ends)):
        value = s.text[at:end].strip()
        if value and not _swallows(s, at, end):
            yield value, end
