"""What the columns and the table of an example are called, and which of them a name means.

Table -> the unique names that its columns have in DuckDB; a name from a model's text -> a column
index or a failure. A name is matched in steps: as written, without regard to case and spaces, as a
slug (``School_Club_Team`` for ``School/Club Team``), as ``col3`` (WikiSQL's own column names,
zero-based). A step that fits two columns is an ambiguity, never a choice.
"""

from __future__ import annotations

import re
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
    def _exact(self) -> dict[str, tuple[int, ...]]:
        return _by_key(list(self.table.header))

    @cached_property
    def _plain(self) -> dict[str, tuple[int, ...]]:
        return _by_key(self.plain)

    @cached_property
    def _slugs(self) -> dict[str, tuple[int, ...]]:
        return _by_key([slug(name) for name in self.table.header])

    def column(self, name: str) -> int | Failure:
        """The column that ``name`` means."""
        for found in (self._exact.get(name), self._plain.get(plain(name))):
            if found is not None:
                return self._one(found, name)
        if name in self.sql:
            return self.sql.index(name)
        key = slug(name)
        if key and key in self._slugs:
            return self._one(self._slugs[key], name)
        numbered = _COL.fullmatch(name)
        if numbered and int(numbered[1]) < len(self.table.header):
            return int(numbered[1])
        return Failure("unknown_column", f"{name!r} is no column of {self.table.id}")

    def _one(self, found: tuple[int, ...], name: str) -> int | Failure:
        if len(found) == 1:
            return found[0]
        return Failure("ambiguous_column", f"{name!r} fits {len(found)} columns")

    def is_table(self, name: str) -> bool:
        """Whether ``name`` means this table."""
        return plain(name) in self.table_names


def _by_key(keys: list[str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for index, key in enumerate(keys):
        found[key] = (*found.get(key, ()), index)
    return found


def _sql_names(plains: list[str], header: tuple[str, ...]) -> list[str]:
    """DuckDB's names: the header, or ``colN`` where it is empty, repeated or unusable."""
    if len(set(plains)) == len(plains) and all(plains) and not any("\0" in n for n in header):
        return list(header)
    counts: dict[str, int] = {}
    for name in plains:
        counts[name] = counts.get(name, 0) + 1
    taken = {name for name in plains if counts[name] == 1}
    names = []
    for index, name in enumerate(header):
        key = plains[index]
        usable = key and counts[key] == 1 and "\0" not in name
        if not usable:
            name = f"col{index}"
            while name in taken:
                name += "_"
            taken.add(name)
        names.append(name)
    return names
