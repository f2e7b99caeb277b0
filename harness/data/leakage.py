"""What a dataset holds twice: tables and questions shared between splits, questions repeated.

`Dataset` -> the counts that `describe`, the check before training and `results.json` give. Shared
tables or questions mean that the test set leaks into training; a question repeated with another
gold query cannot be answered right both times. In data without tables, a "question" is everything
before the answer (the whole of a plain text), and its gold is the answer.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from harness.data.records import Dataset, Example, TextExample
from harness.schema.dataset import DatasetInfo, Leakage, Repeats, SplitCounts


def dataset_info(dataset: Dataset) -> DatasetInfo:
    """The `dataset` section of results.json."""
    return DatasetInfo(
        name=dataset.name,
        sha256=dataset.sha256,
        revision=dataset.revision,
        splits=SplitCounts(
            train=len(dataset.train.examples),
            valid=len(dataset.valid.examples),
            test=len(dataset.test.examples),
        ),
        form=dataset.form,
        tables=len({id for split in dataset.splits for id in split.tables}),
        repeats=repeats(dataset),
        leakage=leakage(dataset),
    )


def leakage(dataset: Dataset) -> Leakage:
    """How many tables (by id or by equal contents) and questions (by their words) two splits
    share; one shared by three counts once."""
    tables = [{t.id for t in s.tables.values()} for s in dataset.splits]
    contents = [{(t.header, t.rows): t.id for t in s.tables.values()} for s in dataset.splits]
    questions = [{normalized(e.question) for e in s.examples} for s in dataset.splits]
    shared_ids: set[str] = set()
    shared_questions: set[str] = set()
    for a, b in combinations(range(3), 2):
        shared_ids |= tables[a] & tables[b]
        shared_ids |= {contents[a][same] for same in contents[a].keys() & contents[b].keys()}
        shared_questions |= questions[a] & questions[b]
    return Leakage(shared_tables=len(shared_ids), shared_questions=len(shared_questions))


def repeats(dataset: Dataset) -> Repeats:
    """Repeated questions, counted in each split by itself and summed over the splits."""
    found = [repeats_within(split.examples) for split in dataset.splits]
    return Repeats(equal=sum(r.equal for r in found), conflicting=sum(r.conflicting for r in found))


def repeats_within(examples: Sequence[Example]) -> Repeats:
    """Repeated questions of one split; the first time that a question is asked is not counted."""
    golds: dict[tuple[str, str], list[object]] = defaultdict(list)
    equal = conflicting = 0
    for example in examples:
        table, gold = _table_and_gold(example)
        earlier = golds[table, normalized(example.question)]
        if earlier:
            equal += gold in earlier
            conflicting += gold not in earlier
        earlier.append(gold)
    return Repeats(equal=equal, conflicting=conflicting)


def data_facts(dataset: Dataset) -> str:
    """What the splits share and what repeats in them, in words."""
    shared, repeated = leakage(dataset), repeats(dataset)
    tables = f"{shared.shared_tables:,} tables and " if dataset.has_tables else ""
    gold = "gold" if dataset.has_tables else "answer"
    return (
        f"{tables}{shared.shared_questions:,} questions shared between splits, "
        f"{repeated.equal:,} repeated, {repeated.conflicting:,} with conflicting {gold}"
    )


def normalized(question: str) -> str:
    """A question's words alone: lower case, single spaces, no end mark."""
    return re.sub(r"[\s?.!]+", " ", question.lower()).strip()


def _table_and_gold(example: Example) -> tuple[str, object]:
    if not isinstance(example, TextExample):
        return example.table_id, example.gold
    return "", None if example.text is not None else example.messages[-1].get("content")
