"""Scanning schema names and literals out of a model's text.

Text + names of a table -> every column that can start at a position, and every place where a
literal that starts there can end. A header may hold any character (``No.``, ``Winner's
Country``, ``Moving from``), so the text is matched against the schema instead of being cut by a
tokenizer. The parser chooses among the possibilities (dialect.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

from harness.sql.column_names import Names, fold_characters, plain
from harness.sql.failures import Failure

T = TypeVar("T")

_WORD = re.compile(r"[^\W\d]\w*")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:,\d+)*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_LISTED_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_CLOSING = {'"': '"', "`": "`", "[": "]", "“": "”", "＂": "＂"}
_OPERATOR = re.compile(r"==|>=|<=|<>|!=|=|>|<")
_SPACE = re.compile(r"\s*")
# ``// 3`` divides.
_COMMENT = re.compile(r"(?:--|//(?!\s*[\d(.])|#+(?!\w))[^\n]*|#[^\n]*|/\*(?:[^*]|\*(?!/))*\*/")
MAX_STEPS = 20_000

QUOTES = {
    "'": "'",
    '"': '"',
    "‘": "’",
    "’": "’",
    "“": "”",
    "”": "”",
    "„": "“",
    "＇": "＇",
    "＂": "＂",
}
"""What opens a literal, and what closes it."""

CLAUSES = (("group", "by"), ("order", "by"), ("limit",), ("fetch",))
"""What may follow the conditions, as keywords."""

TAILS = {
    "a semicolon": r"[;；。]",
    "a tag": r"</?[A-Za-z][^<>\n]{0,60}>|\[/?[A-Z][A-Z_ ]+\]|\{[A-Z_]+\}",
    "a token": r"<[|｜<]|<(?=\s*\Z)",
    "the number of rows": r"\(\s*\d+\s+rows?\b[^()\n]*\)|\d+\s+rows?\s+in\s+set",
    "a word that ends a script": r"(?:END|EOS|EOF|STOP|DONE|GO)\b(?=\W*\Z)",
    "an arrow or a line": r"->|=>|→|⇒|-{3}|={3}|~{3}",
    "a line break in letters": r"\\{1,2}[nrt]",
    "the end of a sentence": r"[.!?！？](?:\s|\Z)|[*_`”’]+(?=\W*\Z)",
    "another sign that is no SQL": r"[$@\\\\{}§¶•…✓✅]",
}
"""What may follow a whole statement and is cut off, as patterns by name. Comments are skipped."""

_TAIL = re.compile("|".join(TAILS.values()))
_GOES_ON = re.compile(
    r"\b(?:and|or|where|having|union|limit)\b|\b(?:group|order)\s+by\b|\boffset\s+\d"
    r"|\b(?:except|intersect|minus)\s+(?:all\s+)?\(?\s*select\b|\bjoin\s+\S+\s+(?:on|using)\b"
    r"|\bqualify\b|\bfetch\s+(?:first|next)\b|\b(?:using\s+|table)sample\b",
    re.IGNORECASE,
)
_COMPARES = re.compile("[<>=]")


class TooComplex(Exception):
    """The text has more readings than are worth trying."""


class Scanner:
    """Finds what can start at a position of one text; the work that it does is bounded."""

    def __init__(self, text: str, names: Names) -> None:
        self.text = text
        # Lower case, with the punctuation that SQL knows; the positions are those of the text.
        self.low = fold_characters(text)
        self.names = names
        self.end = len(text)
        # Whether the FROM could stand in SQL or only in the dialect; the parser sets it.
        self.is_sql = False
        self._steps = 0
        self._columns: dict[int, list[tuple[int | Failure, int]]] = {}
        self._kept: dict[tuple[str, Hashable], Any] = {}
        self.furthest = 0
        self.problem: Failure | None = None

    def step(self) -> None:
        """Count one unit of work.

        Raises:
            TooComplex: the budget is spent.
        """
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TooComplex

    def fail(self, position: int, failure: Failure) -> None:
        """Remember the failure that lies furthest into the text: it is the one to report."""
        if position >= self.furthest:
            self.furthest, self.problem = position, failure

    def kept(self, what: str, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, made once for each ``key``."""
        if (what, key) not in self._kept:
            self._kept[what, key] = make()
        found: T = self._kept[what, key]
        return found

    def skip(self, position: int) -> int:
        """The next position that is not white space."""
        if position >= self.end or not self.text[position].isspace():
            return position
        position += 1
        if position >= self.end or not self.text[position].isspace():
            return position
        return self.kept("space", position, lambda: self._after(_SPACE, position))

    def over_comments(self, position: int) -> int:
        """The next position, after a whole condition or clause, that is neither white space nor in
        a comment."""
        position = self.skip(position)
        if position >= self.end or self.text[position] not in "-/#":
            return position
        return self.kept("comments", position, lambda: self._over_comments(position))

    def _over_comments(self, position: int) -> int:
        while (after := self._after(_COMMENT, position)) > position:
            position = self.skip(after)
        return position

    def _after(self, pattern: re.Pattern[str], position: int) -> int:
        match = pattern.match(self.text, position)
        return position if match is None else match.end()

    def ends_at(self, position: int) -> bool:
        """Whether a whole statement can end at ``position``: nothing follows, or a tail."""
        position = self.over_comments(position)
        if position >= self.end or self.low[position] == ";":
            return True
        match = _TAIL.match(self.text, position)
        if match is None:
            return False
        before = self.text[:position].rstrip()[-1:]
        if match[0][0] == "!" and (before.isdigit() or before == ")"):
            return False  # a factorial
        # A condition after a sign that is not understood would be lost.
        rest = self.text[match.end() :]
        return not (_GOES_ON.search(match[0]) or _GOES_ON.search(rest) or _COMPARES.search(rest))

    def keyword(self, position: int, *words: str) -> int:
        """The position after the keywords (lower case) and white space, or -1."""
        for word in words:
            if not self.low.startswith(word, position):
                return -1
            after = position + len(word)
            if after < self.end and (self.text[after].isalnum() or self.text[after] == "_"):
                return -1
            position = self.skip(after)
        return position

    def operator(self, position: int) -> tuple[str, int] | None:
        """A comparison operator and the position of its value."""
        match = _OPERATOR.match(self.low, position)
        if match is None:
            return None
        found = {"==": "=", "!=": "<>"}.get(match[0], match[0])
        return found, self.skip(match.end())

    def columns(self, position: int) -> list[tuple[int | Failure, int]]:
        """Every column that can be read at ``position``, each with the position after it.

        The longest comes first; an ambiguous or unknown name is a Failure in place of the column.
        """
        known = self._columns.get(position)
        if known is None:
            self.step()
            known = self._columns[position] = self._read_columns(position)
        return known

    def known_columns(self, position: int) -> Iterator[tuple[int, int]]:
        """The :meth:`columns` that are known; of the others the failures are remembered."""
        for column, after in self.columns(position):
            if isinstance(column, int):
                yield column, after
            else:
                self.fail(after, column)

    def _read_columns(self, position: int) -> list[tuple[int | Failure, int]]:
        if position >= self.end:
            return []
        found: dict[int, int | Failure] = {}
        ranks: dict[int, int] = {}
        for index, name, words in self.names.spellings.get(self.low[position], ()):
            after = self._words_end(words, position)
            if after < 0:
                continue
            written = self.text[position:after]
            # Exact spelling comes before spaces and case, these before underscores for spaces.
            rank = 0 if written == name else 1 + ("_" in written and "_" not in name)
            if after not in found or rank < ranks[after]:
                found[after], ranks[after] = index, rank
            elif rank == ranks[after] and found[after] != index:
                found[after] = Failure("ambiguous_column", f"{written!r} fits several columns")
        closing = _CLOSING.get(self.text[position])
        if closing:
            for number, (name, after) in enumerate(self._quoted_names(position, closing)):
                # A later closing quote counts only where a header holds quotes itself.
                if after not in found and (number == 0 or plain(name) in self.names.plain):
                    found[after] = self.names.column(name)
        if not any(isinstance(column, int) for column in found.values()):
            word = _WORD.match(self.text, position)
            if word and word.end() not in found:
                found[word.end()] = self._loose(word[0])
        return [(found[after], after) for after in sorted(found, reverse=True)]

    def _loose(self, word: str) -> int | Failure:
        """A bare word that is not a header as it stands: an identifier made from one, or unknown.

        In the dialect headers are not abbreviated, so ``Share`` does not mean ``Share (%)``
        there; sqlglot_reader.py, where names must be identifiers, is more lenient.
        """
        column = self.names.column(word)
        if isinstance(column, int) and "_" not in word and not word.lower().startswith("col"):
            return Failure("unknown_column", f"{word!r} is no column of {self.names.table.id}")
        return column

    def _words_end(self, words: list[str], position: int) -> int:
        """The position after a name of these words at ``position``, or -1.

        White space or, in an identifier made from a header, ``_`` stands between them.
        """
        for number, word in enumerate(words):
            if number:
                start = self.skip(position)
                if start == position:
                    start += 1
                    if self.low[position : position + 1] != "_":
                        return -1
                position = start
            if not self.low.startswith(word, position):
                return -1
            position += len(word)
        if position < self.end and _wordlike(words[-1][-1]) and _wordlike(self.text[position]):
            return -1
        return position

    def _quoted_names(self, position: int, closing: str) -> Iterator[tuple[str, int]]:
        """Names in identifier quotes; a doubled closing quote may stand for one."""
        for at in self.ends(position, closing):
            inner = self.text[position + 1 : at].replace(closing * 2, closing)
            yield inner, at + 1
            doubled = self.text[at + 1 : at + 2] == closing
            too_long = at - position > 2 * self.names.longest + 100
            if too_long or not (doubled or self._inside_header(inner)):
                return

    def _inside_header(self, inner: str) -> bool:
        key = plain(inner)
        return any(name.startswith(key) and name != key for name in self.names.plain)

    def ends(self, position: int, quote: str) -> Iterator[int]:
        """Positions of the quotes that could close what is opened at ``position``."""
        while (position := self.text.find(quote, position + 1)) >= 0:
            self.step()
            yield position

    def number(self, position: int, listed: bool) -> int:
        """The position after a number, or -1; in a list a comma is not part of a number."""
        match = (_LISTED_NUMBER if listed else _NUMBER).match(self.text, position)
        return match.end() if match else -1


def _wordlike(character: str) -> bool:
    return character.isalnum() or character == "_"


def unquote(content: str, quote: str) -> str:
    """The value of a literal: a doubled quote or one after a backslash stands for one quote."""
    if "\\" in content:
        content = re.sub(rf"\\{quote}(?!{quote})", quote, content)
    return content.replace(quote * 2, quote)
