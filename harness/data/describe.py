"""What a dataset is made of: `Dataset` -> `Description`, and its Markdown beside WikiSQL's counts.

Counted for each split: aggregates, operators, conditions, tables, duplicates and conflicts; between
splits: tables and questions in common (leakage). Gold results (degenerate, failing) are given,
since running queries is `harness.sql`'s and nothing here may import it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from harness.data.leakage import Leakage, leakage, repeated
from harness.data.records import AGGREGATIONS, OPERATORS, Dataset, Example, Split, Table

GoldKinds = Mapping[str, Sequence[str | None]]
"""By split, what is wrong with each gold result: None, `"empty"`, `"null"`, or why it does not
run."""

DEGENERATE = ("empty", "null")
"""Kinds of gold results that say nothing: no row, or NULLs only."""


class Published(BaseModel):
    """Counts of a published split, by the index of aggregate, operator, number of conditions."""

    name: str
    examples: int
    aggregates: tuple[int, ...]
    operators: tuple[int, ...]
    conditions: tuple[int, ...]


PUBLISHED_TEST = Published(
    name="WikiSQL test",
    examples=15878,
    aggregates=(11324, 973, 933, 1455, 587, 606),
    operators=(18114, 1927, 1805),
    conditions=(131, 10832, 3879, 888, 148),
)
"""The official test split, counted from the released files (Zhong et al. 2017)."""


class SplitDescription(BaseModel):
    """Counts of one split; tuples are indexed as in :class:`Published`."""

    name: str
    examples: int
    tables: int
    rows_per_table: float
    columns_per_table: float
    real_columns: float
    """Share of the columns that are `real`."""
    aggregates: tuple[int, ...]
    operators: tuple[int, ...]
    conditions: tuple[int, ...]
    """How many queries have 0, 1, 2, … conditions."""
    other_case: float
    """Share of the examples that spell a text value otherwise than every cell of its column, where
    some cell is equal but for case."""
    duplicates: int
    """Examples whose question on the same table was asked before, with equal gold."""
    conflicts: int
    """The same with another gold."""
    gold_empty: int | None = None
    """Gold queries that find no row; null when gold was not run."""
    gold_null: int | None = None
    """Gold queries that find only NULL."""
    gold_failing: list[str] = []
    """Gold queries that do not run, `id: reason` each."""

    @property
    def degenerate(self) -> float | None:
        """Share of gold results that say nothing, or None when gold was not run."""
        if self.gold_empty is None or self.gold_null is None:
            return None
        return (self.gold_empty + self.gold_null) / self.examples


class Description(BaseModel):
    """What `describe` prints; JSON with `model_dump()`."""

    name: str
    sha256: str
    splits: list[SplitDescription]
    leakage: Leakage
    published: Published = PUBLISHED_TEST


def describe(dataset: Dataset, gold: GoldKinds | None = None) -> Description:
    """Count everything in ``dataset``.

    Args:
        dataset: any dataset.
        gold: results of the gold queries by split; without them the gold counts are null.
    """
    splits = [dataset.train, dataset.valid, dataset.test]
    return Description(
        name=dataset.name,
        sha256=dataset.sha256,
        splits=[
            _describe_split(split, None if gold is None else gold[split.name]) for split in splits
        ],
        leakage=leakage(dataset),
    )


def _describe_split(split: Split, gold: Sequence[str | None] | None) -> SplitDescription:
    examples, tables = split.examples, list(split.tables.values())
    columns = sum(len(t.header) for t in tables)
    lengths = Counter(len(e.gold.conds) for e in examples)
    found = repeated(examples)
    described = SplitDescription(
        name=split.name,
        examples=len(examples),
        tables=len(tables),
        rows_per_table=sum(len(t.rows) for t in tables) / len(tables),
        columns_per_table=columns / len(tables),
        real_columns=sum(t.types.count("real") for t in tables) / columns,
        aggregates=_counts(Counter(e.gold.agg for e in examples), len(AGGREGATIONS)),
        operators=_counts(Counter(c.operator for e in examples for c in e.gold.conds), 3),
        conditions=_counts(lengths, max(4, *lengths) + 1),
        other_case=sum(_other_case(e, split.tables[e.table_id]) for e in examples) / len(examples),
        duplicates=found.equal,
        conflicts=found.conflicting,
    )
    if gold is not None:
        results = [(e.id, kind) for e, kind in zip(examples, gold, strict=True)]
        described.gold_empty = sum(kind == "empty" for _, kind in results)
        described.gold_null = sum(kind == "null" for _, kind in results)
        failing = [(id, kind) for id, kind in results if kind and kind not in DEGENERATE]
        described.gold_failing = [f"{id}: {kind}" for id, kind in failing]
    return described


def _counts(counter: Counter[int], size: int) -> tuple[int, ...]:
    return tuple(counter[index] for index in range(size))


def _other_case(example: Example, table: Table) -> bool:
    """Whether the question spells a text value in another case than the cell it names."""
    for cond in example.gold.conds:
        if not isinstance(cond.value, str):
            continue
        cells = {c for row in table.rows if isinstance(c := row[cond.column], str)}
        meant = [cell for cell in cells if cell.lower() == cond.value.lower()]
        if meant and not any(cell in example.question for cell in meant):
            return True
    return False


def render(description: Description) -> str:
    """The description as Markdown, WikiSQL's published test split beside it."""
    published = description.published
    names = [split.name for split in description.splits]
    totals = [split.examples for split in description.splits] + [published.examples]
    lines = [
        f"# {description.name}",
        "",
        f"sha256 {description.sha256}",
        "",
        "| | " + " | ".join([*names, published.name]) + " |",
        "|---|" + "---:|" * (len(names) + 1),
        _row("examples", [str(total) for total in totals]),
        _row("tables", [str(split.tables) for split in description.splits] + [""]),
    ]
    groups = (
        ("aggregates", [name or "none" for name in AGGREGATIONS]),
        ("operators", list(OPERATORS)),
        ("conditions", [f"{n} conditions" for n in range(_longest(description))]),
    )
    for field, labels in groups:
        columns = [getattr(split, field) for split in description.splits]
        columns.append(getattr(published, field))
        for index, label in enumerate(labels):
            cells = [_share(counts, index) for counts in columns]
            lines.append(_row(label, cells))
    lines += _quality_rows(description)
    shared = description.leakage
    lines += [
        "",
        f"Shared between splits: {shared.shared_tables} tables, "
        f"{shared.shared_questions} questions.",
    ]
    for split in description.splits:
        for failing in split.gold_failing:
            lines.append(f"Gold that does not run: {split.name} {failing}")
    return "\n".join(lines) + "\n"


def _longest(description: Description) -> int:
    counts = [split.conditions for split in description.splits]
    return max(len(c) for c in [*counts, description.published.conditions])


def _quality_rows(description: Description) -> list[str]:
    splits = description.splits
    rows = [
        ("value in another case", [f"{split.other_case:.1%}" for split in splits], ""),
        ("repeated questions", [str(split.duplicates) for split in splits], ""),
        ("conflicting gold", [str(split.conflicts) for split in splits], "4"),
    ]
    if all(split.degenerate is not None for split in splits):
        shares = [f"{split.degenerate or 0:.1%}" for split in splits]
        rows.append(("degenerate gold", shares, "about 8%"))
        rows.append(("gold that fails", [str(len(split.gold_failing)) for split in splits], ""))
    return [_row(label, [*cells, published]) for label, cells, published in rows]


def _share(counts: Sequence[int], index: int) -> str:
    count = counts[index] if index < len(counts) else 0
    return f"{count} ({count / max(1, sum(counts)):.1%})"


def _row(label: str, cells: Sequence[str]) -> str:
    return f"| {label.replace('|', chr(92) + '|')} | " + " | ".join(cells) + " |"
