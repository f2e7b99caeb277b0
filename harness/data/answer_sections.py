"""Which part of a text that no tag encloses is a draft: by its labels, keys and comments.

Text -> its sections, each with whether a label or a key says that a draft stands there, and the
text without what is commented out, struck out or quoted. A draft counts only where nothing else is
offered. All of it takes time linear in the text.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.data.answer_marks import (
    ANSWERS,
    DRAFTS,
    begins_statement,
    fence_at,
    holds_statement,
    is_draft,
    is_reasoning,
)

_LABEL = re.compile(
    r"^(?P<lead>[ \t#>*_=~\[(•-]{0,12})(?P<label>[^\W\d_][\w'’]*(?:[ \t/-]{1,3}[\w'’]+){0,5})"
    r"(?P<trail>[ \t\])*_#=]{0,12})(?P<colon>[:：]|$)"
    r"|(?<![\w.])[\"']?(?P<key>[^\W\d]\w{0,60})[\"']?\s{0,4}[:=]{1,2}\s{0,4}\(?\s{0,8}[frbFRB]{0,2}"
    r"[\"'`]{1,3}\s{0,8}(?=select\b)",
    re.IGNORECASE | re.MULTILINE,
)
_GAP = re.compile(r"\n[ \t]*\n")
_COMMENTED = re.compile(
    r"^[ \t]*(#(?!#)|//|--|REM\b|❌|✗|✘|>)[^\n]*?\bselect\b[^\n]*(?:\n[ \t]*\1[^\n]*)*"
    r"|~~(?=\S)[^~\n]{0,2000}?\bselect\b[^~\n]{0,2000}~~",
    re.IGNORECASE | re.MULTILINE,
)
_RETRACTED = re.compile(
    r"(?:^|[.!?;][ \t]+)[ \t*_]{0,4}(?:but,?[ \t]|oh,?[ \t])?(?:wait\b|oops\b|hold on\b"
    r"|correction\b|scratch that\b|on second thought|i made a mistake|no, that\b|actually[,:]"
    r"|(?:that|this)(?:'s|’s| is| was) (?:wrong|incorrect|a mistake|not (?:right|correct))"
    r"|let me (?:fix|correct|revise|redo|rewrite|reconsider))",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Section:
    """The text from a label or key to the next; ``kind``: what its name says, ``draft``,
    ``answer`` (of a query) or ``final``, or nothing."""

    start: int
    end: int
    kind: str

    @property
    def draft(self) -> bool:
        """Whether it counts only where nothing else is offered."""
        return self.kind == "draft"


def sections(text: str, keys: bool = False) -> list[Section]:
    """The sections of a text, in order, at least one: by its labels, and in a program or data that
    no parser reads by its ``keys``. A draft goes on to the next label of an answer, or else to the
    end of its paragraph."""
    fenced = fence_at(text)
    starts = [(0, "")]
    for match in _LABEL.finditer(text):
        heading = match["colon"] or any(sign in (match["lead"] or "") for sign in "#=*[")
        if match["key"] and keys:
            starts.append((match.start(), _key_kind(match["key"])))
        elif match["label"] and heading and not fenced(match.start()):
            starts += [(match.start(), kind)] if (kind := _label_kind(match["label"])) else []
    answers = [start for start, kind in starts if kind not in ("", "draft")]
    gaps = [match.start() for match in _GAP.finditer(text)]
    found: list[Section] = []
    for (start, kind), (end, _) in itertools.pairwise((*starts, (len(text), ""))):
        least = min(end, _paragraph_end(text, start, gaps)) if kind == "draft" else end
        if kind == "draft" and (not answers or start > answers[-1]):
            found += [Section(start, least, kind), Section(least, end, "")]
        else:
            found.append(Section(start, end, kind))
    return found


def _key_kind(name: str) -> str:
    return "draft" if is_draft(name) or is_reasoning(name) else "answer"


def _label_kind(name: str) -> str:
    """``draft``, ``answer`` or ``final``, or nothing for a label that says none of them."""
    low = name.lower()
    if any(stem in low for stem in DRAFTS[0]):
        return "draft"
    # "Here is the query for your question, step by step:"
    if found := [at for at, stems in enumerate(ANSWERS) if any(stem in low for stem in stems)]:
        return "answer" if 1 in found else "final"
    return "draft" if is_draft(name) or is_reasoning(name) else ""


def _paragraph_end(text: str, start: int, gaps: list[int]) -> int:
    """Where the paragraph of a label ends, or the one after a label that stands alone."""
    line = text.find("\n", start, start + 200)
    alone = line >= 0 and text[start:line].rstrip(" \t*_#=]").endswith((":", "："))
    alone = alone or (line >= 0 and ":" not in text[start:line])
    after = line + 1 + len(text[line + 1 : line + 200]) - len(text[line + 1 : line + 200].lstrip())
    at = bisect.bisect_left(gaps, after if alone else start)
    return gaps[at] if at < len(gaps) else len(text)


def retraction(text: str) -> int:
    """Where the last sentence stands that takes back what is before it; or -1."""
    return max((match.start() for match in _RETRACTED.finditer(text)), default=-1)


def uncommented(text: str, empty: bool = False) -> str:
    """``text`` without statements in comments, struck out or quoted, and without the comments
    before the first statement; as it is where no statement is left, unless it may be ``empty``."""
    plain = _COMMENTED.sub("", "".join(_outside_comments(text)))
    return plain if empty or begins_statement(plain) else text


def _outside_comments(text: str) -> Iterator[str]:
    """The text without block comments that hold a SELECT or come before any."""
    at, begun = 0, False
    while (start := text.find("/*", at)) >= 0 and (end := text.find("*/", start + 2)) >= 0:
        begun = begun or "select" in text[at:start].lower()
        dropped = not begun or "select" in text[start:end].lower()
        yield text[at : start if dropped else end + 2]
        at = end + 2
    yield text[at:]


def offered(text: str, keys: bool = False) -> str:
    """What of a text is to be searched for the answer: from the first section that holds a
    statement and is no draft to the next draft, or all where there is nothing else; empty where the
    label of a final answer has none."""
    found = sections(text, keys)
    if not any(one.draft for one in found):
        return text
    for number, one in enumerate(found):
        if not one.draft and holds_statement(text[one.start : one.end]):
            ends = (later.start for later in found[number:] if later.draft)
            return text[one.start : next(ends, len(text))]
    return "" if any(one.kind == "final" for one in found) else text


def only_drafts(text: str) -> bool:
    """Whether what a text holds is called a draft."""
    found = sections(text)
    others = (text[one.start : one.end] for one in found if not one.draft)
    return any(one.draft for one in found) and not any(map(holds_statement, others))
