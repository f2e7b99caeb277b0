"""Where in a model's text the answer stands.

Text -> the blocks of it that may hold the query, in the order to try them, each with what it was
wrapped in (:data:`WRAPPERS`). Reasoning is left out; then the final answer comes before what stands
in any other tag, a query's fence before other fences, and of data the string that holds the query.
The statement in a block is found by statement.py.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from harness.data.answer_marks import (
    FENCE,
    answer_rank,
    begins_statement,
    fences,
    holds_statement,
    is_query,
    pieces,
)
from harness.data.answer_sections import offered, only_drafts, retraction, uncommented
from harness.data.answer_values import (
    Named,
    Unjoined,
    continued,
    following_clause,
    joined_strings,
    json_values,
    no_pieces,
    query_of,
    strings,
)

MAX_TEXT = 200_000

WRAPPERS = {
    "tag": "a block between tags or in a channel: `<answer>…</answer>`, `[SQL]…[/SQL]`, "
    "`<|begin_of_solution|>…<|end_of_solution|>`, `<|channel|>final<|message|>…`",
    "fence": "a code fence of three backquotes or tildes, with or without a language",
    "json": "an object or a list, alone, in a fence, after a sentence or in a tool call",
    "string": "a string in quotes, of a program or by itself, with its escapes undone: "
    '`pd.read_sql("SELECT …", conn)`, `"SELECT \\"Name\\" …"`',
    "entities": "HTML's spelling of characters: `Points &gt; 10`",
}
"""What a query may be wrapped in, as ``read_as`` names it."""

_SELECT = re.compile(r"\bselect\b", re.IGNORECASE)
_COMMENT_LINE = re.compile(r"^[ \t]*--.*$\n?", re.MULTILINE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});")
_CONTINUED = re.compile(r"(?<![ \t])[ \t]*\\\n")
_STRUCK = re.compile(r"<s>[^<\n]{0,50}\bselect\b[^<\n]*</s>[ \t]*select\b", re.IGNORECASE)
_MAX_BLOCKS = 4
_RETRACTED = -3
_MAX_LAYERS = 4


@dataclass(frozen=True, slots=True)
class Block:
    """A text that may hold the query, and what it was taken out of, outermost first. Where its
    pieces cannot be put together ``problem`` says so."""

    text: str
    wrappers: tuple[str, ...] = ()
    problem: str = ""


def _without_html_comments(text: str) -> str:
    """``text`` with a space for each comment that is closed: a statement goes on behind it."""
    parts, at = [], 0
    while (opened := text.find("<!--", at)) >= 0 and (closed := text.find("-->", opened)) >= 0:
        parts += [text[at:opened], " "]
        at = closed + 3
    return "".join((*parts, text[at:]))


def blocks(text: str) -> list[Block]:
    """The blocks to look for a statement in, at least one; empty text where all is reasoning."""
    text = text[:MAX_TEXT].removeprefix("\ufeff").replace("\r\n", "\n")
    text = _without_html_comments(text)
    if _STRUCK.search(text):
        return [Block("", problem="<s> begins a text or strikes one out, before another statement")]
    ranked = _ranked(text)
    # Of blocks with unknown names the last counts, of all others the first; what is called
    # corrected takes the place of an earlier answer.
    inside = sorted((one for one in reversed(ranked) if one.rank < 0), key=lambda one: -one.rank)
    order = sorted((one for one in ranked if one.rank >= 0), key=lambda one: -one.rank) + inside
    chosen = [one for one in order if holds_statement(one.text)]
    chosen = chosen or [one for one in order if _SELECT.search(one.text)]
    if not chosen:
        return [_unwrapped(Block("\n".join(one.text for one in ranked)))]
    if any(one.corrected and one.rank == chosen[0].rank for one in chosen):
        chosen = [[one for one in chosen if one.rank == chosen[0].rank][-1]]
    elif any(one.rank == 2 for one in ranked) and (
        chosen[0].rank == -2 or (chosen[0].rank == 0 and only_drafts(chosen[0].text))
    ):
        return [Block("")]
    return [
        _unwrapped(Block(one.text, () if one.rank == 0 or one.rank <= _RETRACTED else ("tag",)))
        for one in chosen[:_MAX_BLOCKS]
    ]


class _Ranked(NamedTuple):
    rank: int
    text: str
    corrected: bool


def _ranked(text: str) -> list[_Ranked]:
    """The pieces that are no reasoning, with their ranks; what a later sentence takes back comes
    last, where a statement follows."""
    found: list[_Ranked] = []
    for piece in pieces(text):
        part = text[piece.start : piece.end]
        if piece.rank is None or not part.strip():
            continue
        if piece.rank <= 0 and found and found[-1].rank and following_clause(part):
            # <sql>SELECT …</sql> WHERE …
            rank, before, corrected = found.pop()
            part, piece = f"{before}\n{part}", replace(piece, rank=rank, corrected=corrected)
        if (at := retraction(part)) >= 0:
            found.append(_Ranked(piece.rank or 0, part[:at], piece.corrected))
            last = len(found) - 1
            found = [one._replace(rank=_RETRACTED - last + n) for n, one in enumerate(found)]
            part = part[at:]
        found.append(_Ranked(piece.rank or 0, part, piece.corrected))
    return found


def answer_block(text: str) -> str:
    """The text to look for a statement in first; empty when the answer is only reasoning."""
    return blocks(text)[0].text


def without_entities(text: str) -> str:
    """``text`` with the characters that HTML's entities stand for."""
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text)


def _unwrapped(block: Block) -> Block:
    """The innermost fence or string of data that holds a statement."""
    text, wrappers = block.text, block.wrappers
    try:
        for _ in range(_MAX_LAYERS):
            text = uncommented(offered(text))
            (inner, text), wrapper = _in_json(text), "json"
            if inner is None:
                inner, wrapper = _fenced(text), "fence"
            if inner is None:
                break
            text, wrappers = inner, (*wrappers, wrapper)
        # A query beside fences that hold none.
        text = next(filter(holds_statement, FENCE.split(text)[::2]), text)
        text = offered(text, keys=True)
        text = _COMMENT_LINE.sub("", _CONTINUED.sub("\n", text))
        joined = joined_strings(text)
    except Unjoined as error:
        return Block("", wrappers, str(error))
    if joined is not None:
        text, wrappers = joined, (*wrappers, "string")
    return Block(text.replace("\\_", "_"), wrappers)


def _fenced(text: str) -> str | None:
    """The fence with the query, with a clause that follows it; without one anywhere, the first with
    a SELECT, or the first.

    Raises:
        Unjoined: a clause stands in a fence of its own.
    """
    parts = FENCE.split(text)
    found = [
        (number, language, content)
        for number, (language, content) in enumerate(fences(text))
        if content.strip()
    ]
    queries = [one for one in found if is_query(*one[1:]) and _offers(one[2])]
    if queries:
        # A later fence counts before the first only by its name.
        number, _, query = max(queries, key=lambda one: min(answer_rank(one[1]) % 3 - 1, 1))
        return continued(query, parts[2 * number + 2 : 2 * number + 3], fences(text)[number + 1 :])
    if any(map(holds_statement, parts[::2])):
        return None
    contents = [content for *_, content in found]
    return next(
        filter(_SELECT.search, contents), None if _SELECT.search(text) else (*contents, None)[0]
    )


def _offers(content: str) -> bool:
    """Whether a fenced block offers a statement: not only in a comment or as a thought."""
    if not holds_statement(uncommented(content, empty=True)):
        return False
    return content.lstrip()[:1] not in "{[" or not _all_thoughts(content)


def _all_thoughts(content: str) -> bool:
    try:
        value = json.loads(content, strict=False)
    except (ValueError, RecursionError):
        return False
    return not any(holds_statement(one.text) and one.rank > -2 for one in strings(value))


def _in_json(text: str) -> tuple[str | None, str]:
    """The string with the query in the JSON values that stand before any other statement, and the
    text; without the values where they hold drafts only and a statement follows."""
    best: Named | None = None
    end = 0
    for value, end in json_values(text):  # noqa: B007
        found = query_of(value)
        if found is not None and (best is None or found.rank > best.rank):
            best = found
    if (best is None or best.rank == -2) and begins_statement(text[end:]):
        return None, text[end:]
    if best is not None:
        no_pieces(text, end, best.text)
    return (best and best.text), text
