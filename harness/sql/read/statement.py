"""Finding the statement in an answer.

Raw answer -> the block of text that holds the query -> the statements that may be meant, in the
order to try them. Reasoning (``<think>``) is left out; of a JSON object its ``sql`` is taken, of
code fences the first that holds a SELECT; Markdown's escaped underscores and comment lines are
undone. Of a block these are cut off: end-of-text tokens, prose before and after, a stray leading
token (``11 SELECT …``), a following question, further statements. Quoted text inside the statement
is left as it is. Reading the statement is the work of reader.py.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass

MAX_TEXT = 200_000
MAX_STATEMENT = 8_000
_MAX_FOUND = 8

_SELECT = re.compile(r"\bselect\b", re.IGNORECASE)
_FENCE = re.compile(r"```[ \t]*([A-Za-z0-9_+-]*)[ \t]*\r?\n?(.*?)(?:```|\Z)", re.DOTALL)
_LEADING_COMMENT = re.compile(r"\A\s*/\*.*?\*/", re.DOTALL)
_COMMENT_LINE = re.compile(r"^[ \t]*--.*$\n?", re.MULTILINE)
_KEYS = ("sql", "query", "SQL", "answer")
_END_TOKEN = re.compile(
    r"<\|[A-Za-z_][\w.-]{0,40}\|>|</s>|<s>|<eos>|<pad>|<end_of_turn>|\[/?INST\]|<｜[^｜\n]{1,40}｜>"
)
_INLINE = re.compile(r"`\s*(select\s[^`]*\sfrom\s[^`]*)`", re.IGNORECASE)
_CLAUSES = frozenset(("from", "where", "group", "order", "having", "limit", "and", "or"))
_COMMENT = re.compile(r"\s--[^\n'\"]*\Z")
# What may stand around a statement: bold type, the quotes of a string in a program.
_WRAPPING = re.compile(r"(?:\*{1,3}|\"{3}|'{3}|\"|')\Z")
_STATEMENT = re.compile(r"\bfrom\b|[;(]", re.IGNORECASE)
_CTE = re.compile(
    r"with\s+(?:recursive\s+)?[\w\".`]+\s*(?:\([^)]*\)\s*)?as\b[^;]{0,40}?\(", re.IGNORECASE
)
_OTHER = re.compile(
    r"(with|insert|update|delete|drop|create|alter|copy|attach|detach|pragma|set|call|"
    r"explain|describe|show|export|import|install|load|truncate|vacuum|values|summarize|use|begin|"
    r"merge|pivot|unpivot|from|checkpoint|analyze|prepare|execute|reset|grant|table)\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"\s*(from|where|and|or|not|group\s+by|order\s+by|having|limit|offset|union|intersect|except|join|inner|left"
    r"|right|full|cross|on|in|like|between|is|select|[,()=<>*]|(?:max|min|count|sum|avg)\s*\()",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(
    r"(?:\b(?:select|from|where|and|or|not|by|in|like|between|distinct|on|join|limit|having)|[,(=<>+*/|-])\s*\Z",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"\s*(?:Q|A|table|columns|Question|Answer|SQL|Explanation|Note|###.*)\s*:", re.IGNORECASE
)


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
    text = _LEADING_COMMENT.sub("", _COMMENT_LINE.sub("", text), count=1)
    return text.replace("\\_", "_")


def _without_reasoning(text: str) -> str:
    """The text after reasoning; where reasoning never ends, the text before it."""
    parts = re.split("</think>", text, flags=re.IGNORECASE)
    return parts[-1] if len(parts) > 1 else re.split("<think>", text, flags=re.IGNORECASE)[0]


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


@dataclass(frozen=True, slots=True)
class Found:
    """A statement found in a text. ``certain`` is False for a SELECT in mid-sentence, which is
    skipped when nothing can be read from it."""

    statement: str
    certain: bool


def statements(block: str) -> list[Found]:
    """The statements of ``block`` that start with SELECT, in order; empty when there is none."""
    inline = _INLINE.search(block)
    first = _SELECT.search(block)
    if inline and first and not _certain(block, first):
        return [Found(inline[1].strip(), True)]
    found: list[Found] = []
    for match in itertools.islice(_SELECT.finditer(block), _MAX_FOUND):
        found.append(Found(_cut(block, match.start()), _certain(block, match)))
        if found[-1].certain:
            break
    return found


def other_statement(block: str) -> str | None:
    """The keyword of a statement that is no SELECT, if that is what the block starts with.

    A word like "With" or "Show" also starts sentences; so before a SELECT it must be written in
    capitals, define a CTE, or end with a semicolon.
    """
    body = block.lstrip(" \t\r\n;(")
    match = _OTHER.match(body)
    if match is None:
        return None
    keyword = match[1].upper()
    select = _SELECT.search(body)
    if select is None:
        return keyword
    before = body[: select.start()]
    if keyword == "WITH":
        return keyword if _CTE.match(body) else None
    return keyword if match[1].isupper() or ";" in before else None


def _certain(text: str, match: re.Match[str]) -> bool:
    """Whether a SELECT starts a statement rather than being a word of a sentence."""
    if text[: match.start()].endswith("`") and _INLINE.match(text, match.start() - 1):
        return False
    following = _SELECT.search(text, match.end())
    if following and not _STATEMENT.search(text, match.end(), following.start()):
        # "the SELECT statement: SELECT …"
        return False
    before = text[: match.start()].rsplit("\n", 1)[-1].strip()
    starts = before[-1:] in ":;`(>*-" or re.fullmatch(r"[\W\d]*", before) is not None
    return match[0].isupper() or starts


def _cut(text: str, start: int) -> str:
    """The statement from ``start``: up to an end token, a fence, or a line that does not go on."""
    before = _WRAPPING.search(text[:start])
    text = text[start:]
    end_token = _END_TOKEN.search(text)
    if end_token:
        text = text[: end_token.start()]
    text = text.split("```", 1)[0]
    lines = text.split("\n")
    kept = [_COMMENT.sub("", lines[0])]
    gap = False
    for line in lines[1:]:
        if not line.strip():
            gap = True
        elif not line.lstrip().startswith("--"):
            line = _COMMENT.sub("", line)
            if not _continues("\n".join(kept).rstrip(), line, gap):
                break
            kept.append(line)
            gap = False
    statement = "\n".join(kept).strip()
    if before and statement.rstrip(";").endswith(before[0]):
        statement = statement.rstrip(";")[: -len(before[0])]
    if statement.endswith(".") and statement[-2:-1] in "'\"`)];":
        statement = statement[:-1]
    return statement


def _continues(done: str, line: str, gap: bool) -> bool:
    """Whether ``line`` belongs to the statement ``done``; ``gap`` is a blank line between them.

    A clause that is taken for prose would silently widen the query. So a line that looks like a
    clause is kept; only a capitalized word (``Where …``) without a comparison is prose.
    """
    if done.endswith(";"):
        return False
    opened = "\n" in done and done.count("(") > done.count(")")
    if opened or _UNFINISHED.search(done[-40:]) is not None:
        return True
    if _QUESTION.match(line):
        return False
    match = _GOES_ON.match(line)
    if match is None:
        return False
    word = match[1].split()[0] if match[1][0].isalpha() else ""
    if not word:
        return not gap
    if not word.istitle() or done[:6].istitle():
        return not gap or word.isupper() or done[:6].islower() or word in _CLAUSES
    return word.lower() in _CLAUSES and re.search(r"[<>=]", line) is not None
