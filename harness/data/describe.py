"""What a dataset is made of: `Dataset` -> counts, and their Markdown.

Counted for each split: aggregates, operators, conditions, tables, duplicates and conflicts; between
splits: tables and questions in common (leakage). The Markdown sets WikiSQL's published counts
beside them. Of data without tables: rows, lengths, repeated prompts and conflicting answers. The
results of gold queries are passed in, since running queries is `harness.sql`'s and nothing here may
import it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from pydantic import BaseModel

from harness.data.leakage import leakage, repeats_within
from harness.data.records import (
    AGGREGATIONS,
    OPERATORS,
    Dataset,
    Example,
    Split,
    Table,
    TextExample,
    wikisql_form,
)
from harness.markdown import table
from harness.schema.dataset import DatasetFormat, Leakage

GoldKinds = Mapping[str, Sequence[str | None]]
"""By split, what is wrong with each gold result: None, `"empty"`, `"null"`, or why it does not
run."""

Beyond = Mapping[str, Mapping[str, int]]
"""By split, what gold queries have that WikiSQL's form cannot hold, as `LIMIT`, and how often."""

FORMATS: dict[DatasetFormat, str] = {
    "text": "Whole texts",
    "completions": "Prompts with completions",
    "chat": "Conversations",
}
"""Data without tables, in words."""


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
    """Share of the examples whose question spells a text value in another case than every cell of
    its column that is equal but for case."""
    duplicates: int
    """Examples whose question on the same table was asked before, with equal gold."""
    conflicts: int
    """The same with another gold."""
    gold_empty: int
    """Gold queries that find no row."""
    gold_null: int
    """Gold queries that find only NULL."""
    beyond: dict[str, int]
    """What gold queries have that WikiSQL's form cannot hold, and in how many; such queries are not
    among aggregates, operators and conditions."""
    gold_failing: list[str]
    """Gold queries that do not run, `id: reason` each."""

    @property
    def degenerate(self) -> int:
        """Gold results that cannot distinguish a right answer from a wrong one."""
        return self.gold_empty + self.gold_null


class GoldCounts(BaseModel):
    """Gold queries of a split: all, the degenerate ones (no row, or only NULL), and those that do
    not run."""

    examples: int
    degenerate: int
    failing: int


class Description(BaseModel):
    """What `describe` prints of data with tables."""

    name: str
    sha256: str
    splits: list[SplitDescription]
    leakage: Leakage
    published: Published = PUBLISHED_TEST
    gold: dict[str, GoldCounts]
    """By split."""


class TextSplit(BaseModel):
    """Counts of one split without tables."""

    name: str
    examples: int
    mean_characters: float
    longest_characters: int
    duplicates: int
    """Rows whose prompt (or whole text) an earlier row has, with an equal answer."""
    conflicts: int
    """The same with another answer."""


class TextDescription(BaseModel):
    """What `describe` prints of data without tables."""

    name: str
    sha256: str
    form: DatasetFormat
    splits: list[TextSplit]
    shared_questions: int
    """Prompts (or whole texts) found in more than one split."""


def describe(dataset: Dataset, gold: GoldKinds, beyond: Beyond | None = None) -> Description:
    """Count everything in ``dataset``, which has tables; ``gold``: results of its gold queries;
    ``beyond``: None where all of them have WikiSQL's form."""
    splits = [
        _describe_split(split, gold[split.name], beyond[split.name] if beyond else {})
        for split in dataset.splits
    ]
    return Description(
        name=dataset.name,
        sha256=dataset.sha256,
        splits=splits,
        leakage=leakage(dataset),
        gold={
            split.name: GoldCounts(
                examples=split.examples,
                degenerate=split.degenerate,
                failing=len(split.gold_failing),
            )
            for split in splits
        },
    )


def _describe_split(
    split: Split, gold: Sequence[str | None], beyond: Mapping[str, int]
) -> SplitDescription:
    examples, tables = split.examples, list(split.tables.values())
    columns = sum(len(t.header) for t in tables)
    forms = [form for e in examples if (form := wikisql_form(e.gold)) is not None]
    lengths = Counter(len(form.conds) for form in forms)
    found = repeats_within(examples)
    results = [(e.id, kind) for e, kind in zip(examples, gold, strict=True)]
    return SplitDescription(
        name=split.name,
        examples=len(examples),
        tables=len(tables),
        rows_per_table=sum(len(t.rows) for t in tables) / len(tables),
        columns_per_table=columns / len(tables),
        real_columns=sum(t.types.count("real") for t in tables) / columns,
        aggregates=_counts(Counter(form.agg for form in forms), len(AGGREGATIONS)),
        operators=_counts(Counter(c.operator for form in forms for c in form.conds), 3),
        conditions=_counts(lengths, max(4, *lengths, 0) + 1),
        other_case=sum(_other_case(e, split.tables[e.table_id]) for e in examples) / len(examples),
        duplicates=found.equal,
        conflicts=found.conflicting,
        gold_empty=gold.count("empty"),
        gold_null=gold.count("null"),
        beyond=dict(beyond),
        gold_failing=[
            f"{id}: {kind}" for id, kind in results if kind not in (None, "empty", "null")
        ],
    )


def _counts(counter: Counter[int], size: int) -> tuple[int, ...]:
    return tuple(counter[index] for index in range(size))


def _other_case(example: Example, table: Table) -> bool:
    """Whether the question spells a text value in another case than the cell it names."""
    form = wikisql_form(example.gold)
    for cond in () if form is None else form.conds:
        if not isinstance(cond.value, str):
            continue
        cells = {c for row in table.rows if isinstance(c := row[cond.column], str)}
        meant = [cell for cell in cells if cell.lower() == cond.value.lower()]
        if meant and not any(cell in example.question for cell in meant):
            return True
    return False


def describe_texts(dataset: Dataset) -> TextDescription:
    """Count what can be counted in a ``dataset`` without tables, and without a tokenizer."""
    return TextDescription(
        name=dataset.name,
        sha256=dataset.sha256,
        form=dataset.form,
        splits=[_describe_texts(split) for split in dataset.splits],
        shared_questions=leakage(dataset).shared_questions,
    )


def _describe_texts(split: Split) -> TextSplit:
    lengths = [
        sum(len(str(message.get("content") or "")) for message in e.messages)
        if e.text is None
        else len(e.text)
        for e in split.examples
        if isinstance(e, TextExample)
    ]
    found = repeats_within(split.examples)
    return TextSplit(
        name=split.name,
        examples=len(split.examples),
        mean_characters=fmean(lengths),
        longest_characters=max(lengths),
        duplicates=found.equal,
        conflicts=found.conflicting,
    )


def render(description: Description) -> str:
    """The description as Markdown, WikiSQL's published test split beside it."""
    splits, published = description.splits, description.published

    def row(
        label: str, show: Callable[[SplitDescription], object], known: object = ""
    ) -> list[str]:
        return [label, *(str(show(split)) for split in splits), str(known)]

    rows = [
        row("examples", lambda split: split.examples, published.examples),
        row("tables", lambda split: split.tables),
    ]
    longest = max(len(published.conditions), *(len(split.conditions) for split in splits))
    groups = (
        ("aggregates", [name or "none" for name in AGGREGATIONS]),
        ("operators", list(OPERATORS)),
        ("conditions", [f"{n} conditions" for n in range(longest)]),
    )
    for field, labels in groups:
        columns = [getattr(counted, field) for counted in (*splits, published)]
        for index, label in enumerate(labels):
            rows.append([label, *(_share(counts, index) for counts in columns)])
    for name in dict.fromkeys(name for split in splits for name in split.beyond):
        rows.append([name, *(str(split.beyond.get(name, 0)) for split in splits), "0"])
    rows += [
        row("value in another case", lambda split: f"{split.other_case:.1%}"),
        row("repeated questions", lambda split: split.duplicates),
        row("conflicting gold", lambda split: split.conflicts, "4"),
        row("degenerate gold", lambda s: f"{s.degenerate / s.examples:.1%}", "about 8%"),
        row("gold that fails", lambda split: len(split.gold_failing)),
    ]
    shared = description.leakage
    lines = [
        table(["", *(split.name for split in splits), published.name], rows),
        "",
        f"Shared between splits: {shared.shared_tables} tables, "
        f"{shared.shared_questions} questions.",
    ]
    for split in splits:
        lines += [f"Gold that does not run: {split.name} {each}" for each in split.gold_failing]
    lines += ["", ""] + [
        f"- {name}: {n.examples:,} gold queries: {n.failing:,} do not run, {n.degenerate:,} are "
        "degenerate (no row, or only NULL)"
        for name, n in description.gold.items()
    ]
    return _page(description, lines)


def render_texts(description: TextDescription) -> str:
    """The description as Markdown."""
    splits = description.splits
    rows = [
        ["examples", *(f"{split.examples:,}" for split in splits)],
        ["mean characters", *(f"{split.mean_characters:,.0f}" for split in splits)],
        ["longest", *(f"{split.longest_characters:,}" for split in splits)],
        ["repeated", *(str(split.duplicates) for split in splits)],
        ["conflicting answers", *(str(split.conflicts) for split in splits)],
    ]
    lines = [
        f"{FORMATS[description.form]} in mlx-lm's format, without tables: loss, speed, "
        "memory, size and fusing can be measured, execution accuracy cannot.",
        "",
        table(["", *(split.name for split in splits)], rows),
        "",
        f"Shared between splits: {description.shared_questions} prompts or texts.",
    ]
    return _page(description, lines)


def _page(description: Description | TextDescription, lines: list[str]) -> str:
    heading = [f"# {description.name}", "", f"sha256 {description.sha256}", ""]
    return "\n".join(heading + lines) + "\n"


def _share(counts: Sequence[int], index: int) -> str:
    count = counts[index] if index < len(counts) else 0
    return f"{count} ({count / max(1, sum(counts)):.1%})"
