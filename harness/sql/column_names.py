"""What the columns and the table of an example are called, and which of them a name means.

Table -> the unique names that its columns have in DuckDB and in prompts; a name from a model's text
-> a column index or a failure. A name is matched in steps: as written, without regard to case and
spaces, as a slug (``School_Club_Team`` for ``School/Club Team``), as ``col3`` (WikiSQL's own column
names, zero-based). A step that fits two columns is an ambiguity, never a choice. An example has one
table, so a placeholder names it as well as its id does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

from harness.data.prompts import identifiers
from harness.data.records import Table
from harness.sql.failures import Failure

PLACEHOLDERS = ("table", "table_name", "tablename", "your_table", "my_table", "this_table")
"""Words that stand for the one table of an example, as in WikiSQL's own ``FROM table``."""

DEFAULT_SCHEMAS = ("main", "dbo", "public", "default")
"""Schemas that a table is in when none is named: DuckDB's and SQLite's, T-SQL's, PostgreSQL's."""

_COL = re.compile(r"col(?:umn)?_?(\d{1,4})", re.IGNORECASE | re.ASCII)


PUNCTUATION = dict(zip("，；：（）＝＜＞！＊＂＇‘’‚“”„", ",;:()=<>!*\"''''\"\"\"", strict=True))
"""Full-width and curly punctuation, which stands for SQL's outside of values."""

_RISKY = re.compile(
    r"['\"`=<>;*]|^\(|\b(?:select|from|where|and|distinct)\b|^top\s*\(?\d|^\s|\s$|\s\s|[^\S ]",
    re.IGNORECASE,
)
_PUNCTUATION = str.maketrans(PUNCTUATION)


def fold_characters(text: str) -> str:
    """Lower case and SQL's punctuation, character by character, so that positions stay those of
    ``text``."""
    low = text.lower()
    if text.isascii():
        return low
    if len(low) != len(text):
        low = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    return low.translate(_PUNCTUATION)


def plain(name: str) -> str:
    """A name without regard to case and white space."""
    return " ".join((name.lower() if name.isascii() else fold_characters(name)).split())


def slug(name: str) -> str:
    """The letters and digits of a name, which remain when a model writes it as an identifier."""
    return "".join(c for c in fold_characters(name) if c.isalnum())


class Names:
    """Name resolution for one table."""

    def __init__(self, table: Table) -> None:
        self.table = table

    @cached_property
    def plain(self) -> list[str]:
        """The headers without regard to case and white space."""
        return [plain(name) for name in self.table.header]

    @cached_property
    def sql(self) -> list[str]:
        """The columns' unique names in DuckDB: those that the `sql` and `chat` prompts show."""
        shown = identifiers(self.table.header)
        # DuckDB has no name with a NUL.
        return [
            f"column {number}\u2400" if "\0" in name else name
            for number, name in enumerate(shown, 1)
        ]

    @cached_property
    def quoted(self) -> dict[str, int]:
        """The columns by their names in quotes; none where a name holds such a quote."""
        held = any('"' in name for name in self.table.header)
        return {} if held else {name: index for index, name in enumerate(self.sql)}

    @cached_property
    def unquoted(self) -> dict[str, int]:
        """The columns by headers that a pattern can find without quotes; none where some repeat or
        look like aggregates."""
        if len(set(self.plain)) < len(self.plain):
            return {}
        if any(name.startswith(("max ", "min ", "count ", "sum ", "avg ")) for name in self.plain):
            return {}
        return {name: n for n, name in enumerate(self.table.header) if not _RISKY.search(name)}

    @cached_property
    def spellings(self) -> dict[str, list[tuple[int, str, list[str]]]]:
        """What columns may be called without quotes, by the first character in plain form: index,
        name as it is, words of its plain form."""
        found: dict[str, list[tuple[int, str, list[str]]]] = {}
        shown = [
            (index, name)
            for index, (name, header) in enumerate(zip(self.sql, self.table.header, strict=True))
            if name != header
        ]
        for index, name in (*enumerate(self.table.header), *shown):
            words = plain(name).split(" ")
            if words[0]:
                found.setdefault(words[0][0], []).append((index, name, words))
        return found

    @cached_property
    def longest(self) -> int:
        """The characters of the longest name."""
        return max(map(len, (*self.table.header, *self.sql)), default=0)

    @cached_property
    def table_pattern(self) -> re.Pattern[str]:
        """Every name that means this table, as it stands in a text without quotes."""
        whole, rest = (
            re.sub(r"(?:\\-|_|\\ )+", r"[-_\\s]{1,3}", re.escape(" ".join(name.split())))
            for name in (self.table.id, self.table.id.split("-", 1)[-1])
        )
        names = rf"(?:table[\s_:#-]{{0,3}})?{whole}|table_{rest}|{'|'.join(PLACEHOLDERS)}"
        return re.compile(rf"[<{{%:]{{0,2}}(?:{names})(?![\w-])[>}}%]{{0,2}}", re.IGNORECASE)

    @cached_property
    def _steps(self) -> list[tuple[Callable[[str], str], dict[str, list[int]]]]:
        """The steps in which a name is matched: a form of names -> the columns of each form."""
        header, shown = list(self.table.header), self.sql
        forms = ((str, shown), (str, header), (plain, shown), (plain, header), (slug, shown))
        steps: list[tuple[Callable[[str], str], dict[str, list[int]]]] = []
        for form, names in forms:
            columns: dict[str, list[int]] = {}
            for index, name in enumerate(names):
                columns.setdefault(form(name), []).append(index)
            # A name without letters and digits has no slug, an empty header no name.
            columns.pop("", None)
            steps.append((form, columns))
        return steps

    def column(self, name: str) -> int | Failure:
        """The column that ``name`` means."""
        for form, columns in self._steps:
            found = columns.get(form(name))
            if found is not None and len(found) > 1:
                return Failure("ambiguous_column", f"{name!r} fits {len(found)} columns")
            if found is not None:
                return found[0]
        numbered = _COL.fullmatch(name)
        if numbered and int(numbered[1]) < len(self.table.header):
            return int(numbered[1])
        return Failure("unknown_column", f"{name!r} is no column of {self.table.id}")

    def is_table(self, name: str) -> bool:
        """Whether ``name`` means this table."""
        name = name.strip()
        return plain(name) == plain(self.table.id) or bool(self.table_pattern.fullmatch(name))
