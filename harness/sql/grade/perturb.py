"""Perturbed copies of a table, on which queries that are right by luck go wrong.

Table + gold query + copy number -> columns of a changed table, the same for the same seed. A copy
drops and repeats rows, shuffles every column by itself, mixes in new values of the column's own
type, and adds rows that satisfy all of gold's conditions and rows that miss exactly one of them by
a little: the boundary value itself, its neighbours on the column's grid, another text. So a wrong
or missing condition, ``>=`` for ``>``, another aggregate or another column changes the result on
some copy. NULL enters only columns that hold NULL; a column of integers stays one. The method is
that of the distilled test suites of Zhong, Yu and Klein 2020 (arXiv:2010.02840): the neighbours are
theirs, the generator is ours. A gold condition that no value can satisfy is left as the table has
it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.data.records import Cell, LogicalForm, Table
from harness.sql.grade.column_values import ColumnValues, column_values

SEED = 20_240_117
_DROP = 0.15
_REPEAT = 0.15
_RENEW = 0.3
_MISSES = 2
_NULL = 0.4


@dataclass(frozen=True, slots=True)
class _Plan:
    """The rows of a copy: indices of original rows, then the number of rows that satisfy gold, then
    the rows that miss a condition, each as (condition, side)."""

    originals: tuple[int, ...]
    positives: int
    misses: tuple[tuple[int, int], ...]


class Copies:
    """The perturbed copies for one gold query on one table."""

    def __init__(self, table: Table, gold: LogicalForm) -> None:
        self.table = table
        self.gold = gold
        self._identity = f"{SEED}|{table.id}|{gold.sel}|{gold.agg}|{gold.conds!r}"
        self._generators: dict[int, ColumnValues] = {}

    def columns(self, copy: int, wanted: Sequence[int]) -> list[list[Cell]]:
        """The cells of the ``wanted`` columns of copy number ``copy``, equally long lists."""
        plan = self._plan(copy)
        return [self._column(copy, column, plan) for column in wanted]

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
        return _Plan(tuple(originals), 2 + rng.randrange(3), tuple(misses))

    def _column(self, copy: int, column: int, plan: _Plan) -> list[Cell]:
        rng = random.Random(f"{self._identity}|{copy}|{column}")
        values = self._values(column)
        cells: list[Cell] = [self.table.rows[index][column] for index in plan.originals]
        rng.shuffle(cells)
        cells = [
            values.fresh(rng) if cell is not None and rng.random() < _RENEW else cell
            for cell in cells
        ]
        conditions = [index for index, cond in enumerate(self.gold.conds) if cond.column == column]
        if conditions:
            tests = [(self.gold.conds[i].operator, self.gold.conds[i].value) for i in conditions]
            cells.extend(values.satisfying(tests, rng) for _ in range(plan.positives))
            for index, side in plan.misses:
                if index in conditions:
                    broken = conditions.index(index)
                    cells.append(values.missing(tests, broken, side, rng))
                else:
                    cells.append(values.satisfying(tests, rng))
            return cells
        cells.extend(self._free(column, position, rng) for position in range(plan.positives))
        extreme = column == self.gold.sel
        cells.extend(
            values.extreme(side % 2 == 0, rng) if extreme else values.any(rng)
            for _, side in plan.misses
        )
        return cells

    def _free(self, column: int, position: int, rng: random.Random) -> Cell:
        """A cell of a row that satisfies gold, in a column on which gold sets no condition."""
        values = self._values(column)
        # The first cell is never NULL, so that gold's result is not all NULL.
        if values.holds_null and position > 0 and rng.random() < _NULL:
            return None
        return values.fresh(rng) if rng.random() < 0.6 else values.any(rng)

    def _values(self, column: int) -> ColumnValues:
        found = self._generators.get(column)
        if found is None:
            sums = column == self.gold.sel and self.gold.agg in (4, 5)
            found = self._generators[column] = column_values(self.table, column, sums)
        return found
