"""What the columns and the table of an example are called, and which of them a name means.

Table -> the unique names that its columns have in DuckDB; a name from a model's text -> a column
index or a failure. A name is matched in steps: as written, without regard to case and spaces, as a
slug (``School_Club_Team`` for ``School/Club Team``), as ``col3`` (WikiSQL's own column names,
zero-based). A step that fits two columns is an ambiguity, never a choice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cached_property

from harness.data.records import Table
from harness.sql.failures import Failure

_COL = re.compile(r"col(?:umn)?_?(\d{1,4})", re.IGNORECASE | re.ASCII)


def fold_characters(text: str) -> str:
    """Lower case, character by character, so that positions stay those of ``text``."""
    low = text.lower()
    if len(low) == len(text):
        return low
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def plain(name: str) -> str:
    """A name without regard to case and white space."""
    return " ".join(fold_characters(name).split())


def slug(name: str) -> str:
    """The letters and digits of a name, which remain when a model writes it as an identifier."""
    return "".join(c for c in fold_characters(name) if c.isalnum())


class Names:
    """Name resolution for one table."""

    def __init__(self, table: Table) -> None:
        self.table = table
        # The headers that read_quickly (read/reader.py) may look for; filled on the first text.
        self.quick: dict[str, int] | None = None

    @cached_property
    def plain(self) -> list[str]:
        """The headers without regard to case and white space."""
        return [plain(name) for name in self.table.header]

    @cached_property
    def sql(self) -> list[str]:
        """The columns' unique names in DuckDB."""
        return _sql_names(self.plain, self.table.header)

    @cached_property
    def table_names(self) -> set[str]:
        """Every name that means this table, in plain form."""
        name = self.table.id.lower()
        slugged = name.replace("-", "_")
        rest = name.split("-", 1)[-1].replace("-", "_")
        return {plain(name), slugged, f"table_{slugged}", f"table_{rest}"}

    @cached_property
    def _steps(self) -> list[tuple[Callable[[str], str], dict[str, list[int]]]]:
        """The steps in which a name is matched: a form of names -> the columns of each form."""
        slugs = [slug(name) for name in self.table.header]
        forms = ((str, self.table.header), (plain, self.plain), (str, self.sql), (slug, slugs))
        steps: list[tuple[Callable[[str], str], dict[str, list[int]]]] = []
        for form, keys in forms:
            columns: dict[str, list[int]] = {}
            for index, key in enumerate(keys):
                columns.setdefault(key, []).append(index)
            steps.append((form, columns))
        # A name without letters and digits has no slug.
        steps[-1][1].pop("", None)
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
        return plain(name) in self.table_names


def _sql_names(plains: list[str], header: tuple[str, ...]) -> list[str]:
    """DuckDB's names: the header, or ``colN`` where it is empty, repeated or unusable."""
    counts = Counter(plains)
    taken = {name for name in plains if counts[name] == 1}
    names = []
    for index, (name, key) in enumerate(zip(header, plains, strict=True)):
        if not key or counts[key] > 1 or "\0" in name:
            name = f"col{index}"
            while name in taken:
                name += "_"
            taken.add(name)
        names.append(name)
    return names
