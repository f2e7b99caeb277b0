"""The corpus: seed -> three splits of tables and questions with WikiSQL's mix of queries.

Counts of aggregates, operators and conditions are apportioned, not drawn, so that even the small
splits have the published shares of WikiSQL's test split (`describe.py`). Splits
share no table and no question; a few topics appear in the test split only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.data.describe import PUBLISHED_TEST
from harness.data.mini import (
    topics_civic,
    topics_machines,
    topics_places,
    topics_screen,
    topics_sport,
)
from harness.data.mini.columns import Topic
from harness.data.mini.intents import Plan, make
from harness.data.mini.phrasing import ask
from harness.data.mini.rng import Rng
from harness.data.mini.surface import fill, spoken_value, untidy
from harness.data.mini.tables import BuiltTable, build_table, table_id
from harness.data.records import Condition, Example, LogicalForm, Split
from harness.data.repeats import normalized
from harness.data.wikisql import example_to_json, table_to_json
from harness.files import write_jsonl

SEED = "tunebench mini 1"
SIZES = {"train": (1000, 250), "valid": (60, 20), "test": (200, 60)}
"""Examples and tables of each split."""

UNSEEN = ("stars", "pageant", "timetable")
"""Topics of the test split only."""

HOPELESS = 0.035
"""Share of gold queries that are made to find nothing."""

TOPICS: tuple[Topic, ...] = (
    *topics_sport.TOPICS,
    *topics_screen.TOPICS,
    *topics_civic.TOPICS,
    *topics_places.TOPICS,
    *topics_machines.TOPICS,
)


def generate(seed: str = SEED) -> list[Split]:
    """The three splits; the same seed gives the same splits everywhere."""
    ids: set[str] = set()
    asked: set[str] = set()
    return [_split(Rng(f"{seed} {name}"), name, ids, asked) for name in SIZES]


def write(folder: Path, seed: str = SEED) -> list[Path]:
    """Generate the corpus into ``folder``; returns the files written."""
    written = []
    for split in generate(seed):
        tables: list[dict[str, Any]] = [table_to_json(table) for table in split.tables.values()]
        examples = [example_to_json(example) for example in split.examples]
        for suffix, rows in (("jsonl", examples), ("tables.jsonl", tables)):
            path = folder / f"{split.name}.{suffix}"
            write_jsonl(path, rows)
            written.append(path)
    return written


def _split(rng: Rng, name: str, ids: set[str], asked: set[str]) -> Split:
    size, table_count = SIZES[name]
    tables = _tables(rng, name, table_count, ids)
    places = [built for built in tables for _ in range(2)]
    places += [rng.choice(tables) for _ in range(size - len(places))]
    pairs: list[tuple[BuiltTable, str, LogicalForm]] = []
    used = dict.fromkeys((built.table.id for built in tables), 0)
    # The easy plans come last: any table can carry them, so none is left without a question.
    plans = sorted(_plans(rng, size), key=lambda plan: plan.agg == 0 and plan.operators == (0,))
    for plan, built in zip(plans, rng.shuffled(places), strict=True):
        # A plan that its table cannot carry goes to the table with the fewest questions yet.
        others = sorted(rng.shuffled(tables), key=lambda other: used[other.table.id])
        idle = (
            others[:1] if len(pairs) >= size - table_count and not used[others[0].table.id] else []
        )
        pairs.append(_pair(rng, plan, [*idle, built, *others], asked))
        used[pairs[-1][0].table.id] += 1
    order = {built.table.id: index for index, built in enumerate(tables)}
    pairs.sort(key=lambda pair: order[pair[0].table.id])
    examples = tuple(
        Example(index, built.table.id, question, gold)
        for index, (built, question, gold) in enumerate(pairs)
    )
    return Split(name, examples, {built.table.id: built.table for built in tables})


def _tables(rng: Rng, name: str, count: int, ids: set[str]) -> list[BuiltTable]:
    topics = [t for t in TOPICS if name == "test" or t.name not in UNSEEN]
    chosen: list[Topic] = []
    while len(chosen) < count:
        chosen += rng.shuffled(topics)
    built = []
    for topic in chosen[:count]:
        id = table_id(rng)
        while id in ids:
            id = table_id(rng)
        ids.add(id)
        built.append(build_table(rng, topic, id))
    return built


def _pair(
    rng: Rng, plan: Plan, candidates: Sequence[BuiltTable], asked: set[str]
) -> tuple[BuiltTable, str, LogicalForm]:
    """The first of ``candidates`` that can carry ``plan``, with a question nobody asked before."""
    for built in candidates:
        gold = make(rng, built, plan)
        if gold is None:
            continue
        question, said = _say(rng, built, gold)
        if normalized(question) not in asked:
            asked.add(normalized(question))
            return built, question, said
    raise RuntimeError(f"no table can carry {plan}")


def _say(rng: Rng, built: BuiltTable, gold: LogicalForm) -> tuple[str, LogicalForm]:
    spoken = [spoken_value(rng, cond.value) for cond in gold.conds]
    conds = tuple(
        Condition(cond.column, cond.operator, value)
        for cond, (_, value) in zip(gold.conds, spoken, strict=True)
    )
    text = untidy(rng, ask(rng, built, gold))
    return fill(text, [spelt for spelt, _ in spoken]), LogicalForm(gold.sel, gold.agg, conds)


def _plans(rng: Rng, size: int) -> list[Plan]:
    aggs = rng.shuffled(_apportion(PUBLISHED_TEST.aggregates, size))
    lengths = sorted(_apportion(PUBLISHED_TEST.conditions, size))
    empty = lengths.count(0)
    # A question without a condition is nearly always about an aggregate; give them those.
    aggs.sort(key=lambda agg: agg == 0)
    aggregated = rng.shuffled(aggs[: size - aggs.count(0)])
    rest = rng.shuffled(aggregated[empty:] + [0] * aggs.count(0))
    operators = iter(_operators(rng, lengths))
    plans = [
        Plan(agg, tuple(next(operators) for _ in range(length)))
        for agg, length in zip(aggregated[:empty] + rest, lengths, strict=True)
    ]
    plans = rng.shuffled(plans)
    doomed = round(HOPELESS * size)
    return [
        Plan(plan.agg, plan.operators, hopeless=index < doomed and bool(plan.operators))
        for index, plan in enumerate(plans)
    ]


def _operators(rng: Rng, lengths: Sequence[int]) -> list[int]:
    """Operators of all conditions in turn; a comparison is likelier beside other conditions."""
    slots = [length for length in lengths for _ in range(length)]
    counts = _apportion(PUBLISHED_TEST.operators, len(slots))
    compared = rng.shuffled([operator for operator in counts if operator])
    ranked = sorted(
        range(len(slots)), key=lambda i: rng.below(1000) / (2.5 if slots[i] > 1 else 1.0)
    )
    chosen = dict(zip(ranked, compared, strict=False))
    return [chosen.get(index, 0) for index in range(len(slots))]


def _apportion(counts: Sequence[int], size: int) -> list[int]:
    """``size`` indices in the proportions of ``counts`` (largest remainders)."""
    total = sum(counts)
    quotas = [count * size / total for count in counts]
    shares = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(counts)), key=lambda i: shares[i] - quotas[i])
    for index in by_remainder[: size - sum(shares)]:
        shares[index] += 1
    return [index for index, share in enumerate(shares) for _ in range(share)]
