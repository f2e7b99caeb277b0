"""The query in data and programs: JSON values with their keys, and a string made of pieces.

Text -> the strings of its JSON values, each with the rank of the names above it, and the statement
that a program puts together from literals. What is put together from anything else is a named
failure (:class:`Unjoined`), because its first piece alone would be another query.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harness.data.answer_marks import (
    answer_rank,
    holds_statement,
    is_reasoning,
    statement_start,
)

_WORDS = (
    r"(?:from|where|and|or|group\s+by|order\s+by|having|limit|offset|fetch|union|intersect|except"
    r"|(?:inner\s+|left\s+|cross\s+)?join)\b"
)
_CLAUSE = re.compile(rf"\s*({_WORDS})[^\n]*", re.IGNORECASE)
_CLAUSE_KEYS = ("where", "having", "limit", "offset", "groupby", "orderby", "join", "fetch")
_OTHER_FENCE = re.compile(r"```(?![ \t]*\w*\s{0,8}[\[{])")
_MOST_VALUES = 1_000
_MOST_READ = 2_000_000
_OTHERS = frozenset(("user", "system", "human", "tool", "developer", "function"))
"""Roles whose messages are not the model's."""

_QUOTED = (
    r"\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|\"(?:\\.|[^\\\"])*\"|'(?:\\.|[^\\'])*'"
)
_LITERAL = rf"[fFrRbBuU$@]{{0,2}}(?P<text>{_QUOTED}|`[^`]*`)"
_FIRST = re.compile(r"(?:\"{3}|'{3}|[\"'`])(?=\s*select\b)", re.IGNORECASE)
_STRING = re.compile(_LITERAL, re.DOTALL)
# "a" + "b"; "a" "b"; q += "b"; q = q + "b"; parts.append("b")
_NEXT = re.compile(
    rf"(?:\s*[+.&~|]{{0,2}}\s*[\\_]?\s*|[\s;)\]]*[$\w]+\s*(?:[+.&]=|=\s*[$\w]+\s*[+.&])\s*"
    rf"|[\s;)\]]*[\w]*\s*\.\s*(?:append|add|push|concat|write|AppendLine|extend)\s*\(\s*\[?\s*)"
    rf"{_LITERAL}",
    re.DOTALL | re.IGNORECASE,
)
_LISTED = re.compile(rf"\s*,\s*{_LITERAL}", re.DOTALL)
_OPEN_ENDED = re.compile(
    r"\s*(?:[+&]|\|\||\.(?=\s*\$))\s*[\w$(]|\s*%\s*[\w(\"']|\s*\.\s*format\b"
    r"|[\s;)\]]*[$\w]+\s*(?:[+.&]=)"
)
_PIECE = re.compile(rf"[\"']\s*{_WORDS}\s[^\"'\n]*", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(\n|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": " ", "r": "", "\n": ""}


class Unjoined(Exception):
    """A query is put together from pieces of which not all are read."""


class Named(NamedTuple):
    """A string of a JSON value; ``rank`` as of a block of the names above it."""

    rank: int
    text: str


def json_values(text: str) -> Iterator[tuple[object, int]]:
    """The JSON objects and lists of a text with where they end, up to the first fence or statement
    outside of them."""
    decoder = json.JSONDecoder(strict=False)
    fence = _OTHER_FENCE.search(text)
    limit = fence.start() if fence else len(text)
    at, budget = 0, _MOST_READ
    for number, match in enumerate(re.finditer(r"[\[{]", text)):
        if match.start() < at:
            continue
        outside = statement_start(text[at : match.start()])
        if limit < match.start() or outside >= 0 or number > _MOST_VALUES or budget < 0:
            return
        try:
            value, end = decoder.raw_decode(text, match.start())
        except RecursionError:
            return
        except ValueError as error:
            budget -= len(text) if "ntermin" in str(error) else getattr(error, "pos", at) - at
            continue
        yield value, end
        at = end


def query_of(value: object) -> Named | None:
    """The string with the query: of the best rank, and of these the first."""
    named = list(strings(value))
    with_query = [one for one in named if holds_statement(one.text)]
    if not with_query:
        return next((one for one in named if one.rank > 0), None)
    best = max(with_query, key=lambda one: one.rank)
    # A draft is no answer beside an answer's key without a query.
    return Named(2, "") if best.rank == -2 and any(one.rank == 2 for one in named) else best


def strings(value: object) -> Iterator[Named]:
    """The strings of a JSON value in their order, without reasoning.

    Raises:
        Unjoined: a clause of the query stands in a value of its own.
    """
    waiting: list[Named | tuple[int, object]] = [(0, value)]
    while waiting:
        rank, one = waiting.pop()
        if isinstance(one, str):
            yield Named(rank, one)
        elif isinstance(one, dict):
            kind = str(one.get("type") or one.get("role") or "")
            if is_reasoning(kind) or "summary" in kind:
                continue
            rank = -2 if kind in _OTHERS else _below(rank, kind)
            inner = [(_below(rank, name), part) for name, part in _merged(one).items()]
            waiting.extend(reversed(inner))
        elif isinstance(one, list):
            parts = _joined_list(one)
            if any(isinstance(part, dict) and part.get("role") == "assistant" for part in parts):
                parts = parts[::-1]
            waiting.extend((rank, part) for part in reversed(parts))


def _below(rank: int, name: str) -> int:
    own = answer_rank(name)
    return min(rank, own) if -2 in (rank, own) else max(rank, own)


def _merged(value: dict[str, object]) -> dict[str, object]:
    """An object without its reasoning, the clauses that stand beside a statement put behind it."""
    parts = {name: part for name, part in value.items() if not is_reasoning(name)}
    name = next(
        (
            name
            for name, part in parts.items()
            if isinstance(part, str) and part.lstrip()[:6].lower() == "select"
        ),
        None,
    )
    if name is None:
        return parts
    query = str(parts[name])
    for key, part in value.items():
        low = "".join(filter(str.isalpha, key.lower()))
        if key == name or not part or low not in (*_CLAUSE_KEYS, "from"):
            continue
        if isinstance(part, str) and _CLAUSE.match(part):
            query += "" if _within(part, query) else f"\n{part}"
        elif not re.search(rf"\b{low[:5]}", query, re.IGNORECASE):
            raise Unjoined(f"the query's {key!r} stands beside it")
    return {**parts, name: query}


def _joined_list(parts: list[object]) -> list[object]:
    """A list whose strings are the pieces of one statement, as the one string."""
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) < 2 or len(texts) < len(parts) or texts[0].lstrip()[:6].lower() != "select":
        return parts
    if all(_CLAUSE.match(part) for part in texts[1:]) or "from" not in texts[0].lower():
        return ["\n".join(texts)]
    if any(_CLAUSE.match(part) and not _within(part, texts[0]) for part in texts[1:]):
        raise Unjoined("a list of pieces")
    return parts


def continued(query: str, after: Sequence[str], others: Sequence[tuple[str, str]]) -> str:
    """The query of a fence with the clause that directly follows in the text ``after`` it.

    Raises:
        Unjoined: one of the ``others`` is a clause that the query lacks.
    """
    for text in after:
        if clause := following_clause(text):
            return f"{query.rstrip()}\n{clause}"
    for _, content in others:
        if _CLAUSE.match(content) and not _within(content, query):
            raise Unjoined("a clause in a fence of its own")
    return query


def following_clause(text: str) -> str:
    """The clause that ``text`` begins with, to the end of its paragraph; or nothing."""
    match = _CLAUSE.match(text)
    if match is None:
        return ""
    word = match[1].split()[0]
    if word.istitle() or (word.islower() and not re.search(r"[<>=]|\bby\b", match[0])):
        return ""
    return text.strip().partition("\n\n")[0]


def joined_strings(text: str) -> str | None:
    """The statement that a program puts together from literals; None where it is in one.

    Raises:
        Unjoined: it is put together from more than literals.
    """
    first = _FIRST.search(text)
    if first is None or (found := _STRING.match(text, first.start())) is None:
        return None
    content, at, count = _content(found["text"]), found.end(), 1
    while True:
        match = _NEXT.match(text, at)
        if match is None and (listed := _LISTED.match(text, at)):
            piece = _content(listed["text"])
            if _CLAUSE.match(piece) or "from" not in content.lower():
                match, content = listed, content + "\n"
        if match is None:
            break
        content += _content(match["text"])
        at, count = match.end(), count + 1
    if count == 1 and not holds_statement(content) and not _OPEN_ENDED.match(text, at):
        return None
    clause = following_clause(text[at : at + 2_000])
    if clause and not content.rstrip().endswith(";"):
        return f"{content}\n{clause}"
    if _OPEN_ENDED.match(text, at):
        raise Unjoined("a query made of more than texts")
    no_pieces(text, at, content)
    return content if count > 1 or "\\\n" in found["text"] else None


def no_pieces(text: str, at: int, query: str) -> None:
    """Look for literals after ``at`` that are clauses which the query lacks.

    Raises:
        Unjoined: there is one.
    """
    for piece in itertools.islice(_PIECE.finditer(text, at), 100):
        if not _within(piece[0][1:], query):
            raise Unjoined("a query made of pieces")


def _content(literal: str) -> str:
    quote = literal[:3] if literal[:3] in ('"""', "'''") else literal[0]
    inner = literal[len(quote) : -len(quote)]
    return inner if quote == "`" else _ESCAPE.sub(lambda m: _ESCAPED.get(m[1], m[1]), inner)


def _within(piece: str, query: str) -> bool:
    """Whether a clause stands in the query already."""
    return "".join(piece.lower().split()).rstrip(";") in "".join(query.lower().split())
