"""Perturbed copies of a table, on which queries that are right by luck go wrong.

Table + gold query + copy number -> columns of a changed table, the same for the same seed. A copy
drops and repeats rows, shuffles every column by itself, mixes in new values of the column's own
type, and adds rows that satisfy all of gold's conditions and rows that miss exactly one of them by
a little: the boundary value itself, its neighbours on the column's grid, another text. So a wrong
or missing condition, ``>=`` for ``>``, another aggregate or another column changes the result on
some copy. The method is that of the distilled test suites of Zhong, Yu and Klein 2020
(arXiv:2010.02840): the neighbours are theirs, the generator is ours. A gold condition that no value
can satisfy is left as the table has it.

Numbers stay on their column's grid (integers stay integers, prices keep two decimals); text keeps
to the column's own values and close variations of them; NULL enters only columns that hold NULL. A
condition holds as it does in grading: numbers in a real column, folded text in a text column.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from harness.data.records import Cell, LogicalForm, Table
from harness.sql.values import fold, number

SEED = 20_240_117
_DROP = 0.15
_REPEAT = 0.15
_RENEW = 0.3
_MISSES = 2
_NULL = 0.4
_MAX_DECIMALS = 6
# Beyond this a step of the grid is lost in rounding.
_LARGEST = 1e12

Test = tuple[int, str | float | int]
"""A condition on a column: WikiSQL's operator index and the value."""


class ColumnValues(ABC):
    """Generates values of one column; ``pool`` holds its cells that are not NULL."""

    def __init__(self, pool: Sequence[str | float | int], holds_null: bool) -> None:
        self.pool = pool
        self.holds_null = holds_null
        self._good: dict[tuple[Test, ...], list[Cell]] = {}

    def any(self, rng: random.Random) -> Cell:
        """A value that the column has, or a new one."""
        if self.pool and rng.random() < 0.8:
            return rng.choice(self.pool)
        return self.fresh(rng)

    @abstractmethod
    def fresh(self, rng: random.Random) -> Cell:
        """A new value of the column's type."""

    @abstractmethod
    def extreme(self, high: bool, rng: random.Random) -> Cell:
        """A new value above or below all others."""

    @abstractmethod
    def candidates(self, value: str | float | int, rng: random.Random) -> list[Cell]:
        """Values close to ``value``: itself, its neighbours, cells of the column."""

    @abstractmethod
    def holds(self, cell: Cell, test: Test) -> bool:
        """Whether a cell satisfies a condition."""

    def satisfying(self, tests: Sequence[Test], rng: random.Random) -> Cell:
        """A value that satisfies all ``tests``, as far as there is one."""
        key = tuple(tests)
        if key not in self._good:
            self._good[key] = [cell for cell in self.pool if self._all(cell, tests)]
        known = self._good[key]
        near = [
            cell
            for _, value in tests
            for cell in self.candidates(value, rng)
            if self._all(cell, tests)
        ]
        # Half of them are close to the condition's value, so that another bound shows.
        options = near if near and (not known or rng.random() < 0.5) else known
        if rng.random() < 0.3 or not options:
            far = [self.extreme(True, rng), self.extreme(False, rng)]
            options = [c for c in far if self._all(c, tests)] or options
        return rng.choice(options) if options else self.any(rng)

    def _all(self, cell: Cell, tests: Sequence[Test]) -> bool:
        return all(self.holds(cell, test) for test in tests)

    def missing(self, tests: Sequence[Test], broken: int, side: int, rng: random.Random) -> Cell:
        """A value that misses condition number ``broken`` by little and satisfies the others.

        Args:
            side: which of the misses, so that the copies differ; 0 prefers the boundary.
        """
        value = tests[broken][1]
        near = self.candidates(value, rng)
        turn = side % max(1, len(near))
        order = near[turn:] + near[:turn]
        others = [test for index, test in enumerate(tests) if index != broken]
        missing = [cell for cell in order if not self.holds(cell, tests[broken])]
        alone = (cell for cell in missing if self._all(cell, others))
        return next(alone, missing[0]) if missing else self.any(rng)


class NumericColumn(ColumnValues):
    """A real column: numbers on a grid of ``step``; texts in it are kept as they are."""

    def __init__(self, pool: Sequence[str | float | int], holds_null: bool) -> None:
        super().__init__(pool, holds_null)
        known = [found for cell in pool if (found := number(cell)) is not None]
        self._decimals = max((_decimals(value) for value in known), default=0)
        self.step = 10.0**-self._decimals
        self._known = known or [0.0]

    def _snap(self, value: float) -> float:
        return round(value, self._decimals)

    def fresh(self, rng: random.Random) -> Cell:
        base = rng.choice(self._known)
        return self._snap(base + self.step * rng.choice((-7, -3, -2, -1, 1, 2, 3, 5, 11)))

    def extreme(self, high: bool, rng: random.Random) -> Cell:
        far = self.step * rng.randrange(20, 60)
        return self._snap(max(self._known) + far if high else min(self._known) - far)

    def candidates(self, value: str | float | int, rng: random.Random) -> list[Cell]:
        found = number(value)
        if found is None:
            return [value]
        if abs(found) > _LARGEST:
            return [found, found / 2, found * 2 if abs(found) < 1e300 else found]
        below = self._snap(math.floor(found / self.step + 1e-9) * self.step)
        above = self._snap(math.ceil(found / self.step - 1e-9) * self.step)
        close: list[Cell] = []
        if below == above or math.isclose(below, above, abs_tol=self.step / 100):
            close.append(found)
            below, above = self._snap(found - self.step), self._snap(found + self.step)
        close += [below, above, self._snap(below - self.step), self._snap(above + self.step)]
        return close

    def holds(self, cell: Cell, test: Test) -> bool:
        operator, value = test
        if cell is None:
            return False
        left, right = number(cell), number(value)
        if left is None or right is None:
            same = fold(str(cell)) == fold(str(value))
            return operator == 0 and left is None and right is None and same
        return (left == right, left > right, left < right)[operator]


class TextColumn(ColumnValues):
    """A text column. New values are numbers where ``numeric`` (its SUM or AVG matters)."""

    def __init__(self, pool: Sequence[str | float | int], holds_null: bool, numeric: bool) -> None:
        super().__init__(pool, holds_null)
        self._numeric = numeric or (bool(pool) and all(number(cell) is not None for cell in pool))

    def fresh(self, rng: random.Random) -> Cell:
        if self._numeric:
            return str(rng.randrange(1, 100))
        base = str(rng.choice(self.pool)) if self.pool else "x"
        return f"{base} {rng.choice('abcdefgh')}{rng.randrange(10)}"

    def extreme(self, high: bool, rng: random.Random) -> Cell:
        if self._numeric:
            return str(rng.randrange(900, 999)) if high else str(rng.randrange(-99, -9))
        base = str(rng.choice(self.pool)) if self.pool else "x"
        return ("\uffdc" if high else "!") + base + str(rng.randrange(10))

    def candidates(self, value: str | float | int, rng: random.Random) -> list[Cell]:
        text = str(value)
        close: list[Cell] = [text, f"{text} {rng.choice('abcdefgh')}", f"a {text}"]
        if len(text) > 1:
            close += [text[:-1], text[1:]]
        for _ in range(2 if self.pool else 0):
            close.append(rng.choice(self.pool))
        found = number(value)
        if found is not None and found.is_integer() and abs(found) < 1e15:
            close[1:1] = [str(int(found) + 1), str(int(found) - 1)]
        return close

    def holds(self, cell: Cell, test: Test) -> bool:
        operator, value = test
        if cell is None:
            return False
        left, right = fold(str(cell)), fold(str(value))
        return (left == right, left > right, left < right)[operator]


def _decimals(value: float) -> int:
    if value.is_integer():
        return 0
    digits = f"{value:.{_MAX_DECIMALS}f}".rstrip("0")
    return len(digits.split(".")[1])


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
            tests = [self.gold.conds[index][1:] for index in conditions]
            cells.extend(values.satisfying(tests, rng) for _ in range(plan.positives))
            cells.extend(
                values.missing(tests, conditions.index(index), side, rng)
                if index in conditions
                else values.satisfying(tests, rng)
                for index, side in plan.misses
            )
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
        if column not in self._generators:
            pool = [cell for row in self.table.rows if (cell := row[column]) is not None]
            holds_null = len(pool) < len(self.table.rows)
            sums = column == self.gold.sel and self.gold.agg in (4, 5)
            self._generators[column] = (
                NumericColumn(pool, holds_null)
                if self.table.types[column] == "real"
                else TextColumn(pool, holds_null, sums)
            )
        return self._generators[column]
