"""What stands around an answer in a model's text: reasoning, tags, channels, fences.

Text -> marks with the name that each opens or closes, and the pieces of text between them. Whether
a piece is reasoning or an answer follows from the names in the two tables below and, where a name
is in neither, from where the piece stands: an answer stands outside of all blocks, or in the last.
Both when a generated answer ends (``measure/answer_end.py``) and what of it is graded
(``sql/read/answer.py``) follow from these marks. All of it takes time linear in the text.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

FENCE = re.compile(r"`{3,}|^[ \t]*~{3,}", re.MULTILINE)
"""What opens and closes a code fence."""

REASONING = (
    *("think", "thought", "reason", "analys", "analyz", "scratch", "reflect", "rationale"),
    *("deliberat", "ponder", "monolog", "brainstorm", "critique", "verif", "draft", "plan"),
    *("intermediate", "explain", "explan", "explor", "comment", "cot", "step", "inner"),
    *("überleg", "gedanke", "réfle", "réflé", "raisonn", "razon", "pensam", "мысл", "рассужд"),
    *("思", "推理", "分析", "草稿", "考え", "생각"),
)
"""A block is reasoning when its name holds one of these (letters and digits, lower case)."""

ANSWERS = (
    (
        *("final", "answer", "solution", "response", "conclusion"),
        *("corrected", "correction", "revised", "refined", "fixed", "improved", "答案", "回答"),
    ),
    ("sql", "query", "output", "result", "statement", "code"),
)
"""A block that is no reasoning is an answer when its name holds one of these; a name of the first
group comes before one of the second."""

DRAFTS = (
    (
        *("initial", "previous", "candidate", "wrong", "incorrect", "original", "tentative"),
        *("attempt", "rejected", "discarded"),
    ),
    ("question", "prompt", "example", "input"),
)
"""What stands under such a name counts only where nothing else is offered; in a label, a name of
the second group counts only by itself."""

CORRECTED = ("correct", "revis", "refin", "fixed", "improv")
"""After an answer, one of such a name takes its place."""

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
    r"|<unused\d{1,4}>(?P<unused>(?:thought|think|analysis|reason)\w{0,9}|(?=[^<]|\Z))"
    r"|<\|(?P<pipe>/?[A-Za-z][\w .-]{0,60})\|?>|<(?P<right>[A-Za-z]\w{0,60})\|>"
    r"|<[｜|](?P<wide>[^｜|<>\n]{1,60})[｜|]>"
    r"|<(?P<angle>/?\w[\w.:-]{0,200})(?P<more>[\s=][^<>\n]{0,200})?(?P<empty>/)?>"
    r"|<[ \t]{1,3}(?P<spaced>/?[ \t]?\w[\w-]{0,60})[ \t]{0,3}>"
    r"|</[ \t]{1,3}(?P<closed>\w[\w-]{0,60})[ \t]{0,3}>"
    r"|\[(?P<square>/?\w[\w .:-]{1,60})\]|◁(?P<rune>/?\w{1,40})▷"
    r"|(?P<comment><!--)|(?P<uncomment>-->)"
    r"|^[ \t#*>_-]{0,8}(?:the[ \t]+|my[ \t]+)?(?P<label>(?:final|corrected|revised|refined"
    r"|fixed|improved)[ \t]+"
    r"(?:sql|answer|query|statement|solution|response|version)"
    r"(?:[ \t]+(?:sql|query|statement|is)){0,3})[ \t]*[*_]{0,3}[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
# Brackets of other scripts, as the pattern has them.
_BRACKETS = str.maketrans("＜‹〈《＞›〉》【〔】〕", "<<<<>>>>[[]]")
_OPENING = re.compile(r"^(?:begin|start)(?:of)?|(?:start|begin|prefix)$")
_CLOSING = re.compile(r"^end(?:of)?|(?:end|suffix)$")
NO_CLAUSE = (
    r"(?!\s+(?i:clause|statement|keyword|part|list|the|those|rows|which)\b(?!\s+(?i:from)\b)"
    r"|\s*:|\*\*)"
)
"""After SELECT, for a pattern: not a sentence or a list that names the clause."""

# A SELECT that begins a line or follows punctuation, and one in capitals.
_SELECT = re.compile(
    rf"(?:^|[:;`>(\"'“‘{{\[=,}}✅✓]|\*\*)\s{{0,8}}select\b{NO_CLAUSE}", re.IGNORECASE | re.MULTILINE
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
    text; ``shape`` is the group of the pattern that found it. A ``bare`` one, which nothing closes,
    ends whatever was open before."""

    start: int
    end: int
    name: str
    does: Literal["opens", "closes", "cuts"]
    shape: str
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """The text between two marks. ``rank``: None in reasoning; 2 and 1 in an answer's block, as
    :data:`ANSWERS` has them; 0 outside of all blocks; -1 in a block of another name, -2 in a
    draft's; ``corrected`` where the name of its block says that it takes an earlier one's place."""

    start: int
    end: int
    rank: int | None
    corrected: bool = False


@lru_cache(1024)
def is_draft(name: str) -> bool:
    """Whether what has this name counts only where nothing else is offered."""
    low = _letters(name)
    return "action" not in low and any(stem in low for stems in DRAFTS for stem in stems)


@lru_cache(1024)
def is_reasoning(name: str) -> bool:
    """Whether a block or a key of this name holds reasoning."""
    low = _letters(name)
    return any(stem in low for stem in REASONING)


@lru_cache(1024)
def answer_rank(name: str) -> int:
    """2 or 1 for the name of an answer, -2 for that of a draft, 0 for any other."""
    low = _letters(name)
    if is_draft(name):
        return -2
    if is_reasoning(name):
        return 0
    return max(
        (2 - at for at, stems in enumerate(ANSWERS) if any(s in low for s in stems)), default=0
    )


def statement_start(text: str) -> int:
    """Where the first SELECT ends that is in capitals or begins a line or a quotation; or -1."""
    found = [match.end() for pattern in (_SELECT, _CAPITALS) if (match := pattern.search(text))]
    return min(found, default=-1)


def begins_statement(text: str) -> bool:
    """Whether a SELECT with a FROM begins a line or a quotation of ``text``."""
    found = _SELECT.search(text)
    return found is not None and _FROM.search(text, found.end()) is not None


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
        corrected = any(stem in mark.name for mark in stack for stem in CORRECTED)
        yield Piece(edges[2 * number], edges[2 * number + 1], rank, corrected)


def reasoning_is_open(text: str) -> bool:
    """Whether ``text`` ends in a block of reasoning that nothing has closed."""
    *_, last = pieces(text)
    return last.rank is None


def fences(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a text, each as language (lower case) and content; the last may be
    open."""
    found = []
    for block in FENCE.split(text)[1::2]:
        label = _LANGUAGE.match(block)
        language = (label[1] or label[2] or "").lower() if label else ""
        found.append((language, block[label.end() :] if label else block))
    return found


def fence_at(text: str) -> Callable[[int], bool]:
    """Whether a position of ``text`` lies in a fence, as a function of the position."""
    starts = [match.start() for match in FENCE.finditer(text)]
    return lambda position: bisect.bisect_right(starts, position) % 2 == 1


def is_query(language: str, content: str) -> bool:
    """Whether a fenced block is a query, or a program or data with one in quotes."""
    if language in PROSE_FENCES or is_reasoning(language):
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
        if mark.shape == "square" and kept and kept[0].start <= lead and kept[0].bare:
            outside = not text[text.rfind("\n", 0, mark.start) + 1 : mark.start].strip()
        if known and (mark.shape != "square" or outside):
            kept.append(replace(mark, bare=mark.shape in ("square", "pipe", "label")))
        elif mark.shape in ("pipe", "wide"):
            kept.append(replace(mark, does="cuts"))
    return kept


def _all_marks(text: str) -> Iterator[Mark]:
    found = itertools.islice(_MARK.finditer(text.translate(_BRACKETS)), _MOST_MARKS)
    for number, match in enumerate(found, 1):
        shape = match.lastgroup if match.lastgroup not in ("to", "more", "empty") else None
        shape = shape or ("channel" if match["channel"] else "angle")
        name = _letters(match[shape])
        does: Literal["opens", "closes", "cuts"] = "opens"
        if shape == "angle" and "select" in (match["more"] or "").lower():
            continue
        if match["empty"] or (shape == "unused" and not name):
            # <think/> and a reserved token close what they belong to, and open nothing.
            if is_reasoning(name) or not name:
                yield Mark(match.start(), match.end(), name or "end", "cuts", shape)
            continue
        if shape == "channel":
            # A message to a tool holds the query that it is to run.
            name = "query" if "to=" in (match["to"] or "") else name
        elif shape in ("comment", "uncomment"):
            name, does = "comment", "opens" if shape == "comment" else "closes"
        elif match[shape].startswith("/") or shape in ("right", "closed"):
            does = "closes"
        elif shape != "label" and shape != "square" and name not in _ENDS:
            opened, closed = _OPENING.sub("", name), _CLOSING.sub("", name)
            if opened == name and closed not in (name, ""):
                does = "closes"
            name = (closed if does == "closes" else opened) or name
        if name in _ENDS and (shape != "square" or name == "inst"):
            does = "cuts"
        yield Mark(match.start(), match.end(), name, does, shape)
        if number == _MOST_MARKS:
            # What stands behind so many is not looked at.
            yield Mark(match.end(), match.end(), "think", "opens", "label")


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
    if mark.bare or mark.shape in ("channel", "skipped", "label"):
        # A message, and what is called final, ends whatever was open before.
        return (mark,)
    return (*stack, mark) if len(stack) < _MOST_OPEN else stack


def _rank(stack: tuple[Mark, ...]) -> int | None:
    if any(is_reasoning(mark.name) for mark in stack):
        return None
    ranks = [answer_rank(mark.name) or -1 for mark in stack] or [0]
    return min(ranks) if -2 in ranks else max(ranks)
