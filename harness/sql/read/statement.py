"""Finding the statement in a block of text.

Block -> the statements that may be meant, in the order to try them. Cut off are end-of-text tokens,
prose before and after, a stray leading token (``11 SELECT …``), a following question, further
statements, and what a statement is wrapped in: quotes (their escapes are undone), parentheses,
bold type. Quoted text inside the statement is left as it is. The block is found by answer.py;
reading the statement is the work of reader.py.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.data.answer_marks import NO_CLAUSE

MAX_STATEMENT = 8_000
_MAX_FOUND = 8

_ANY_SELECT = re.compile(r"\bselect\b", re.IGNORECASE)
_SELECT = re.compile(rf"\bselect\b{NO_CLAUSE}", re.IGNORECASE)
_FROM = re.compile(r"\bfrom\b", re.IGNORECASE)
_END_TOKEN = re.compile(
    r"<\|[A-Za-z_][\w.-]{0,40}\|>|</s>|<s>|<eos>|<pad>|<end_of_turn>|\[/?INST\]|<｜[^｜\n]{1,40}｜>|```"
)
_CLAUSES = frozenset(("from", "where", "group", "order", "having", "limit", "and", "or"))
# What may stand around a statement: bold type, the quotes of a string in a program.
_WRAPPING = re.compile(r"(?:\*{1,3}|\"{3}|'{3}|\"|'|`)\Z")
_STRING = re.compile(r"(\"{3}|'{3}|[\"'`“‘])\s*\Z")
_ENDS_STRING = re.compile(r"[ \t]*(?:[,)\]};.:\n]|\Z|[ \t])")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "", "t": " ", '"': '"', "'": "'", "\\": "\\", "/": "/", "`": "`"}
_LIST_ITEM = re.compile(r"\A\s*(?:\d{1,3}[.)]|[-*•+])\s*\**\s*\Z")
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
_NO_SENTENCE = re.compile(
    r"(?:explain|describe|summarize|show|analyze)\s+(?:analyze\s+)?(?=select\s)|insert\s+into\s"
    r"|delete\s+from\s|update\s+\S+\s+set\s|copy\s*\(|drop\s+(?:table|view)\s"
    r"|create\s+(?:or\s+replace\s+)?(?:temp\w*\s+)?(?:table|view)\s+\S+\s+as\s",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"\s*((?:from|where|and|or|not|group\s+by|order\s+by|having|limit|offset|fetch|union|intersect"
    r"|except|join|inner|left|right|full|cross|on|in|like|between|is)\b(?!\s*[,:])|[,()=<>*]"
    r"|(?:max|min|count|sum|avg)\s*\()",
    re.IGNORECASE,
)
# A line that can only go on with a statement, however it is written.
_COMPARED = r"[<>=]|\b(?:i?like|between|in\s*\(|is\s+(?:not\s+)?null|exists\s*\()"
_CLAUSE = re.compile(
    rf"\s*(?:(?:where|prewhere|and|or|on|having|qualify)\b(?!\s*[,:]|\s+\(?select\b)(?=.*(?:{_COMPARED}))"
    r"|(?:limit|offset)\s+(?:\d|all\b|\()|fetch\s+(?:first|next)\b|(?:group|order)\s+by\s+\S"
    r"|(?:union|intersect|except|minus)\b(?:\s+(?:all|distinct|by\s+name))?\s*(?:\Z|\(|select\b)"
    r"|(?:desc|asc)\s*(?:\Z|[,;)]|(?:nulls|limit|offset|fetch)\b)|nulls\s+(?:first|last)\b"
    r"|using\s+sample\b|(?:table)?sample\s+\S*\d|(?:(?:natural|anti|semi|asof|positional|lateral"
    r"|outer|cross|inner|left|right|full|straight)\s+)*(?:join\s+\S|apply\b)|with\s*\("
    r"|window\s+\w+\s+as\b|for\s+(?:system_time|update|share|xml|json)\b|into\s+\w+\s*(?:\Z|from\b)"
    r"|collate\s+\w|(?:un)?pivot\s*\(|as\s+\w+\s*(?:\Z|,|where\b)|\|\|"
    r"|(?:[-+*%]|//?)\s*[\d.(][\d.()]*\s*(?:\Z|;|(?:and|or|limit|order|group)\b))",
    re.IGNORECASE,
)
_PROSE = re.compile(
    r"[.:]\s*\Z|\b(?:clause|conditions?|used|uses|this|query|filters?|ensures?|returns?|means)\b",
    re.IGNORECASE,
)
# What a shell prints before each line, or a list before each of its items.
_PROMPT = re.compile(r"\s*(?:[-=.]{0,3}>|\w{1,20}[-=(*'][#>]|\d{1,3}\s*[|.):]|[|+*-])\s+")
_NOTE = re.compile(r"\s*(?:--|#|//|\{#.*#\}\s*\Z|<!--.*-->\s*\Z)")
_BLOCK_COMMENT = re.compile(r"\s*/\*(?:[^*]|\*(?!/))*\*/")
_WORD = re.compile(r"\s*[^\W\d]\w{0,40}\s*\Z")
_CLOSES = re.compile(r"\s*(?:[;),]|\Z|\n|(?:and|or|limit|order|group|union)\b)", re.IGNORECASE)
_UNFINISHED = re.compile(
    r"(?:\b(?:select|from|where|and|or|not|by|in|like|between|distinct|on|join|limit|having|union"
    r"|all|intersect|except|minus)|[,(=<>+*/|-])\s*\Z",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"\s*(?:Q|A|table|columns|Question|Answer|SQL|Explanation|Note|###.*)\s*:", re.IGNORECASE
)
_SET_OPERATION = re.compile(r"\s*(?:union|intersect|except|minus)\b", re.IGNORECASE)
_EXPRESSION = re.compile(r"\b(?:exists|not|in|any|all|values)\s*\(\s*\Z", re.IGNORECASE)
_BRACKETS = {"(": ")", "{": "}", "[": "]"}


def other_statement(block: str) -> str | None:
    """The keyword of a statement that is no SELECT, if that is what the block starts with.

    A word like "With" or "Show" also starts sentences; so before a SELECT it must be written in
    capitals, define a CTE, or end with a semicolon.
    """
    body = block.lstrip(" \t\r\n;(")
    match = _OTHER.match(body)
    if match is None:
        return None
    if _NO_SENTENCE.match(body):
        return match[1].upper()
    keyword = match[1].upper()
    select = _ANY_SELECT.search(body)
    if select is None:
        return keyword
    before = body[: select.start()]
    if keyword == "WITH":
        return keyword if _CTE.match(body) else None
    return keyword if match[1].isupper() or ";" in before else None


@dataclass(frozen=True, slots=True)
class Found:
    """A statement found in a text.

    ``certain`` is False for a SELECT in mid-sentence or in a list, which counts only where none
    stands by itself, and is skipped when nothing can be read from it. ``capital`` tells whether it
    is written ``SELECT``, ``quoted`` whether it was a string.
    """

    statement: str
    certain: bool
    capital: bool
    quoted: bool = False


def statements(block: str) -> list[Found]:
    """The statements of ``block`` that start with SELECT, in order; empty when there is none."""
    found: list[Found] = []
    for match in itertools.islice(_SELECT.finditer(block), _MAX_FOUND):
        string = _string(block, match.start())
        certain = string is not None or _certain(block, match)
        text = _cut(block, match.start()) if string is None else _cut(string, 0)
        capital = match[0].isupper()
        found.append(Found(text, certain, capital, string is not None))
        if certain and capital:
            break
    alone = [one for one in found if one.certain]
    return alone or found


def _certain(text: str, match: re.Match[str]) -> bool:
    """Whether a SELECT starts a statement rather than being a word of a sentence."""
    following = _SELECT.search(text, match.end())
    if following and not _STATEMENT.search(text, match.end(), following.start()):
        # "the SELECT statement: SELECT …"
        return False
    line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    before = line.strip()
    if _LIST_ITEM.match(line):
        return False
    return before[-1:] in ":;`(>*-={[,“‘" or re.fullmatch(r"[\W\d]*", before) is not None


def _string(text: str, start: int) -> str | None:
    """The string that a SELECT at ``start`` begins, without its escapes; None where it is none."""
    opening = _STRING.search(text, max(0, start - 80), start)
    if opening is None:
        return None
    quote = opening[1]
    if "\n" in opening[0] and len(quote) == 1:
        before = text[: opening.start()].rstrip(" \t")[-1:]
        if before and before not in "([{=:,\n":
            return None
    closing = {"“": "”", "‘": "’"}.get(quote, quote)
    source = _FROM.search(text, start)
    end = -1 if source is None else _string_end(text, start, closing, source.end())
    if end < 0:
        return None
    content = text[start:end]
    return content if quote in "`“‘" else _ESCAPE.sub(_unescaped, content)


def _string_end(text: str, start: int, quote: str, least: int) -> int:
    """Where a string from ``start`` closes, beyond ``least``; or -1. Quotes of the same kind that
    stand in it unescaped come in pairs."""
    inner = 0
    at = start
    while (at := text.find(quote, at)) >= 0:
        while len(quote) == 3 and text.startswith(quote, at + 1):
            at += 1  # the last of more than three closes
        escaped = at - len(text[start:at].rstrip("\\")) - start if text[at - 1] == "\\" else 0
        if escaped % 2 == 0:
            alone = len(quote) == 3 or quote == "`" or inner % 2 == 0
            ends = _ENDS_STRING.match(text, at + len(quote)) is not None
            if alone and ends and at >= least and not (quote == '"' and text[at - 1] == " "):
                return at
            if quote == "`" and at < least:
                return -1  # MySQL's names
            inner += 1
        at += len(quote)
    return -1


def _unescaped(match: re.Match[str]) -> str:
    if len(match[1]) == 5:
        return chr(int(match[1][1:], 16))
    return _ESCAPED.get(match[1], match[0])


def _cut(text: str, start: int) -> str:
    """The statement from ``start``: up to an end token, a fence, or a line that does not go on."""
    line = text[text.rfind("\n", 0, start) + 1 : start]
    end_token = _END_TOKEN.search(text, start)
    lines = _on_one_line(text[start : end_token.start() if end_token else len(text)]).split("\n")
    statement = "\n".join(_kept(lines)).strip()
    for opened, closed in _BRACKETS.items():
        # (SELECT …), run(SELECT …), \boxed{SELECT …}
        unclosed = line.count(opened) - line.count(closed)
        while unclosed > 0 and statement.count(closed) > statement.count(opened):
            at = statement.rfind(closed)
            if _CLAUSE.match(statement, at + 1) or _SET_OPERATION.match(statement, at + 1):
                return opened * unclosed + statement
            statement = statement[:at].rstrip()
            unclosed -= 1
        if opened == "(" and (_EXPRESSION.search(line) or (unclosed and not line.strip(" \t("))):
            return line.strip() + statement
    before = _WRAPPING.search(line)
    if before and statement.rstrip(";").endswith(before[0]):
        statement = statement.rstrip(";")[: -len(before[0])]
    if statement.endswith(".") and statement[-2:-1] in "'\"`)];":
        statement = statement[:-1]
    return statement


def _on_one_line(text: str) -> str:
    """``text`` with each block comment on one line."""
    parts, at = [], 0
    while (opened := text.find("/*", at)) >= 0 and (closed := text.find("*/", opened + 2)) >= 0:
        parts += [text[at:opened], text[opened : closed + 2].replace("\n", " ")]
        at = closed + 2
    return "".join((*parts, text[at:]))


def _kept(lines: list[str]) -> Iterator[str]:
    """The first line, and those that go on with the statement, without their comments."""
    state = _Done()
    pending: str | None = None
    gap = False
    for number, line in enumerate(lines):
        if number:
            line = line[comment.end() :] if (comment := _BLOCK_COMMENT.match(line)) else line
            if not line.strip():
                gap = gap or comment is None
                continue
            if _NOTE.match(line) and not _CLAUSE.match(line):
                continue
        line = _without_comment(line)
        if number and not state.continues(line, gap, lines[number + 1 : number + 4]):
            if not (going_on := _after_prompt(line)):
                break
            line = going_on
        if pending is not None:
            yield pending
        pending = line
        state.add(line)
        gap = False
    # "or", alone on its line, between two statements.
    if pending is not None and (state.lines == 1 or pending.strip().lower() not in ("or", "and")):
        yield pending


def _after_prompt(line: str) -> str:
    """The clause after what a shell prints before a line; empty where there is none."""
    prompt = _PROMPT.match(line)
    rest = line[prompt.end() :] if prompt else ""
    return rest if _CLAUSE.match(rest) and not _PROSE.search(rest) else ""


def _without_comment(line: str) -> str:
    """A line without the comment after its last quote."""
    at = max(line.rfind("'"), line.rfind('"')) + 1
    while (at := line.find("--", at)) > 0:
        if line[at - 1].isspace():
            return line[: at - 1]
        at += 2
    return line


class _Done:
    """What of a statement has been taken, as far as the next line depends on it."""

    def __init__(self) -> None:
        self.lines = 0
        self._open = 0
        self._start = ""
        self._end = ""
        self._quotes = 0

    def add(self, line: str) -> None:
        """Take a line."""
        self.lines += 1
        self._open += line.count("(") - line.count(")")
        self._start = self._start or line[:6]
        self._end = line.rstrip()[-40:] or self._end
        self._quotes += line.count("'")

    def continues(self, line: str, gap: bool, following: list[str]) -> bool:
        """Whether ``line`` belongs to the statement; ``gap`` is a blank line before it, and
        ``following`` are the lines after it.

        A clause that is taken for prose would silently widen the query. So a line that looks like
        a clause is kept; only a capitalized word (``Where …``) without a comparison is prose.
        """
        if self._end.endswith(";"):
            return False
        opened = self.lines > 1 and self._open > 0
        if _ANY_SELECT.match(line.lstrip()) and self._end.strip().lower() in ("or", "and"):
            return False
        if opened or _UNFINISHED.search(self._end) is not None:
            return True
        if _QUESTION.match(line):
            return False
        if self._clause(line) or self._literal([line, *following]):
            return True
        if _WORD.match(line) and not gap and following and self._clause(following[0]):
            return True  # an alias
        match = _GOES_ON.match(line)
        if match is None:
            return False
        word = match[1].split()[0] if match[1][0].isalpha() else ""
        if not word:
            return not gap
        if not word.istitle() or self._start.istitle():
            return not gap or word.isupper() or self._start.islower() or word in _CLAUSES
        return word.lower() in _CLAUSES and re.search(r"[<>=]", line) is not None

    @staticmethod
    def _clause(line: str) -> bool:
        return _CLAUSE.match(line) is not None and _PROSE.search(line) is None

    def _literal(self, lines: list[str]) -> bool:
        """Whether a literal that was not closed before is closed in the first of these lines that
        holds a quote which is no apostrophe."""
        if self._quotes % 2 == 0:
            return False
        text = "\n".join(itertools.takewhile(lambda one: not _starts_anew(one), lines))
        for match in re.finditer("'", text):
            before, after = text[: match.start()][-1:], text[match.end() : match.end() + 1]
            if not (before.isalnum() and after.isalnum()):
                return _CLOSES.match(text, match.end()) is not None
        return False


def _starts_anew(line: str) -> bool:
    return _QUESTION.match(line) is not None or _ANY_SELECT.match(line.lstrip()) is not None
