"""The records of a dataset: tables, logical forms, examples, splits.

They mirror WikiSQL's own JSON (Zhong et al. 2017, github.com/salesforce/WikiSQL): a question on
one table with a logical form ``{sel, agg, conds}``. Reading files is in `sources/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from harness.schema.dataset import DatasetFormat

AGGREGATIONS = ("", "MAX", "MIN", "COUNT", "SUM", "AVG")
"""WikiSQL's aggregates by index; 0 is none."""

OPERATORS = ("=", ">", "<")
"""WikiSQL's comparison operators by index."""

Cell = str | float | int | None
"""A table cell as the file holds it: text, number or NULL."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table. ``types`` holds ``"text"`` or ``"real"`` per column, as long as ``header``."""

    id: str
    header: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Condition(NamedTuple):
    """``header[column] OPERATORS[operator] value``; indices are zero-based."""

    column: int
    operator: int
    value: str | float | int


@dataclass(frozen=True, slots=True)
class LogicalForm:
    """WikiSQL's structured query: ``AGGREGATIONS[agg]`` of column ``sel`` in the rows where all
    conditions hold."""

    sel: int
    agg: int
    conds: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class SqlGold:
    """A gold query given as SQL text: what a model is trained to write, in every prompt style.

    ``text`` is one line. ``form`` is WikiSQL's form of it; None where that form cannot hold it, or
    where nobody has read the text, as in the processes that only train on it.
    """

    text: str
    form: LogicalForm | None


Gold = LogicalForm | SqlGold
"""A gold query as its line of the data gives it."""


def wikisql_form(gold: Gold) -> LogicalForm | None:
    """WikiSQL's form of a gold query, or None where that form cannot hold it."""
    return gold if isinstance(gold, LogicalForm) else gold.form


@dataclass(frozen=True, slots=True)
class Example:
    """A question on one table with its gold query; ``id`` is the 0-based line of its split."""

    id: int
    table_id: str
    question: str
    gold: Gold


@dataclass(frozen=True, slots=True)
class TextExample(Example):
    """A row in one of mlx-lm's own formats, which has neither a table nor a gold query: ``gold`` is
    blank and never executed, and ``table_id`` is the row's own, so each row is a cluster of one.

    Either ``text`` is the whole row, or ``messages`` end with the answer.
    """

    text: str | None = None
    messages: tuple[Mapping[str, Any], ...] = field(default=())
    tools: tuple[Any, ...] | None = None
    """Tool descriptions for the chat template, as mlx-lm passes them on."""

    @property
    def asked(self) -> str:
        """What stands before the answer, as a person reads it; of a whole text, all of it."""
        before = self.messages[:-1]
        if len(before) == 1:
            return _content(before[0])
        shown = [f"{message.get('role')}: {_content(message)}" for message in before]
        return self.text or "\n".join(shown)

    @property
    def reference(self) -> str | None:
        """The data's own answer; None of a whole text."""
        return _content(self.messages[-1]) if self.messages else None


def _content(message: Mapping[str, Any]) -> str:
    """A message's text; other content, such as a tool call, as JSON."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return json.dumps({k: v for k, v in message.items() if k != "role"}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Split:
    """One split in file order with the tables it uses, by id."""

    name: str
    examples: tuple[Example, ...]
    tables: Mapping[str, Table]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Three splits. ``sha256`` covers every file read; ``folder`` is where the files lie."""

    name: str
    sha256: str
    folder: Path
    train: Split
    valid: Split
    test: Split
    form: DatasetFormat = "tables"
    revision: str | None = None
    """The hub's commit, or the fingerprint, of data by a Hugging Face id."""

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        """Train, validation and test, in this order."""
        return self.train, self.valid, self.test

    @property
    def has_tables(self) -> bool:
        """Whether queries can be executed; else the examples are :class:`TextExample`."""
        return self.form == "tables"

    @property
    def has_answers(self) -> bool:
        """Whether it is known where in a text the answer begins."""
        return self.form != "text"
