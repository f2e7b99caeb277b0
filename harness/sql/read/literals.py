"""Where a value of the dialect ends.

Position of a value -> candidate pairs (value, position after it), the most likely first. The
dialect does not escape apostrophes and sometimes leaves the quotes out, and models forget the
closing one. So a value ends where the statement can go on: at the end of the text, at a closing
parenthesis, or at a connective that a condition follows. What follows a closed literal or a number
is never part of the value: comments and what models put after an answer are cut off (scanner.py),
all else is a failure. A value that itself reads like ``… AND column = …`` is refused, because it
is more likely two conditions.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from harness.sql.failures import Failure
from harness.sql.read.scanner import CLAUSES, QUOTES, Scanner, unquote

# A bare text that holds one of these is more likely SQL that is not understood than a value, or
# something that a model puts after its answer.
_SQL = re.compile(
    r"\b(select|from|where|order\s+by|group\s+by|having|limit|union|intersect|except|join|like"
    r"|between|is\s+(not\s+)?(null|true|false)|not\s+in|in\s*\(|exists|case\s+when|collate|escape"
    r"|qualify|fetch\s+(first|next))\b"
    r"|[<>=＜＞＝；\"`'“”‘\[\]{}\\]|\|\||--|/\*|::|\w\(|\s//|\s#|\(\d+\s+rows?\b|&#?\w{2,8};"
    r"|\s(?:and|or)\Z|\A[;,]",
    re.IGNORECASE,
)
_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w|\s|$)")
_OPERATOR = re.compile(r"[<>=]|\s(?:like|between|in|is)\s", re.IGNORECASE)
# A literal that was closed, and goes on in a way that is not understood.
_CLOSED = re.compile(
    r"['\"]\s*(?:[),;|+:*/=<>]|--|(?:union|intersect|except|having|and|or|group|order|limit|offset|collate"
    r"|escape|select|from|where|between|like|in|is)\b)",
    re.IGNORECASE,
)
_EXPRESSION = re.compile(r"[-+(]|(?:and|or|not|i?like|between|in|is)\b", re.IGNORECASE)
_ARITHMETIC = re.compile(r"[\w.)]\s*[-+*/%|]\s*[\w(]")
_CONNECTIVE = re.compile(r"\s(and|or)\s", re.IGNORECASE)
_STOP = re.compile(
    r"\s(and|or)\s|[;；)）]|\s(?=(?:group\s+by|order\s+by|limit|fetch)\b)", re.IGNORECASE
)
_SIGN = re.compile(r"[-+]\s*(?=[\d.(])")
_SHORT = 60
# What is no unit behind a number: ``36 years`` is a value of the dialect.
_REMARK = re.compile(r":(?:\s|\Z)|\.\Z|\s(?:offset|into|as|end|to)\b", re.IGNORECASE)
_WORDS_NOT_VALUES = frozenset(("null", "true", "false", "current_date", "?"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands. ``depth``: open parentheses; ``listed``: inside ``IN (…)``, where a
    comma ends a value too; ``between``: the first bound of BETWEEN, which an AND must end;
    ``real``: compared with a column of numbers."""

    depth: int
    listed: bool = False
    between: bool = False
    real: bool = False

    @property
    def inner(self) -> Place:
        """The place one parenthesis further in."""
        return Place(self.depth + 1, real=self.real)


def value_ends(s: Scanner, at: int, place: Place) -> Iterator[tuple[str, int]]:
    """Values that can be read at ``at``."""
    if at >= s.end:
        return
    s.step()
    if s.text[at] in QUOTES:
        yield from _quoted(s, at, place)
        return
    if s.text[at] in "nNeE" and _closes(s, at + 1):
        # N'…' and E'…': a text with its kind before it.
        yield from _quoted(s, at + 1, place)
        return
    found = False
    for value in itertools.chain(_number(s, at, place), _bracketed(s, at, place)):
        found = True
        yield value
    if found:
        return
    end = s.number(at, place.listed)
    if end >= 0 and _number_is_closed(s, end, place):
        s.fail(end, Failure("syntax", f"cannot read {s.text[end : end + 40]!r} after a number"))
    elif not place.listed and not place.between:
        yield from _unquoted(s, at, place)


def _quoted(s: Scanner, at: int, place: Place) -> Iterator[tuple[str, int]]:
    """A literal in quotes, or one whose closing quote was forgotten."""
    quote = s.text[at]
    if quote == '"' and s.is_sql and _quoted_column(s, at):
        s.fail(at, Failure("ambiguous", "a column or a text in double quotes"))
        return
    closed = False
    for end in s.ends(at, QUOTES[quote]):
        if _goes_on(s, end + 1, place):
            if not _swallows(s, at + 1, end, quote):
                closed = True
                yield unquote(s.text[at + 1 : end], quote), end + 1
        elif end + 1 < s.end and not s.text[end + 1].isalnum():
            # Here the literal closes, though another quote may close it later.
            closed = True
            s.fail(at, Failure("syntax", f"cannot read {s.text[end + 1 : end + 41]!r}"))
    if not closed and not place.listed and not place.between and place.depth == 0:
        for value, end in _bare(s, at + 1, place.depth):
            if not _CLOSED.search(value):
                yield unquote(value, quote), end


def _closes(s: Scanner, at: int) -> bool:
    """Whether a quote at ``at`` opens a text that is closed, and is no apostrophe."""
    return s.text.startswith("'", at) and any(
        not s.text[end + 1 : end + 2].isalnum() for end in s.ends(at, "'")
    )


def _number(s: Scanner, at: int, place: Place) -> Iterator[tuple[str, int]]:
    """A number, its sign perhaps apart from it."""
    sign = _SIGN.match(s.text, at)
    apart = sign is not None and sign.end() > at + 1
    start = sign.end() if sign and apart else at
    end = s.number(start, place.listed)
    if end >= 0 and _goes_on(s, end, place):
        minus = "-" if apart and s.text[at] == "-" else ""
        yield minus + s.text[start:end], end


def _bracketed(s: Scanner, at: int, place: Place) -> Iterator[tuple[str, int]]:
    """A value in parentheses, perhaps with a sign before them."""
    sign = _SIGN.match(s.text, at)
    start = sign.end() if sign else at
    if s.low[start : start + 1] != "(" or place.depth > 20:
        return
    inner = s.skip(start + 1)
    literal = s.text[inner : inner + 1] in (*QUOTES, "-", "+", "(", "（")
    if not literal and s.number(inner, False) < 0:
        return
    for value, end in value_ends(s, inner, place.inner):
        close = s.skip(end)
        fits = sign is None or value[:1].isdigit() or value[:1] == "."
        if fits and s.low[close : close + 1] == ")" and _goes_on(s, close + 1, place):
            yield ("-" if sign and s.text[at] == "-" else "") + value, close + 1


def _number_is_closed(s: Scanner, end: int, place: Place) -> bool:
    """Whether a number that ends at ``end`` cannot be the beginning of an unquoted text. In the
    dialect ``Date = 3 May`` is a text; SQL has none without quotes."""
    after = s.skip(end)
    if after >= s.end:
        return True
    following, apart = s.low[after], after > end
    if s.is_sql:
        return apart or following in ",;()#" or s.low.startswith("//", end)
    return place.real and not following.isalnum() and (apart or following in ",(")


def _unquoted(s: Scanner, at: int, place: Place) -> Iterator[tuple[str, int]]:
    for value, end in _bare(s, at, place.depth):
        plain = _APOSTROPHE.sub("", value)
        if place.real and s.number(at, False) >= 0 and (s.is_sql or _REMARK.search(value)):
            s.fail(end, Failure("syntax", f"{value[:60]!r} is no number"))
        elif _SQL.search(plain) or value.lower() in _WORDS_NOT_VALUES:
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
    if _EXPRESSION.match(value) or _ARITHMETIC.search(value):
        return True
    return isinstance(s.names.column(value), int)


def _goes_on(s: Scanner, at: int, place: Place) -> bool:
    """Whether a statement can go on at ``at``, after a value."""
    at = s.over_comments(at)
    if at >= s.end:
        return not place.listed and not place.between
    if place.between:
        return s.keyword(at, "and") >= 0
    character = s.low[at]
    if place.listed:
        return character in ",)"
    if character == ")" and place.depth > 0:
        return True
    if place.depth == 0 and s.ends_at(at):
        return True
    return any(s.keyword(at, *words) >= 0 for words in (("and",), ("or",), *CLAUSES))


class _Landmarks:
    """Where in a text, for one kind of quote, a literal can no longer be one literal."""

    def __init__(self, s: Scanner, quote: str) -> None:
        def found(pattern: str) -> list[tuple[int, int]]:
            flags = re.IGNORECASE | re.DOTALL
            return [match.span() for match in re.finditer(pattern, s.text, flags)]

        q = re.escape(quote)
        # A quote and a connective, and an operator later: two conditions, the second unreadable.
        self.connectives = found(rf"{q}\s+(?:and|or)\s")
        self.operators = [match.span() for match in _OPERATOR.finditer(s.text)]
        # A quote that closes (``Duke' UNION``) and one that opens again (``= 'x``); the first of
        # the two literals may be empty (``'') OR … IN ('``), and so may the second.
        self.closing = found(rf"(?<=[^\s{q}]){q}\s*?[\s),;|+:]")
        self.opening = found(rf"[\s(,|+=<>]{q}(?=[^\s{q}])")
        # A quote that closes, and a clause or what a model puts after its answer.
        remark = r"#|//|--|/\*|\[/?[A-Z]|</|<\||\(\d+\s+rows?\b|(?:group|order)\s+by\b"
        self.marked = found(rf"(?<=[^\s{q}]){q}\s+(?:{remark})")
        self.empty = re.compile(rf"{q}\s*?[\s),;|+:]")
        # A connective, a column and an operator.
        self.conditions = []
        for match in _CONNECTIVE.finditer(s.text):
            for column, after in s.columns(s.skip(match.end())):
                if isinstance(column, int) and s.operator(s.skip(after)) is not None:
                    self.conditions.append(match.span())
                    break


def _next(spans: list[tuple[int, int]], at: int) -> int | None:
    """The end of the first span that starts at ``at`` or later."""
    place = bisect_left(spans, (at, 0))
    return spans[place][1] if place < len(spans) else None


def _swallows(s: Scanner, start: int, end: int, quote: str) -> bool:
    """Whether the text between holds two conditions or literals, or a literal and a remark."""
    short = s.text[start:end] if end - start < _SHORT else quote
    if quote not in short and not _CONNECTIVE.search(short):
        return False
    marks = s.kept("landmarks", quote, lambda: _Landmarks(s, quote))
    condition = _next(marks.conditions, start)
    if condition is not None and condition <= end:
        return True
    if quote not in "'\"":
        return False
    marked = _next(marks.marked, start)
    if marked is not None and marked <= end:
        return True
    connective = _next(marks.connectives, start)
    operator = None if connective is None else _next(marks.operators, connective)
    if operator is not None and operator <= end:
        return True
    empty = marks.empty.match(s.text, start)
    closed = empty.end() if empty else _next(marks.closing, start)
    if closed is None:
        return False
    opened = _next(marks.opening, closed - 1)
    if opened is not None and opened < end:
        return True
    last = s.text[end - 2 : end]
    return end - 2 >= closed and last[-1:] == quote and last[0] in " \t\n(,|+=<>"


def _bare(s: Scanner, at: int, depth: int) -> Iterator[tuple[str, int]]:
    """The unquoted text from ``at`` to each place where the statement can go on, shortest first."""
    quote = s.text[at - 1] if s.text[at - 1] in "'\"" else "'"
    for end in s.kept("bare", (at, depth > 0), lambda: list(_bare_ends(s, at, depth))):
        value = s.text[at:end].strip()
        if value and not _swallows(s, at, end, quote):
            yield value, end


def _bare_ends(s: Scanner, at: int, depth: int) -> Iterator[int]:
    for match in _STOP.finditer(s.text, at):
        s.step()
        if match[1] is None:
            if depth > 0 or match[0] not in (")", "）"):
                yield match.start()
            continue
        following = s.skip(match.end())
        opened = s.text.startswith("(", following) or s.keyword(following, "not") >= 0
        if opened or any(isinstance(column, int) for column, _ in s.columns(following)):
            yield match.start()
    yield s.end
