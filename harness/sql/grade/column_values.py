"""New values of a column: those it has, new ones, extremes, those that meet or just miss a bound.

Cells of a column -> values for perturbed copies of its table (perturb.py). Numbers stay on their
column's grid (integers stay integers, prices keep two decimals); text keeps to the column's own
values and close variations of them. A condition holds as it does in grading: numbers in a real
column, folded text in a text column.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence

from harness.data.records import Cell
from harness.sql.grade.equality import RELATIVE
from harness.sql.values import fold, number

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
    def ladder(
        self, tests: Sequence[Test], high: bool, steps: int, rng: random.Random
    ) -> list[Cell]:
        """``steps`` values, the farthest up (or down) first, each unlike the next in a comparison
        of results; all satisfy ``tests`` as far as the column can."""

    @abstractmethod
    def around(self, value: str | float | int) -> list[Cell]:
        """``value``, its neighbour below and its neighbour above, if the column can hold them.

        From then on extremes and ladders lie beyond ``value`` too.
        """

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
        options = self._good[key]
        # Half of them are close to the condition's value, so that another bound shows.
        if not options or rng.random() < 0.5:
            close = [cell for _, value in tests for cell in self.candidates(value, rng)]
            options = [cell for cell in close if self._all(cell, tests)] or options
        if not options or rng.random() < 0.3:
            far = [self.extreme(True, rng), self.extreme(False, rng)]
            options = [cell for cell in far if self._all(cell, tests)] or options
        return rng.choice(options) if options else self.any(rng)

    def _kept(self, cells: Sequence[Cell], tests: Sequence[Test], rng: random.Random) -> list[Cell]:
        """The cells that satisfy ``tests``, and others in place of the rest."""
        good = [cell for cell in cells if self._all(cell, tests)]
        return [*good, *(self.satisfying(tests, rng) for _ in range(len(cells) - len(good)))]

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
        self._low, self._high = min(self._known), max(self._known)

    def _snap(self, value: float) -> float:
        return round(value, self._decimals)

    def fresh(self, rng: random.Random) -> Cell:
        base = rng.choice(self._known)
        return self._snap(base + self.step * rng.choice((-7, -3, -2, -1, 1, 2, 3, 5, 11)))

    def extreme(self, high: bool, rng: random.Random) -> Cell:
        far = self.step * rng.randrange(20, 60)
        return self._snap(self._high + far if high else self._low - far)

    def ladder(
        self, tests: Sequence[Test], high: bool, steps: int, rng: random.Random
    ) -> list[Cell]:
        sign = 1 if high else -1
        ends = [
            found for op, v in tests if op == (2 if high else 1) if (found := number(v)) is not None
        ]
        far = self._high if high else self._low
        # Results agree within a relative error, so that steps between large numbers are wide.
        gap = self.step * math.ceil(max(1.0, 4 * RELATIVE * abs(far) / self.step))
        if ends:
            top = min(ends) - gap if high else max(ends) + gap
        else:
            top = far + sign * (self.step * rng.randrange(20, 60) + gap * steps)
        cells: list[Cell] = [self._snap(top - sign * gap * place) for place in range(steps)]
        return self._kept(cells, tests, rng)

    def around(self, value: str | float | int) -> list[Cell]:
        found = number(value)
        if found is None:
            return []
        if abs(found) <= _LARGEST:
            self._low, self._high = min(self._low, found), max(self._high, found)
        return self.candidates(value, random.Random(0))[:3]

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
        self._adds = numeric
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

    def ladder(
        self, tests: Sequence[Test], high: bool, steps: int, rng: random.Random
    ) -> list[Cell]:
        base = str(rng.choice(self.pool)) if self.pool else "x"
        mark = "\uffdc" if high else "\t"
        places = range(steps, 0, -1) if high else range(1, steps + 1)
        cells: list[Cell] = [
            str(900 + 7 * n) if self._adds else f"{mark}{n:02d} {base}" for n in places
        ]
        return self._kept(cells, tests, rng)

    def around(self, value: str | float | int) -> list[Cell]:
        text = str(value)
        return [text, text[:-1] or "!", f"{text} x"]

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
