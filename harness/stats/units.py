"""The unit of every test and interval: the table, or the question.

Input: the table of each example -> output: the unit of each. Questions on one table are alike, so
the table is the unit; with fewer than six tables no two-sided test of them can reach 5%, and where
each table has one question the two are one, so there the question is the unit and what is said is
about questions on these tables only. Units were independent draws in both.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

FEWEST_UNITS = 6
"""Below this many, even units that all differ one way give a two-sided p of 2/32 at best."""


@dataclass(frozen=True)
class Units:
    """What the examples of a comparison are drawn as."""

    kind: Literal["table", "question"]
    count: int
    """How many units there are."""
    tables: int
    """How many different tables the examples are on."""

    @property
    def enough(self) -> bool:
        """Whether a two-sided test of so many units can reach 5%."""
        return self.count >= FEWEST_UNITS

    @property
    def text(self) -> str:
        """`60 tables`, `100 questions on 1 table`, `40 examples` of a table each."""
        if self.kind == "table":
            return f"{self.count:,} tables"
        if self.tables == self.count:
            return f"{self.count:,} example{'s' * (self.count != 1)}"
        asked = f"{self.count:,} question{'s' * (self.count != 1)}"
        return f"{asked} on {self.tables} table{'s' * (self.tables != 1)}"

    @property
    def too_few(self) -> str:
        """Why there is no verdict; empty where there are enough."""
        if self.enough:
            return ""
        return (
            f"{self.text} {'is' if self.count == 1 else 'are'} too few, since with fewer than "
            f"{FEWEST_UNITS} no two-sided test can reach 5%"
        )


def units_of(tables: Sequence[Hashable]) -> Units:
    """What examples are drawn as, by the table of each."""
    return units_among(len(tables), len(set(tables)))


def units_among(examples: int, tables: int) -> Units:
    """What so many examples on so many different tables are drawn as."""
    if tables < FEWEST_UNITS or tables == examples:
        return Units("question", examples, tables)
    return Units("table", tables, tables)


def unit_of_each(tables: Sequence[Hashable]) -> Sequence[Hashable]:
    """The unit of each example: its table, or the example itself, by its place."""
    return tables if units_of(tables).kind == "table" else range(len(tables))
