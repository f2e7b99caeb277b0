"""What a dataset says twice: tables and questions shared between splits, questions repeated.

`Dataset` -> counts, for `describe`, the preflight line and `results.json`. Shared tables or
questions mean that the test set leaks into training; a question repeated with another gold query
cannot be answered right both times. Of data without tables, a "question" is what is asked before
the answer (the whole of a plain text), and its gold is the answer.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from pydantic import BaseModel

from harness.data.records import Dataset, Example, TextExample


class Leakage(BaseModel):
    """What any two splits have in common."""

    shared_tables: int
    shared_questions: int


@dataclass(frozen=True, slots=True)
class Repeats:
    """Examples whose question on the same table was asked before, in the same split."""

    equal: int
    """With the same gold."""
    conflicting: int
    """With another gold."""


def leakage(dataset: Dataset) -> Leakage:
    """How many tables (by id or by equal contents) and questions (by their words) two splits
    share; one shared by three counts once."""
    splits = (dataset.train, dataset.valid, dataset.test)
    tables = [{t.id for t in s.tables.values()} for s in splits]
    contents = [{(t.header, t.rows): t.id for t in s.tables.values()} for s in splits]
    questions = [{normalized(e.question) for e in s.examples} for s in splits]
    shared_ids: set[str] = set()
    shared_questions: set[str] = set()
    for a, b in combinations(range(3), 2):
        shared_ids |= tables[a] & tables[b]
        shared_ids |= {contents[a][same] for same in contents[a].keys() & contents[b].keys()}
        shared_questions |= questions[a] & questions[b]
    return Leakage(shared_tables=len(shared_ids), shared_questions=len(shared_questions))


def repeats(dataset: Dataset) -> Repeats:
    """Repeated questions, each split by itself, summed over the splits."""
    found = [repeated(s.examples) for s in (dataset.train, dataset.valid, dataset.test)]
    return Repeats(sum(r.equal for r in found), sum(r.conflicting for r in found))


def repeated(examples: Sequence[Example]) -> Repeats:
    """Repeated questions of one split; the first time a question is asked counts as none."""
    golds: dict[tuple[str, str], list[object]] = defaultdict(list)
    equal = conflicting = 0
    for example in examples:
        table, gold = _asked_of(example)
        earlier = golds[table, normalized(example.question)]
        if earlier:
            equal += gold in earlier
            conflicting += gold not in earlier
        earlier.append(gold)
    return Repeats(equal, conflicting)


def normalized(question: str) -> str:
    """A question's words alone: lower case, single spaces, no end mark."""
    return re.sub(r"[\s?.!]+", " ", question.lower()).strip()


def _asked_of(example: Example) -> tuple[str, object]:
    if not isinstance(example, TextExample):
        return example.table_id, example.gold
    return "", None if example.text is not None else example.messages[-1].get("content")
