"""Which part of an answer holds the query: raw answer -> block of text.

Reasoning (``<think>``) is not the answer; a JSON object's ``sql`` is; of code fences the first
that holds a SELECT is. Markdown's escaped underscores and comment lines are undone. Finding the
statement in the block is clean.py's work.
"""

from __future__ import annotations

import json
import re

MAX_TEXT = 200_000

_SELECT = re.compile(r"\bselect\b", re.IGNORECASE)
_FENCE = re.compile(r"```[ \t]*([A-Za-z0-9_+-]*)[ \t]*\r?\n?(.*?)(?:```|\Z)", re.DOTALL)
_LEADING_COMMENT = re.compile(r"\s*/\*.*?\*/", re.DOTALL)
_COMMENT_LINE = re.compile(r"^[ \t]*--.*$\n?", re.MULTILINE)
_KEYS = ("sql", "query", "SQL", "answer")


def answer_block(text: str) -> str:
    """The block to look for a statement in; empty when the answer is only reasoning."""
    text = text[:MAX_TEXT].removeprefix("\ufeff").replace("\r\n", "\n")
    text = _without_reasoning(text)
    if text.lstrip().startswith("{"):
        text = _json_answer(text)
    fences = [match[2] for match in _FENCE.finditer(text) if match[2].strip()]
    with_select = [fence for fence in fences if _SELECT.search(fence)]
    if with_select:
        # A later fence is an alternative; the first counts.
        text = with_select[0]
    elif fences and not _SELECT.search(text):
        text = fences[0]
    text = _COMMENT_LINE.sub("", text)
    leading = _LEADING_COMMENT.match(text)
    if leading:
        text = text[leading.end() :]
    return text.replace("\\_", "_")


def _without_reasoning(text: str) -> str:
    """The text after reasoning; reasoning that never ends leaves nothing after it."""
    low = text.lower()
    end = low.rfind("</think>")
    if end >= 0:
        return text[end + len("</think>") :]
    start = low.find("<think>")
    return text if start < 0 else text[:start]


def _json_answer(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict):
        for key in _KEYS:
            if isinstance(value.get(key), str):
                return str(value[key])
    return text
