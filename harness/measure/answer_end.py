"""The fence that ends an answer of several lines.

Text of a prompt or of an answer so far -> whether a fenced query has just been closed. Prose before
a fence ends nothing, nor does a fenced block without a query, or any fence in a reasoning block
that is still open: what is graded comes after it. How the query is then found in the text is
``sql/read/statement.py``, which does not know models.
"""

from __future__ import annotations

import re

FENCE = "```"
_REASONING = re.compile(
    r"<(/?)(?:think|thinking|thoughts?|reasoning|analysis|scratchpad|reflection)>"
    r"|\[(/?)THINK\]|<\|channel\|>(?:(final)|analysis|commentary)",
    re.IGNORECASE,
)
_QUERY = re.compile(r"\bselect\b", re.IGNORECASE)


def closes_query(text: str) -> bool:
    """Whether ``text`` holds a closed fence with a query in it, after any reasoning."""
    marks = list(_REASONING.finditer(text))
    if marks and not any(marks[-1].groups()):
        return False  # the last mark opens a block
    blocks = text[marks[-1].end() if marks else 0 :].split(FENCE)
    return any(_QUERY.search(block) for block in blocks[1:-1:2])


def left_open(prompt: str) -> str:
    """The marks of what a prompt leaves open, so that its answer is read as going on with it."""
    marks = list(_REASONING.finditer(prompt))
    reasoning = "<think>" if marks and not any(marks[-1].groups()) else ""
    return reasoning + (FENCE if prompt.count(FENCE) % 2 else "")
