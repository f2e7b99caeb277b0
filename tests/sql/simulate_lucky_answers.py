"""How many answers that are right by luck ``ex_hardened`` kills, and whether it fails a right one.

`python -m tests.sql.simulate_lucky_answers` (part of ``make simulate``) changes gold queries in the
ways that models change them, keeps the changed ones that are right on the table, and asks two
judges. One is ``ex_hardened`` with the K copies of a run. The other is independent of it: numpy
runs both queries on 1,000 larger random tables for each gold query (five seeds of 200), whose
values are the column's, those of the literals of gold *and of the changed queries*, and their
neighbours. A query that differs from gold on none of the 1,000 tables counts as equivalent; it
must never fail. Where ``ex_hardened`` fails one all the same, numpy runs both on the counterexample
that it kept: if the results part there too, the random tables were too few, and the query counts as
different and killed; else as equivalent and failed, and the script ends with status 1, as it does
when less than 99% are killed.

`--docs` puts the table into docs/protocols.md. `--dataset DIR --split NAME` measures on other
gold queries, `--golds N` on N of each aggregate (0: all), drawn by a seeded shuffle.
"""

from __future__ import annotations

import random
import sys
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.records import AGGREGATIONS, Example, Split, Table
from harness.data.sources.wikisql import load_split
from harness.protocols import HARDENED_COPIES
from harness.schema.execution import Counterexample
from harness.sql.failures import Failure
from harness.sql.grade.equality import equal_results, same_query
from harness.sql.grade.given_tables import Passed, used_columns
from harness.sql.grade.gold import GoldSet, open_gold
from harness.sql.grade.hardened import hold_on_copies
from harness.sql.query import (
    COMPARISONS,
    And,
    Between,
    Comparison,
    In,
    Or,
    Query,
    Where,
    conjunction,
    from_logical_form,
    leaves,
    wikisql_shape,
)
from harness.sql.run.database import addend
from harness.sql.run.executor import Task
from harness.sql.values import fold, number
from tests import simulated

ROOT = Path(__file__).resolve().parents[2]
PAGE = "protocols.md"
MINI = ROOT / "fixtures" / "mini"
SEEDS = 5
TABLES = 200
"""Random tables of a seed."""
LEAST_ROWS, MOST_ROWS = 20, 80
TRIES = 6
"""Changed queries of each random kind for a gold query, before luck is asked."""


# --- Changed queries: kind -> queries -------------------------------------------------------------

Changed = tuple[str, Query]


class Changes:
    """The changed queries of one gold query on one table."""

    def __init__(self, table: Table, gold: Query, rng: random.Random) -> None:
        self.table, self.gold, self.rng = table, gold, rng
        shape = wikisql_shape(gold)
        assert shape is not None
        self.item, self.conditions = shape

    def all(self) -> Iterator[Changed]:
        kinds = {
            "aggregate": self.aggregates,
            "selected column": self.selected,
            "bound included or excluded": self.inclusive,
            "another operator": self.operators,
            "shifted bound or value": self.values,
            "value in another spelling": self.respelled,
            "condition left out": self.left_out,
            "condition on another column": self.columns,
            "condition added": self.added,
            "BETWEEN, IN, OR or DISTINCT": self.other_shapes,
        }
        for kind, make in kinds.items():
            yield from ((kind, query) for query in make())

    def with_conditions(self, conditions: Sequence[Where]) -> Query:
        return replace(self.gold, where=conjunction(list(conditions)))

    def changed(self, at: int, *new: Where) -> Query:
        return self.with_conditions([*self.conditions[:at], *new, *self.conditions[at + 1 :]])

    def aggregates(self) -> Iterator[Query]:
        for aggregate in AGGREGATIONS:
            if aggregate != self.item.aggregate:
                yield replace(self.gold, select=(replace(self.item, aggregate=aggregate),))

    def selected(self) -> Iterator[Query]:
        for column in range(len(self.table.header)):
            if column != self.item.column:
                yield replace(self.gold, select=(replace(self.item, column=column),))

    def inclusive(self) -> Iterator[Query]:
        for at, part in enumerate(self.conditions):
            if part.operator in "<>":
                yield self.changed(at, replace(part, operator=part.operator + "="))

    def operators(self) -> Iterator[Query]:
        for at, part in enumerate(self.conditions):
            for operator in COMPARISONS:
                if operator not in (part.operator, part.operator + "="):
                    yield self.changed(at, replace(part, operator=operator))

    def values(self) -> Iterator[Query]:
        for at, part in enumerate(self.conditions):
            for value in self.near(part):
                yield self.changed(at, replace(part, value=value))
            for _ in range(TRIES):
                value = self.cell(part.column)
                if value is not None:
                    yield self.changed(at, replace(part, value=value))

    def respelled(self) -> Iterator[Query]:
        """Gold's value in upper case or with further zeros, with gold's operator and others."""
        for at, part in enumerate(self.conditions):
            found = number(part.value)
            spelled = part.value.upper() if found is None else f"{found:.10g}"
            for value in (spelled, f"{spelled}.00" if found and "." not in spelled else spelled):
                for operator in COMPARISONS:
                    if value != part.value:
                        yield self.changed(at, replace(part, operator=operator, value=value))

    def near(self, part: Comparison) -> list[str]:
        found = number(part.value)
        if found is None or self.table.types[part.column] == "text":
            return []
        return [f"{found + shift:.10g}" for shift in (-10, -2, -1, -0.5, 0.5, 1, 2, 10)]

    def left_out(self) -> Iterator[Query]:
        for at in range(len(self.conditions)):
            yield self.changed(at)

    def columns(self) -> Iterator[Query]:
        """A condition on another column: with its own value where the types agree, else a cell."""
        for at, part in enumerate(self.conditions):
            for column in range(len(self.table.header)):
                if column == part.column:
                    continue
                if self.table.types[column] == self.table.types[part.column]:
                    yield self.changed(at, replace(part, column=column))
                value = self.cell(column)
                if value is not None:
                    yield self.changed(at, Comparison(column, part.operator, value))

    def added(self) -> Iterator[Query]:
        for column in range(len(self.table.header)):
            for _ in range(TRIES):
                value = self.cell(column)
                if value is not None:
                    operator = self.rng.choice(COMPARISONS)
                    yield self.with_conditions(
                        [*self.conditions, Comparison(column, operator, value)]
                    )

    def other_shapes(self) -> Iterator[Query]:
        for at, part in enumerate(self.conditions):
            value = self.cell(part.column)
            if value is not None and part.operator == "=":
                yield self.changed(at, In(part.column, (part.value, value)))
            elif value is not None:
                ends = (part.value, value)
                low, high = ends if part.operator == ">" else ends[::-1]
                yield self.changed(at, Between(part.column, low, high))
        if len(self.conditions) > 1:
            yield replace(self.gold, where=Or(tuple(self.conditions)))
        yield replace(self.gold, distinct=True)

    def cell(self, column: int) -> str | None:
        """A cell of the column as a literal."""
        cells = [row[column] for row in self.table.rows if row[column] is not None]
        return str(self.rng.choice(cells)) if cells else None


# --- The independent judge: numpy on random tables ------------------------------------------------


@dataclass(frozen=True)
class Column:
    """The cells of a column in all tables: ``values`` are numbers, or for a text column places in
    the sorted list of all texts; ``null`` marks the cells that are NULL."""

    text: bool
    values: np.ndarray
    null: np.ndarray


class World:
    """Many tables under one another: ``table[i]`` is the table of row i."""

    def __init__(self, cells: Sequence[Column], table: np.ndarray, texts: list[str]) -> None:
        self.cells, self.table, self.texts = cells, table, texts
        self.tables = int(table[-1]) + 1
        self._results: dict[Query, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._addends = np.array([addend(text) for text in texts] or [0.0])

    def rows(self, where: Where | None) -> np.ndarray:
        """Which rows satisfy a condition."""
        match where:
            case None:
                return np.ones(len(self.table), bool)
            case And(parts):
                return np.logical_and.reduce([self.rows(part) for part in parts])
            case Or(parts):
                return np.logical_or.reduce([self.rows(part) for part in parts])
            case Comparison(column, operator, value):
                return self.compare(column, operator, value)
            case In(column, values, False):
                return np.logical_or.reduce([self.compare(column, "=", v) for v in values])
            case Between(column, low, high, False):
                return self.compare(column, ">=", low) & self.compare(column, "<=", high)
        raise ValueError(f"WikiSQL's form holds no {where}")

    def compare(self, column: int, operator: str, value: str) -> np.ndarray:
        cells = self.cells[column]
        exact = True
        if cells.text:
            place = bisect_left(self.texts, fold(value))
            exact = place < len(self.texts) and self.texts[place] == fold(value)
            bound = place if exact else place - 0.5
        elif (found := number(value)) is not None:
            bound = found
        else:
            bound = np.nan
        values = cells.values
        with np.errstate(invalid="ignore"):
            holds = {
                "=": values == bound,
                "<>": values != bound,
                ">": values > bound,
                "<": values < bound,
                ">=": values >= bound,
                "<=": values <= bound,
            }[operator]
        return holds & ~cells.null

    def result(self, query: Query) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sorted (table, NULL?, value) of every row of every table's result."""
        item = query.select[0]
        assert item.column is not None
        rows = self.rows(query.where)
        cells = self.cells[item.column]
        table, null, values = self.table[rows], cells.null[rows], cells.values[rows]
        if item.aggregate:
            table, null, values = self.aggregate(item.aggregate, cells.text, table, null, values)
        values = np.where(null, 0.0, values)
        order = np.lexsort((values, null, table))
        found = table[order], null[order], values[order]
        if not query.distinct:
            return found
        first = np.ones(len(order), bool)
        first[1:] = np.logical_or.reduce([part[1:] != part[:-1] for part in found])
        return found[0][first], found[1][first], found[2][first]

    def aggregate(
        self, name: str, text: bool, table: np.ndarray, null: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        every = np.arange(self.tables)
        table, values = table[~null], values[~null]
        count = np.bincount(table, minlength=self.tables)
        if name == "COUNT":
            return every, np.zeros(self.tables, bool), count.astype(float)
        if name in ("SUM", "AVG"):
            added = self._addends[values.astype(int)] if text else values
            total = np.bincount(table, added, self.tables)
            return every, count == 0, total / np.maximum(count, 1) if name == "AVG" else total
        best = np.full(self.tables, -np.inf if name == "MAX" else np.inf)
        (np.maximum if name == "MAX" else np.minimum).at(best, table, values)
        return every, count == 0, best

    def differs(self, gold: Query, other: Query) -> bool:
        """Whether the two differ on some table on which gold is not degenerate."""
        if gold not in self._results:
            self._results[gold] = self.result(gold)
        mine, theirs = self._results[gold], self.result(other)
        matched = np.bincount(self.table[self.rows(gold.where)], minlength=self.tables)
        known = np.bincount(mine[0][~mine[1]], minlength=self.tables)
        counts = [np.bincount(found[0], minlength=self.tables) for found in (mine, theirs)]
        kinds = [self.kind(query) for query in (gold, other)]
        graded = (matched > 0) & (known > 0)
        if (graded & (counts[0] != counts[1])).any():
            return True
        same = counts[0] == counts[1]
        left, right = (
            [part[(graded & same)[found[0]]] for part in found] for found in (mine, theirs)
        )
        if (left[1] != right[1]).any():
            return True
        if kinds[0] != kinds[1]:
            return bool((~left[1]).any())
        return not np.allclose(left[2], right[2], rtol=1e-6, atol=1e-9)

    def kind(self, query: Query) -> bool:
        """Whether the values of the result are texts."""
        item = query.select[0]
        assert item.column is not None
        return self.cells[item.column].text and item.aggregate in ("", "MAX", "MIN")


def original(table: Table) -> World:
    """A table as it stands."""
    texts = sorted({fold(str(c)) for i in _texts(table) for c in _cells(table, i)})
    columns = []
    for index, kind in enumerate(table.types):
        cells = [row[index] for row in table.rows]
        null = np.array([cell is None for cell in cells])
        values = [
            0 if c is None else bisect_left(texts, fold(str(c))) if kind == "text" else number(c)
            for c in cells
        ]
        columns.append(Column(kind == "text", np.array(values, float), null))
    return World(columns, np.zeros(len(table.rows), int), texts)


def _texts(table: Table) -> list[int]:
    return [index for index, kind in enumerate(table.types) if kind == "text"]


def _cells(table: Table, column: int) -> list[Any]:
    return [row[column] for row in table.rows if row[column] is not None]


def larger(table: Table, gold: Query, changed: Sequence[Query], seed: int) -> World:
    """200 random tables on which literals of gold and of the changed queries meet their bounds."""
    rng = np.random.default_rng([seed, *table.id.encode()])
    literals: dict[int, list[str]] = defaultdict(list)
    for query in (gold, *changed):
        for leaf in leaves(query.where):
            match leaf:
                case Comparison(column, _, value):
                    literals[column].append(value)
                case In(column, values):
                    literals[column] += values
                case Between(column, low, high):
                    literals[column] += (low, high)
    words = {i: _words(table, i, literals[i], rng) for i in _texts(table)}
    texts = sorted(set().union(*words.values())) if words else []
    sizes = rng.integers(LEAST_ROWS, MOST_ROWS + 1, TABLES)
    rows = np.repeat(np.arange(TABLES), sizes)
    wanted = {leaf.column: leaf for leaf in leaves(gold.where)}
    columns = []
    for index, kind in enumerate(table.types):
        if kind == "text":
            options = np.array([bisect_left(texts, word) for word in sorted(words[index])], float)
        else:
            options = _numbers(table, index, literals[index])
        values = _drawn(options, kind == "text", rows, rng)
        null = np.zeros(len(rows), bool)
        if any(row[index] is None for row in table.rows):
            null = rng.random(len(rows)) < 0.15
        columns.append(Column(kind == "text", values, null))
    # Some rows come close to gold: they satisfy each of its conditions more often than not. In a
    # third of the tables nearly all others miss one, so that single rows decide.
    close = rng.random(len(rows)) < rng.choice((0, 0.05, 0.2, 0.5), TABLES)[rows]
    apart = (rng.random(TABLES) < 0.33)[rows] & ~close & (rng.random(len(rows)) < 0.97)
    broken = rng.choice(list(wanted), len(rows)) if wanted else np.zeros(len(rows), int)
    world = World(columns, rows, texts)
    for index in wanted:
        parts = [leaf for leaf in leaves(gold.where) if leaf.column == index]
        holds = world.rows(conjunction(list(parts)))
        for cells, put in (
            (holds, close & (rng.random(len(rows)) < 0.8)),
            (~holds & ~columns[index].null, apart & (broken == index)),
        ):
            if cells.any() and put.any():
                values = columns[index].values
                values[put] = rng.choice(np.unique(values[cells]), int(put.sum()))
                columns[index].null[put] = False
    return world


def _drawn(
    options: np.ndarray, text: bool, rows: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A value for each row. A table has either few values of its own, so that rows agree, or any
    values at all, and then numbers of any size between the least and the largest."""
    few = rng.integers(1, 13, TABLES)
    own = rng.choice(options, (TABLES, 12))
    agreeing = own[rows, rng.integers(0, few[rows])]
    free = rng.choice(options, len(rows))
    if not text:
        step = np.diff(options).min(initial=np.inf)
        step = step if np.isfinite(step) else 1.0
        low, span = options[0], min((options[-1] - options[0]) / step, 1e12)
        spread = low + step * np.round(rng.random(len(rows)) * span)
        free = np.where(rng.random(len(rows)) < 0.5, free, np.round(spread, 6))
    return np.where((rng.random(TABLES) < 0.5)[rows], agreeing, free)


def _words(
    table: Table, column: int, literals: Sequence[str], rng: np.random.Generator
) -> set[str]:
    known = [fold(str(cell)) for cell in _cells(table, column)]
    near = [fold(value) for value in literals]
    near += [word + " b" for word in near] + [word[:-1] for word in near if len(word) > 1]
    new = [f"{word} {rng.integers(10)}" for word in known[:3]]
    return {*known, *near, *new, "!", "\uffdcz", "12", "x"}


def _numbers(table: Table, column: int, literals: Sequence[str]) -> np.ndarray:
    """The column's numbers and, on the same grid, those about the literals, and far ones."""
    known = [value for cell in _cells(table, column) if (value := number(cell)) is not None]
    decimals = max((_decimals(value) for value in known), default=0)
    step = 10.0**-decimals
    bounds = [value for text in literals if (value := number(text)) is not None]
    near = [
        np.floor(value / step + 1e-9) * step + k * step for value in bounds for k in (-1, 0, 1, 2)
    ]
    # A bound that lies on the grid must be met exactly.
    near += [value for value in bounds if abs(value / step - round(value / step)) < 1e-6]
    low, high = min((*known, 0.0)), max((*known, 0.0))
    far = [low - 1000 * step, low - step, high + step, high + 1000 * step]
    return np.unique(np.round([*known, *near, *far], decimals))


def _decimals(value: float) -> int:
    return len(f"{value:.6f}".rstrip("0").split(".")[1])


# --- Measuring ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lucky:
    """A changed query that is right on the table, and what both judges say of it.

    ``proven`` says that numpy found the two to part on the counterexample only.
    """

    example: Example
    kind: str
    query: Query
    different: bool
    killed: bool
    proven: bool = False


def golds(split: Split, each: int) -> list[Example]:
    """Up to ``each`` examples of every aggregate, of a seeded shuffle."""
    examples = list(split.examples)
    random.Random(0).shuffle(examples)
    seen: Counter[int] = Counter()
    kept = []
    for example in examples:
        seen[example.gold.agg] += 1
        if not each or seen[example.gold.agg] <= each:
            kept.append(example)
    return kept


def measured(split: Split, examples: Sequence[Example], tell: Callable[[str], None]) -> list[Lucky]:
    """Every lucky answer of the examples' changed queries."""
    with closing(open_gold(split.tables, examples)) as gold:
        candidates = [
            (example, kind, query, different)
            for at, example in enumerate(examples)
            for kind, query, different in _judged(gold, at, example)
        ]
        tell(f"{len(candidates)} changed queries right on the table by numpy")
        number_of = gold.number_of
        tasks = [Task(number_of[e.table_id], query) for e, _, query, _ in candidates]
        right = {e.id: g for e, g in zip(examples, gold.golds, strict=True)}
        kept = []
        for candidate, result in zip(candidates, gold.executor.run(tasks), strict=True):
            wanted = right[candidate[0].id].result
            assert not isinstance(wanted, Failure)
            # numpy and DuckDB must agree on what is right on the table.
            good = not isinstance(result, Failure) and equal_results(result.rows, wanted.rows)
            if good:
                kept.append(candidate)
            else:
                tell(f"numpy and DuckDB disagree: {candidate[0].id} {candidate[2]} {result}")
        passes = [Passed(e, number_of[e.table_id], query) for e, _, query, _ in kept]
        verdicts = hold_on_copies(gold.executor, passes, HARDENED_COPIES)
    lucky = []
    for (example, kind, query, different), verdict in zip(kept, verdicts, strict=True):
        found = verdict.counterexample
        table = split.tables[example.table_id]
        proven = not different and found is not None and parts(table, example, query, found)
        lucky.append(Lucky(example, kind, query, different or proven, found is not None, proven))
    return lucky


def parts(table: Table, example: Example, query: Query, found: Counterexample) -> bool:
    """Whether the results part on a counterexample that such a table could be, by numpy."""
    wanted = from_logical_form(example.gold)
    used = used_columns(Passed(example, 0, query), len(table.header))
    rows = []
    for row in found.rows:
        whole: list[Any] = [None] * len(table.header)
        for column, cell in zip(used, row, strict=True):
            whole[column] = cell
        rows.append(tuple(whole))
    for column in used:
        known = _cells(table, column)
        cells = [row[column] for row in rows]
        if None in cells and len(known) == len(table.rows):
            return False
        if table.types[column] == "real":
            grid = max(_decimals(value) for cell in known if (value := number(cell)) is not None)
            if any(cell is not None and _decimals(number(cell) or 0.0) > grid for cell in cells):
                return False
    return original(replace(table, rows=tuple(rows))).differs(wanted, query)


def _judged(gold: GoldSet, at: int, example: Example) -> Iterable[tuple[str, Query, bool]]:
    """The lucky changed queries of one gold, and whether random tables tell them from gold."""
    number_of = gold.number_of[example.table_id]
    table, storage = gold.tables[number_of], gold.executor.storage(number_of)
    if gold.golds[at].degenerate or "mixed" in storage or not table.rows:
        return []
    wanted = from_logical_form(example.gold)
    stands = original(table)
    lucky: dict[Query, str] = {}
    for kind, query in Changes(table, wanted, random.Random(f"{example.id}|{table.id}")).all():
        if not same_query(query, wanted, storage) and not stands.differs(wanted, query):
            lucky.setdefault(query, kind)
    if not lucky:
        return []
    left = list(lucky)
    for seed in range(SEEDS):
        world = larger(table, wanted, list(lucky), seed)
        left = [query for query in left if not world.differs(wanted, query)]
    return [(kind, query, query not in left) for query, kind in lucky.items()]


def rows_of(found: Sequence[Lucky], key: Callable[[Lucky], str]) -> list[tuple[str, ...]]:
    """Table rows by ``key``: lucky answers, those that differ, killed; equivalent ones, failed."""
    groups: dict[str, list[Lucky]] = defaultdict(list)
    for one in found:
        groups[key(one)].append(one)
        groups["all"].append(one)
    ordered = sorted(groups.items(), key=lambda pair: (pair[0] == "all", pair[0]))
    return [(name, *figures(group)) for name, group in ordered]


def figures(found: Sequence[Lucky]) -> tuple[str, ...]:
    different = [one for one in found if one.different]
    killed = sum(one.killed for one in different)
    share = f"{100 * killed / len(different):.1f}%" if different else ""
    failed = sum(one.killed for one in found if not one.different)
    return str(len(different)), str(killed), share, str(len(found) - len(different)), str(failed)


def markdown(found: Sequence[Lucky]) -> str:
    head = ("right by luck", "killed", "share", "equivalent", "failed")
    tables = []
    for title, key in (
        ("gold's aggregate", lambda one: AGGREGATIONS[one.example.gold.agg] or "none"),
        ("change", lambda one: one.kind),
    ):
        lines = [(title, *head), ("---", *["---:"] * len(head)), *rows_of(found, key)]
        tables.append("".join(f"| {' | '.join(line)} |\n" for line in lines))
    return "\n".join(tables)


def main() -> int:
    """Measure, print, and with --docs put the tables into the page."""
    parser = simulated.parser(__doc__, PAGE)
    parser.add_argument("--dataset", type=Path, default=MINI)
    parser.add_argument("--split", default="train")
    parser.add_argument("--golds", type=int, default=40)
    parser.add_argument("--show", action="store_true", help="print what survives, and what fails")
    given = parser.parse_args()
    split = load_split(given.dataset, [given.split])
    examples = golds(split, given.golds)
    found = measured(split, examples, print)
    asked = len({one.example.id for one in found})
    proven = sum(one.proven for one in found)
    text = (
        f"{len(found):,} answers that are right by luck or equivalent, of {asked:,} gold queries "
        f"of {given.dataset.name}'s {given.split} split; K = {HARDENED_COPIES}. "
        f"{SEEDS * TABLES:,} tables of {LEAST_ROWS} to {MOST_ROWS} rows a gold query; "
        f"{proven} more were told apart by their counterexample alone.\n\n" + markdown(found)
    )
    simulated.show(text, PAGE, given.docs)
    for one in found if given.show else ():
        if one.different != one.killed:
            print(one.kind, one.example.id, one.example.gold, one.query.select, one.query.where)
    different = [one for one in found if one.different]
    failed = [one for one in found if one.killed and not one.different]
    return int(bool(failed) or sum(one.killed for one in different) < 0.99 * len(different))


if __name__ == "__main__":
    sys.exit(main())
