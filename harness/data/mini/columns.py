"""Columns and topics as data: headers, cell makers, and the words in which people ask about them.

All texts are `|`-separated alternatives. In phrases `{v}` is a condition's value and `{e}` the
thing asked about ("the episode directed by Ana Moreau"). Source of the style: what crowd workers do
with a table in front of them: repeat the header, paraphrase it, or drop it.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.mini.values import Values
from harness.data.mini.words import words


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a topic."""

    headers: tuple[str, ...]
    values: Values
    nouns: tuple[str, ...]
    """Paraphrases of the header, singular, without article."""
    asks: tuple[str, ...]
    """Whole questions for it: `Who directed {e}?`."""
    after: tuple[str, ...]
    """Conditions that follow a noun: `directed by {v}`, `from {v}`."""
    scale: str
    """How it is compared: `year`, `count`, `size` or `rank`; empty for text."""
    keep: float
    """The probability that a table has it."""
    role: str
    """`key` names the row, `part` describes it; WHERE is likelier on a key."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A subject area: what a row is, and its columns in their usual order."""

    name: str
    entity: tuple[str, ...]
    entities: tuple[str, ...]
    columns: tuple[Column, ...]


def _split(text: str) -> tuple[str, ...]:
    return words(text) if text else ()


def key(headers: str, values: Values, nouns: str = "", ask: str = "", after: str = "") -> Column:
    """The column that names a row; always present."""
    return Column(words(headers), values, _split(nouns), _split(ask), _split(after), "", 1.0, "key")


def part(
    headers: str,
    values: Values,
    nouns: str = "",
    ask: str = "",
    after: str = "",
    keep: float = 0.75,
) -> Column:
    """A text column."""
    return Column(
        words(headers), values, _split(nouns), _split(ask), _split(after), "", keep, "part"
    )


def number(
    headers: str,
    values: Values,
    nouns: str = "",
    ask: str = "",
    after: str = "",
    scale: str = "count",
    keep: float = 0.8,
) -> Column:
    """A real column, compared as ``scale`` says."""
    return Column(
        words(headers), values, _split(nouns), _split(ask), _split(after), scale, keep, "part"
    )


def topic(name: str, entity: str, entities: str, *columns: Column) -> Topic:
    """A topic; ``entity`` and ``entities`` are the singular and plural nouns of a row."""
    return Topic(name, words(entity), words(entities), columns)
