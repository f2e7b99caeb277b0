"""Perturbed copies of a table, on which queries that are right by luck go wrong.

Table + gold query + copy number -> columns of a changed table, the same for the same seed. A copy
drops and repeats rows, shuffles every column by itself, mixes in new values of the column's own
type (column_values.py), and adds three kinds of rows:

- rows that satisfy all of gold's conditions, with extreme, new and known values elsewhere;
- rows that miss exactly one of them by a little: the boundary value itself, its neighbours on the
  column's grid, another text. Where gold takes a MAX or MIN these rows are beyond all others in
  the aggregated column, so that a query that lets one of them in has another result;
- rows about the answer's own literals, where gold has no such condition: the value, its neighbours,
  gold's conditions satisfied otherwise. Under a MAX or MIN each of them leads in some copy, so that
  a query that keeps one out has another result.

In every fourth copy the rows that satisfy gold lie at the other end of the aggregated column, so
that a further condition on that column shows. So a wrong, missing or further condition, ``>=`` for
``>``, another aggregate or another column changes the result on some copy, while a query that means
the same as gold never fails. The method is that of the distilled test suites of Zhong, Yu and Klein
2020 (arXiv:2010.02840), who keep the databases that tell gold from its neighbours; here the rows
are made to tell gold from the one answer that is asked about, and nothing is distilled.

NULL enters only columns that hold NULL. A gold condition that no value can satisfy is left as the
table has it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.data.records import Cell, LogicalForm, Table
from harness.sql.grade.column_values import ColumnValues, NumericColumn, Test, TextColumn

SEED = 20_240_117
_DROP = 0.4
_REPEAT = 0.1
_RENEW = 0.3
_MISSES = 2
_NULL = 0.4
_MOST_ASKED = 9
_MAX, _MIN, _SUM, _AVG = 1, 2, 4, 5

Literal = tuple[int, str | None]
"""A column and a value that an answer names; None asks for NULL."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """The rows of a copy: indices of original rows, then the number of rows that satisfy gold, then
    the rows that miss a condition, each as (condition, side), then those about the answer's
    literals, each as (column, value), of which number ``leader`` leads."""

    originals: tuple[int, ...]
    positives: int
    misses: tuple[tuple[int, int], ...]
    asked: tuple[tuple[int, Cell], ...]
    leader: int
    weak: bool
    """Whether the rows that satisfy gold lie at the wrong end of the aggregated column."""


class Copies:
    """The perturbed copies for one gold query on one table, and the literals of one answer.

    Two of the rows that satisfy gold have equal cells: in every other copy in gold's own column;
    where ``keys`` are given, the columns of a GROUP BY, in all columns there and in the keys alone
    in the other copies, so that DISTINCT and grouping show over any columns.
    """

    def __init__(
        self,
        table: Table,
        gold: LogicalForm,
        asked: Sequence[Literal] = (),
        keys: Sequence[int] | None = None,
    ) -> None:
        self.table = table
        self.gold = gold
        self.keys = keys
        self._identity = f"{SEED}|{table.id}|{gold.sel}|{gold.agg}|{gold.conds!r}"
        self._ends = gold.agg in (_MAX, _MIN)
        self._generators: dict[int, ColumnValues] = {}
        self._asked = tuple(dict.fromkeys(row for one in asked for row in self._around(one)))

    def columns(self, copy: int, wanted: Sequence[int]) -> list[list[Cell]]:
        """The cells of the ``wanted`` columns of copy number ``copy``, equally long lists."""
        plan = self._plan(copy)
        return [self._column(copy, column, plan) for column in wanted]

    def _around(self, literal: Literal) -> list[tuple[int, Cell]]:
        column, value = literal
        values = self._values(column)
        cells = [] if value is None else values.around(value)
        asks_null = value is None or not self._tests(column)
        if values.holds_null and column != self.gold.sel and asks_null:
            cells.append(None)  # no condition holds for it
        return [(column, cell) for cell in cells]

    def _plan(self, copy: int) -> _Plan:
        rng = random.Random(f"{self._identity}|{copy}")
        originals: list[int] = []
        for index in range(len(self.table.rows)):
            chance = rng.random()
            if chance >= _DROP:
                originals.append(index)
            if chance > 1 - _REPEAT:
                originals.append(index)
        misses = [
            (index, (copy + side) % 4)
            for index in range(len(self.gold.conds))
            for side in range(_MISSES)
        ]
        weak = self._ends and copy % 4 == 3
        asked = self._asked
        if weak:
            # About the aggregated column: in one of two such copies the first value, alone.
            own = [row for row in asked if row[0] == self.gold.sel][: copy // 4 % 2]
            asked = (*(row for row in asked if row[0] != self.gold.sel), *own)
        # Weak copies have no leader: each value has its turn in the others.
        turn = copy - copy // 4 if self._ends else copy
        if len(asked) > _MOST_ASKED:
            first = turn * _MOST_ASKED % len(asked)
            asked = (*asked[first:], *asked[:first])[:_MOST_ASKED]
        leader = turn % max(1, len(asked))
        positives = 2 + rng.randrange(3)
        return _Plan(tuple(originals), positives, tuple(misses), asked, leader, weak)

    def _column(self, copy: int, column: int, plan: _Plan) -> list[Cell]:
        rng = random.Random(f"{self._identity}|{copy}|{column}")
        cells: list[Cell] = [self.table.rows[index][column] for index in plan.originals]
        rng.shuffle(cells)
        values = self._values(column)
        cells = [
            values.fresh(rng) if cell is not None and rng.random() < _RENEW else cell
            for cell in cells
        ]
        if column == self.gold.sel:
            return self._selected(copy, cells, plan, rng)
        added = [self._fitting(column, rng) for _ in range(plan.positives)]
        if values.holds_null and not self._tests(column):
            # The first cell is never NULL, so that gold's result is not all NULL.
            added[1:] = [None if rng.random() < _NULL else cell for cell in added[1:]]
        if self.keys is not None and (copy % 2 or column in self.keys):
            added[-1] = added[0]
        added += [self._missing(column, miss, rng) for miss in plan.misses]
        added += [self._about(column, asked, rng) for asked in plan.asked]
        return cells + added

    def _tests(self, column: int) -> list[Test]:
        return [cond[1:] for cond in self.gold.conds if cond.column == column]

    def _fitting(self, column: int, rng: random.Random) -> Cell:
        tests, values = self._tests(column), self._values(column)
        return values.satisfying(tests, rng) if tests else self._free(values, rng)

    def _selected(
        self, copy: int, cells: list[Cell], plan: _Plan, rng: random.Random
    ) -> list[Cell]:
        """The cells of gold's own column: the added rows lie beyond ``cells``, the original ones,
        those that gold must leave out farthest."""
        column, values = self.gold.sel, self._values(self.gold.sel)
        tests, misses, asked = self._tests(column), len(plan.misses), len(plan.asked)
        high = self.gold.agg == _MAX or (self.gold.agg != _MIN and copy % 2 == 0)
        steps = values.ladder(tests, high, misses + asked + plan.positives, rng)
        out, about, taken = steps[:misses], steps[misses:][:asked], steps[misses + asked :]
        if about:
            about.insert(plan.leader, about.pop(0))
        if plan.weak:
            low = values.ladder(tests, not high, asked + plan.positives, rng)
            cells = [low[0] for _ in cells]
            taken, about = low[: plan.positives], low[plan.positives :]
        elif not self._ends:
            taken = [self._fitting(column, rng) for _ in taken]
            if copy % 2 or column in (self.keys or ()):
                taken[-1] = taken[0]  # so that DISTINCT shows
            if values.holds_null and not tests:
                taken[1:] = [None if rng.random() < _NULL else cell for cell in taken[1:]]
        for place, miss in enumerate(plan.misses):
            if self.gold.conds[miss[0]].column == column:
                out[place] = self._missing(column, miss, rng)
        for place, (of, value) in enumerate(plan.asked):
            if of == column:
                about[place] = value
        return [*cells, *taken, *out, *about]

    def _missing(self, column: int, miss: tuple[int, int], rng: random.Random) -> Cell:
        """A cell of a row that misses one condition."""
        index, side = miss
        if self.gold.conds[index].column != column:
            return self._fitting(column, rng)
        own = [at for at, cond in enumerate(self.gold.conds) if cond.column == column]
        return self._values(column).missing(self._tests(column), own.index(index), side, rng)

    def _about(self, column: int, asked: tuple[int, Cell], rng: random.Random) -> Cell:
        """A cell of a row about a literal of the answer."""
        return asked[1] if asked[0] == column else self._fitting(column, rng)

    def _free(self, values: ColumnValues, rng: random.Random) -> Cell:
        """A cell in a column on which gold sets no condition."""
        chance = rng.random()
        if chance < 0.4:
            return values.extreme(chance < 0.2, rng)
        return values.fresh(rng) if chance < 0.7 else values.any(rng)

    def _values(self, column: int) -> ColumnValues:
        if column not in self._generators:
            pool = [cell for row in self.table.rows if (cell := row[column]) is not None]
            holds_null = len(pool) < len(self.table.rows)
            sums = column == self.gold.sel and self.gold.agg in (_SUM, _AVG)
            self._generators[column] = (
                NumericColumn(pool, holds_null)
                if self.table.types[column] == "real"
                else TextColumn(pool, holds_null, sums)
            )
        return self._generators[column]
