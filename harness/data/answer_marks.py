"""What stands around an answer in a model's text: reasoning, tags, channels, fences.

Text -> marks with the name that each opens or closes, and the pieces of text between them. Whether
a piece is reasoning or an answer follows from the names in the two tables below and, where a name
is in neither, from where the piece stands: an answer stands outside of all blocks, or in the last.
Both when a generated answer ends (``measure/answer_end.py``) and what of it is graded
(``sql/read/answer.py``) follow from these marks. All of it takes time linear in the text.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

FENCE = "```"

REASONING = (
    *("think", "thought", "reason", "analys", "analyz", "scratch", "reflect", "rationale"),
    *("deliberat", "ponder", "monolog", "brainstorm", "critique", "verif", "draft", "plan"),
    *("intermediate", "explain", "explan", "explor", "comment", "cot", "step", "inner"),
)
"""A block is reasoning when its name holds one of these (letters and digits, lower case)."""

ANSWERS = (
    ("final", "answer", "solution", "response", "conclusion"),
    ("sql", "query", "output", "result", "statement", "code"),
)
"""A block that is no reasoning is an answer when its name holds one of these; a name of the first
group comes before one of the second."""

PROSE_FENCES = ("text", "txt", "plaintext", "plan", "markdown", "md", "thinking", "output")
"""Languages of code fences that hold no query."""

_ENDS = frozenset(
    (
        *("s", "eos", "bos", "pad", "unk", "end", "sep", "cls", "done", "inst", "return", "call"),
        *("eotid", "eomid", "im", "turn", "endofturn", "startofturn", "headerid", "start"),
        "channel",
    )
)
"""Marks that end a turn or a message, and whatever was open in it."""

_MARK = re.compile(
    r"<\|channel\|?>\s*(?P<channel>[A-Za-z]+)(?:(?P<to>[^<\n]{0,60})(?=<\|))?"
    r"(?:<\|constrain\|>\w{0,20})?(?:<\|message\|>)?"
    r"|(?P<skipped>assistantfinal)"
    r"|<\|(?P<pipe>/?[A-Za-z][\w .-]{0,60})\|?>|<(?P<right>[A-Za-z]\w{0,60})\|>"
    r"|<[｜|](?P<wide>[^｜|<>\n]{1,60})[｜|]>"
    r"|<(?P<angle>/?[A-Za-z][\w.:-]{0,40})(?P<more>[\s=][^<>\n]{0,200})?/?>"
    r"|\[(?P<square>/?[A-Za-z][A-Za-z_ ]{1,40})\]|◁(?P<rune>/?\w{1,40})▷"
    r"|(?P<comment><!--)|(?P<uncomment>-->)"
    r"|^[ \t#*>_-]{0,8}(?:the[ \t]+|my[ \t]+)?(?P<label>(?:final|corrected|revised)[ \t]+"
    r"(?:sql|answer|query|statement|solution|response|version)"
    r"(?:[ \t]+(?:sql|query|statement|is)){0,3})[ \t]*[*_]{0,3}[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
_OPENING = re.compile(r"^(?:begin|start)(?:of)?|(?:start|begin|prefix)$")
_CLOSING = re.compile(r"^end(?:of)?|(?:end|suffix)$")
NO_CLAUSE = (
    r"(?!\s+(?i:clause|statement|keyword|part|list|the|those|rows|which)\b(?!\s+(?i:from)\b)"
    r"|\s*:|\*\*)"
)
"""After SELECT, for a pattern: not a sentence or a list that names the clause."""

# A SELECT that begins a line or follows punctuation, and one in capitals.
_SELECT = re.compile(
    rf"(?:^|[:;`>(\"'“‘{{\[=,}}]|\*\*)\s{{0,8}}select\b{NO_CLAUSE}", re.IGNORECASE | re.MULTILINE
)
_CAPITALS = re.compile(rf"\bSELECT\b{NO_CLAUSE}")
_FROM = re.compile(r"\bfrom\b", re.IGNORECASE)
_LANGUAGE = re.compile(r"[ \t]*([A-Za-z0-9_+-]*)[ \t]*\r?\n|[ \t]*(sql\w*)[ \t]+", re.IGNORECASE)
_QUERY = re.compile(
    rf"(?:\s|--[^\n]*\n|#[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/|\()*(?:select|with)\b{NO_CLAUSE}",
    re.IGNORECASE,
)
_MOST_OPEN = 8
_MOST_MARKS = 4_000


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark from ``start`` to ``end`` that opens or closes the block ``name``, or only cuts the
    text; ``shape`` is the group of the pattern that found it."""

    start: int
    end: int
    name: str
    does: Literal["opens", "closes", "cuts"]
    shape: str


@dataclass(frozen=True, slots=True)
class Piece:
    """The text between two marks. ``rank``: None in reasoning; 2 and 1 in an answer's block, as
    :data:`ANSWERS` has them; 0 outside of all blocks; -1 in a block of another name."""

    start: int
    end: int
    rank: int | None


@lru_cache(1024)
def is_reasoning(name: str) -> bool:
    """Whether a block or a key of this name holds reasoning."""
    low = _letters(name)
    return any(stem in low for stem in REASONING)


@lru_cache(1024)
def answer_rank(name: str) -> int:
    """2 or 1 for the name of an answer, 0 for any other."""
    low = _letters(name)
    if is_reasoning(name):
        return 0
    return max(
        (2 - at for at, stems in enumerate(ANSWERS) if any(s in low for s in stems)), default=0
    )


def statement_start(text: str) -> int:
    """Where the first SELECT ends that is in capitals or begins a line or a quotation; or -1."""
    found = [match.end() for pattern in (_SELECT, _CAPITALS) if (match := pattern.search(text))]
    return min(found, default=-1)


def holds_statement(text: str) -> bool:
    """Whether ``text`` holds a SELECT that is more than a word of a sentence, and a FROM."""
    found = statement_start(text)
    return found >= 0 and _FROM.search(text, found) is not None


def pieces(text: str) -> Iterator[Piece]:
    """The text between its marks, in order."""
    found = _marks(text)
    # What nothing has opened was opened by the prompt: all before it is reasoning.
    stacks: list[tuple[Mark, ...]] = [()]
    before = 0
    for number, mark in enumerate(found, 1):
        stack = stacks[-1]
        unopened = mark.does == "closes" and mark.name not in _names(stack)
        if mark.shape == "skipped" or (unopened and is_reasoning(mark.name)):
            before = number
        stacks.append(_after(stack, mark))
    edges = [0, *(edge for mark in found for edge in (mark.start, mark.end)), len(text)]
    for number, stack in enumerate(stacks):
        rank = None if number < before else _rank(stack)
        yield Piece(edges[2 * number], edges[2 * number + 1], rank)


def reasoning_is_open(text: str) -> bool:
    """Whether ``text`` ends in a block of reasoning that nothing has closed."""
    *_, last = pieces(text)
    return last.rank is None


def fences(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a text, each as language (lower case) and content; the last may be
    open."""
    found = []
    for block in text.split(FENCE)[1::2]:
        label = _LANGUAGE.match(block)
        language = (label[1] or label[2] or "").lower() if label else ""
        found.append((language, block[label.end() :] if label else block))
    return found


def is_query(language: str, content: str) -> bool:
    """Whether a fenced block is a query, or a program or data with one in quotes."""
    if language in PROSE_FENCES:
        return False
    return _QUERY.match(content) is not None or holds_statement(content)


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _marks(text: str) -> list[Mark]:
    """Marks that cut the text, that close something, that something closes, or whose name is
    known."""
    found = list(_all_marks(text))
    closers = Counter(mark.name for mark in found if mark.does == "closes")
    lead, end = len(text) - len(text.lstrip()), len(text.rstrip())
    kept = []
    for mark in found:
        if mark.does == "closes":
            closers[mark.name] -= 1
        if mark.does != "opens" or closers[mark.name] > 0:
            kept.append(mark)
            continue
        known = is_reasoning(mark.name) or answer_rank(mark.name) > 0
        # T-SQL writes names in brackets; a prompt may end with a mark.
        outside = mark.start <= lead or (mark.end == end and mark.name.startswith("think"))
        if known and (mark.shape != "square" or outside):
            kept.append(mark)
        elif mark.shape in ("pipe", "wide"):
            kept.append(replace(mark, does="cuts"))
    return kept


def _all_marks(text: str) -> Iterator[Mark]:
    for match in itertools.islice(_MARK.finditer(text), _MOST_MARKS):
        shape = next(
            group for group, written in match.groupdict().items() if written and group != "to"
        )
        name = _letters(match[shape])
        does: Literal["opens", "closes", "cuts"] = "opens"
        if shape == "angle" and "select" in (match["more"] or "").lower():
            continue
        if shape == "channel":
            # A message to a tool holds the query that it is to run.
            name = "query" if "to=" in (match["to"] or "") else name
        elif shape in ("comment", "uncomment"):
            name, does = "comment", "opens" if shape == "comment" else "closes"
        elif match[shape].startswith("/") or shape == "right":
            does = "closes"
        elif shape != "label" and shape != "square" and name not in _ENDS:
            opened, closed = _OPENING.sub("", name), _CLOSING.sub("", name)
            if opened == name and closed not in (name, ""):
                does = "closes"
            name = (closed if does == "closes" else opened) or name
        if name in _ENDS and (shape != "square" or name == "inst"):
            does = "cuts"
        yield Mark(match.start(), match.end(), name, does, shape)


def _names(stack: tuple[Mark, ...]) -> list[str]:
    return [mark.name for mark in stack]


def _after(stack: tuple[Mark, ...], mark: Mark) -> tuple[Mark, ...]:
    """The blocks that are open after a mark."""
    if mark.does == "cuts":
        return () if mark.name in _ENDS else stack
    if mark.does == "closes":
        names = _names(stack)
        if mark.name in names:
            return stack[: names.index(mark.name)]
        return () if is_reasoning(mark.name) else stack
    if mark.shape in ("channel", "skipped", "label"):
        # A message, and what is called final, ends whatever was open before.
        return (mark,)
    return (*stack, mark) if len(stack) < _MOST_OPEN else stack


def _rank(stack: tuple[Mark, ...]) -> int | None:
    if any(is_reasoning(mark.name) for mark in stack):
        return None
    return max((answer_rank(mark.name) or -1 for mark in stack), default=0)
