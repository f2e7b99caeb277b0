"""Where in a model's text the answer stands.

Text -> the blocks of it that may hold the query, in the order to try them, each with what it was
wrapped in (:data:`WRAPPERS`). Reasoning is left out; then the final answer comes before what stands
in any other tag, a query's fence before other fences, and of data the string that holds the query.
The statement in a block is found by statement.py.
"""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.data.answer_marks import (
    FENCE,
    answer_rank,
    fences,
    holds_statement,
    is_query,
    is_reasoning,
    pieces,
    statement_start,
)

MAX_TEXT = 200_000

WRAPPERS = {
    "tag": "a block between tags or in a channel: `<answer>…</answer>`, `[SQL]…[/SQL]`, "
    "`<|begin_of_solution|>…<|end_of_solution|>`, `<|channel|>final<|message|>…`",
    "fence": "a code fence of three backquotes, with or without a language",
    "json": "an object or a list, alone, in a fence, after a sentence or in a tool call",
    "string": "a string in quotes, of a program or by itself, with its escapes undone: "
    '`pd.read_sql("SELECT …", conn)`, `"SELECT \\"Name\\" …"`',
    "entities": "HTML's spelling of characters: `Points &gt; 10`",
}
"""What a query may be wrapped in, as ``read_as`` names it."""

_SELECT = re.compile(r"\bselect\b", re.IGNORECASE)
_LEADING_COMMENT = re.compile(r"\A\s*/\*.*?\*/", re.DOTALL)
_COMMENT_LINE = re.compile(r"^[ \t]*--.*$\n?", re.MULTILINE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});")
_OTHER_FENCE = re.compile(r"```(?![ \t]*\w*\s{0,8}[\[{])")
_MAX_BLOCKS = 4
_MAX_JSON = 8
_MAX_LAYERS = 4


@dataclass(frozen=True, slots=True)
class Block:
    """A text that may hold the query, and what it was taken out of, outermost first."""

    text: str
    wrappers: tuple[str, ...] = ()


def blocks(text: str) -> list[Block]:
    """The blocks to look for a statement in, at least one; empty text where all is reasoning."""
    text = text[:MAX_TEXT].removeprefix("\ufeff").replace("\r\n", "\n")
    found = [(piece.rank, text[piece.start : piece.end]) for piece in pieces(text)]
    ranked = [(rank, part) for rank, part in found if rank is not None and part.strip()]
    # Of blocks with unknown names the last counts, of all others the first.
    inside = [one for one in reversed(ranked) if one[0] < 0]
    order = sorted((one for one in ranked if one[0] >= 0), key=lambda one: -one[0]) + inside
    chosen = [one for one in order if holds_statement(one[1])]
    chosen = chosen or [one for one in order if _SELECT.search(one[1])]
    if not chosen:
        return [_unwrapped(Block("\n".join(part for _, part in ranked)))]
    return [
        _unwrapped(Block(part, () if rank == 0 else ("tag",)))
        for rank, part in chosen[:_MAX_BLOCKS]
    ]


def answer_block(text: str) -> str:
    """The text to look for a statement in first; empty when the answer is only reasoning."""
    return blocks(text)[0].text


def without_entities(text: str) -> str:
    """``text`` with the characters that HTML's entities stand for."""
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text)


def _unwrapped(block: Block) -> Block:
    """The innermost fence or string of data that holds a statement."""
    text, wrappers = block.text, block.wrappers
    for _ in range(_MAX_LAYERS):
        inner, wrapper = _in_json(text), "json"
        if inner is None:
            inner, wrapper = _fenced(text), "fence"
        if inner is None:
            break
        text, wrappers = inner, (*wrappers, wrapper)
    # A query beside fences that hold none.
    text = next(filter(holds_statement, text.split(FENCE)[::2]), text)
    text = _LEADING_COMMENT.sub("", _COMMENT_LINE.sub("", text), count=1)
    return Block(text.replace("\\_", "_"), wrappers)


def _fenced(text: str) -> str | None:
    """The first fence with a query; without one anywhere, the first with a SELECT, or the first."""
    found = [(language, content) for language, content in fences(text) if content.strip()]
    query = next((content for language, content in found if is_query(language, content)), None)
    if query is not None or any(map(holds_statement, text.split(FENCE)[::2])):
        return query
    contents = [content for _, content in found]
    return next(
        filter(_SELECT.search, contents), None if _SELECT.search(text) else (*contents, None)[0]
    )


def _in_json(text: str) -> str | None:
    """The string with the query in the first JSON value that has one and stands before any."""
    fence = _OTHER_FENCE.search(text)
    limit = fence.start() if fence else len(text)
    if (start := statement_start(text)) >= 0:
        limit = min(limit, start)
    decoder = json.JSONDecoder(strict=False)
    at = 0
    for match in itertools.islice(re.finditer(r"[\[{]", text), _MAX_JSON):
        if limit < match.start():
            return None
        if match.start() < at:
            continue
        try:
            value, at = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if (found := _query_of(value)) is not None:
            return found
    return None


def _query_of(value: object) -> str | None:
    named = list(_strings(value))
    with_query = [one for one in named if holds_statement(one[1])]
    if with_query:
        return max(with_query, key=lambda one: answer_rank(one[0]) > 0)[1]
    return next((text for key, text in named if answer_rank(key)), None)


def _strings(value: object) -> Iterator[tuple[str, str]]:
    """The strings of a JSON value in their order with their keys, without reasoning."""
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        key, one = waiting.pop()
        if isinstance(one, str):
            yield key, one
        elif isinstance(one, dict):
            inner = [(name, part) for name, part in one.items() if not is_reasoning(name)]
            waiting.extend(reversed(inner))
        elif isinstance(one, list):
            waiting.extend((key, part) for part in reversed(one))
