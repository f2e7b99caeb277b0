"""The fence that ends an answer of several lines.

Text of a prompt or of an answer so far -> whether a fenced query has just been closed. Prose before
a fence ends nothing, nor does a fenced block without a query, or any fence in a reasoning block
that is still open: what is graded comes after it. What is reasoning, and which fence holds a query,
is known to ``data/answer_marks.py``, as the reader of answers knows it.
"""

from __future__ import annotations

import re

from harness.data.answer_marks import FENCE, fences, is_query, pieces, reasoning_is_open
from harness.data.answer_sections import sections, uncommented

_LINE_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
_OPEN_FENCE = re.compile(r"```[ \t]*\w*\s*\Z")


def closes_query(text: str) -> bool:
    """Whether ``text`` holds a closed fence with a query in it, after any reasoning."""
    *_, last = found = list(pieces(text))
    if last.rank is None:
        return False
    reasoned = max((piece.end for piece in found if piece.rank is None), default=0)
    after = text[reasoned:]
    marks = list(FENCE.finditer(after))
    drafts = [one for one in sections(after) if one.draft]
    for opening, (language, content) in zip(
        marks[: len(marks) // 2 * 2 : 2], fences(after), strict=False
    ):
        in_draft = any(one.start <= opening.start() < one.end for one in drafts)
        if not in_draft and is_query(language, uncommented(content, empty=True)):
            return True
    return False


def left_open(prompt: str) -> str:
    """The marks of what a prompt leaves open, so that its answer is read as going on with it.

    A block of reasoning is open where the prompt ends with its mark; a prompt that only mentions
    one leaves nothing open.
    """
    ended = prompt.rstrip()
    *_, last = pieces(ended)
    reasoning = "<think>" if last.start == len(ended) and reasoning_is_open(ended) else ""
    fence = len(_LINE_FENCE.findall(prompt)) % 2 or (
        len(FENCE.findall(prompt)) % 2 and _OPEN_FENCE.search(prompt[-80:])
    )
    return reasoning + ("```" if fence else "")
