"""Test-suite accuracy: gold and prediction must agree on perturbed copies of their table too.

Queries that agree on the original table -> a :class:`Verdict` on each. The definition:

- :class:`harness.sql.grade.perturb.Copies` makes copy number 0..K-1 of the table, seeded by table
  and gold; some of their rows are about the values that the prediction names.
- Gold and the prediction run on each copy; their results are compared by ``equal_results``
  (equality.py), as on the original table.
- The prediction fails when the results differ on a copy, and passes when they are equal on every
  copy that proves something. A copy on which gold is degenerate, or on which one of both is not run
  for want of time or memory, proves nothing; where none does, there is no verdict.

After the distilled test suites of Zhong, Yu and Klein 2020 (arXiv:2010.02840).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.data.records import OPERATORS
from harness.progress import ProgressCallback, silent
from harness.schema.execution import Counterexample
from harness.sql.grade.counterexample import smallest
from harness.sql.grade.given_tables import Given, Passed, run_on_given, used_columns
from harness.sql.grade.perturb import Copies, Literal
from harness.sql.query import Between, Comparison, In, IsNull, Like, leaves
from harness.sql.run.database import cell_value
from harness.sql.run.executor import Executor

_EXAMPLES_PER_STATEMENT = 100
_FIRST = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """``holds`` is None where no copy proved anything; ``counterexample`` is the smallest table on
    which gold and the prediction part."""

    holds: bool | None
    counterexample: Counterexample | None = None


def hold_on_copies(
    executor: Executor, passes: Sequence[Passed], copies: int, progress: ProgressCallback = silent
) -> list[Verdict]:
    """For each prediction whether it agrees with gold on ``copies`` copies of its table."""
    parting: dict[int, Given] = {}
    proved: set[int] = set()
    stopped: set[int] = set()
    # Most wrong queries fail on the first copies, so few need the others.
    for numbers in (range(min(_FIRST, copies)), range(_FIRST, copies)):
        done = parting.keys() | stopped
        left = [index for index in range(len(passes)) if index not in done] if numbers else []
        for start in range(0, len(left), _EXAMPLES_PER_STATEMENT):
            part = left[start : start + _EXAMPLES_PER_STATEMENT]
            given = [_copied(executor, passes[index], numbers) for index in part]
            results = run_on_given(executor, given)
            for index, one, found in zip(part, given, results, strict=True):
                if (place := found.parting()) is not None:
                    parting[index] = replace(one, tables=[one.tables[place]])
                if found.proves():
                    proved.add(index)
                if found.stopped():
                    stopped.add(index)
            progress("perturbed tables", start + len(part), len(left))
    kept = dict(zip(parting, smallest(executor, list(parting.values())), strict=True))
    return [
        Verdict(False, kept[index]) if index in kept else Verdict(True if index in proved else None)
        for index in range(len(passes))
    ]


def _copied(executor: Executor, passed: Passed, numbers: Sequence[int]) -> Given:
    table = executor.tables[passed.table]
    used = used_columns(passed, len(table.header))
    maker = Copies(table, passed.example.gold, _asked(passed, table.types))
    tables = [list(zip(*maker.columns(copy, used), strict=True)) for copy in numbers]
    return Given(passed, used, tables)


def _asked(passed: Passed, types: Sequence[str]) -> list[Literal]:
    """The values that the prediction's conditions name and gold's do not, with their columns.

    Values are the same as they compare in a column: in any case, and 3 is 3.0.
    """

    def condition(column: int, operator: str, value: object) -> tuple[int, str, str | None]:
        return column, operator, cell_value(str(value), types[column]).text

    gold = {condition(c.column, OPERATORS[c.operator], c.value) for c in passed.example.gold.conds}
    asked: list[Literal] = []
    for leaf in leaves(passed.query.where):
        match leaf:
            case Comparison(column, operator, value):
                named = [(operator, value)]
            case In(column, values):
                named = [("=", value) for value in values]
            case Between(column, low, high):
                named = [(">=", low), ("<=", high)]
            case Like(column, pattern):
                named = [("=", pattern.strip("%"))]
            case IsNull(column):
                named = []
                asked.append((column, None))
        asked += [(column, v) for op, v in named if condition(column, op, v) not in gold]
    return asked
