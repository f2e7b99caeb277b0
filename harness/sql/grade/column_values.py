"""Which values a column of a table can take, for perturbed copies.

Table column -> :class:`ColumnValues`: random values of the column's type, values that satisfy given
conditions, values that just miss one. Numbers stay on the column's grid (integers stay integers,
prices keep two decimals); text keeps to the column's own values and close variations of them.
A condition holds as it does in grading: numbers in a real column, folded text in a text column.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence

from harness.data.records import Cell, Table
from harness.sql.values import fold, number

Test = tuple[int, str | float | int]
"""A condition on a column: WikiSQL's operator index and the value."""

_MAX_DECIMALS = 6
# Beyond this a step of the grid is lost in rounding.
_LARGEST = 1e12


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
        known = self._good.get(key)
        if known is None:
            known = self._good[key] = [cell for cell in self.pool if self._all(cell, tests)]
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
        order = near[side % max(1, len(near)) :] + near[: side % max(1, len(near))]

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


def column_values(table: Table, column: int, sums: bool) -> ColumnValues:
    """The generator of a column's values; ``sums`` when gold takes its SUM or AVG."""
    cells = [row[column] for row in table.rows]
    pool = [cell for cell in cells if cell is not None]
    holds_null = len(pool) < len(cells)
    if table.types[column] == "real":
        return NumericColumn(pool, holds_null)
    return TextColumn(pool, holds_null, sums)


def _decimals(value: float) -> int:
    if value.is_integer():
        return 0
    digits = f"{value:.{_MAX_DECIMALS}f}".rstrip("0")
    return len(digits.split(".")[1])
