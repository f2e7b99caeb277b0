"""``score --self-test``: known answers through the same code that grades models.

A dataset's test split -> a table of kinds of answers with their pass rates. Gold as it stands, in
other spellings and buried in prose must pass always; a wrong column, a wrong aggregate and prose
must never pass (on the perturbed tables, where luck does not count). Trivial queries have no right
rate; theirs shows what each protocol lets pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.data.prompts import dialect_query, sql_query
from harness.data.records import Condition, Example, LogicalForm, Split, Table, wikisql_form
from harness.disk.cache import Cache
from harness.markdown import percent, table
from harness.progress import ProgressCallback, silent
from harness.sql.grade.predictions import Prediction
from harness.sql.grade.score import Score, score
from harness.sql.grade.summary import summarize

COPIES = 8
_RATES = {"ex", "ex_official", "ex_strict", "ex_hardened"}
_COUNT = 3

Write = Callable[[LogicalForm, Table], "str | None"]
"""Gold and table -> an answer's text; None where the kind does not apply."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of answer. ``expected`` is the rate that must come out, None where any may."""

    kind: str
    n: int
    expected: float | None
    ex: float | None
    ex_official: float | None
    ex_strict: float | None
    ex_hardened: float | None
    ok: bool


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The outcome of the self-test."""

    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether every kind came out as it must."""
        return all(row.ok for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return {"passed": self.passed, "rows": [asdict(row) for row in self.rows]}

    def render(self) -> str:
        """A Markdown table, rates in percent."""
        rates = ("expected", "ex", "ex_official", "ex_strict", "ex_hardened")
        rows = [
            (
                row.kind,
                str(row.n),
                *(percent(getattr(row, name), missing="") for name in rates),
                "ok" if row.ok else "FAILED",
            )
            for row in self.rows
        ]
        return table(["answers", "n", *rates, ""], rows)


def run_self_test(
    split: Split, cache: Cache | None = None, progress: ProgressCallback = silent
) -> SelfTest:
    """Grade known answers on ``split``; ``mini``'s test split is the usual one."""
    # All kinds in one call: the gold results are computed once.
    asked: list[Example] = []
    predictions: list[Prediction] = []
    ends = []
    for _, _, write in _KINDS:
        for example in split.examples:
            form = wikisql_form(example.gold)
            text = None if form is None else write(form, split.tables[example.table_id])
            if text is not None:
                asked.append(example)
                predictions.append(Prediction(example.id, text=text))
        ends.append(len(asked))
    scores = score(split.tables, asked, predictions, COPIES, cache, progress)
    rows = []
    for (kind, expected, _), start, end in zip(_KINDS, [0, *ends], ends, strict=False):
        part = scores[start:end]
        rates = summarize(part, asked[start:end]).model_dump(include=_RATES)
        rows.append(Row(kind, end - start, expected, **rates, ok=_as_expected(part, expected)))
    return SelfTest(tuple(rows))


def _as_expected(scores: Sequence[Score], expected: float | None) -> bool:
    if expected is None:
        return True
    graded = [one for one in scores if one.ex is not None]
    if expected == 1.0:
        return all(one.ex and one.ex_hardened and one.ex_official for one in graded)
    return not any(one.ex_hardened for one in graded)


def _transpiled(dialect: str) -> Write:
    """Gold in standard SQL, written in another dialect's quoting."""

    def write(gold: LogicalForm, table: Table) -> str:
        from sqlglot import transpile  # slow to import

        return transpile(sql_query(gold, table), read="duckdb", write=dialect)[0]

    return write


def _numbered(gold: LogicalForm, table: Table) -> str:
    """Gold with WikiSQL's own names: ``SELECT col3 FROM table_1_10015132_11``."""
    header = tuple(f"col{index}" for index in range(len(table.header)))
    name = "table_" + table.id.replace("-", "_")
    return dialect_query(gold, replace(table, id=name, header=header))


def _shuffled(gold: LogicalForm, table: Table) -> str | None:
    if len(gold.conds) < 2:
        return None
    return dialect_query(replace(gold, conds=gold.conds[::-1]), table)


def _buried(gold: LogicalForm, table: Table) -> str:
    return (
        "To answer this, look the value up in the table:\n\n"
        f"```sql\n{sql_query(gold, table)};\n```\n\nThis query selects what was asked for."
    )


def _followed(gold: LogicalForm, table: Table) -> str:
    sql = dialect_query(gold, table)
    return f"{sql}<|im_end|>\nQ: And the next one?\nA: SELECT nothing FROM nowhere"


def _wrong_column(gold: LogicalForm, table: Table) -> str | None:
    """Another selected column. Left out where that asks the same: COUNT, and a column that the
    WHERE fixes to the same value."""
    if gold.agg == _COUNT:
        return None
    other = (gold.sel + 1) % len(table.header)
    if other == gold.sel:
        return None
    return dialect_query(replace(gold, sel=other), table)


def _wrong_aggregate(gold: LogicalForm, table: Table) -> str:
    return dialect_query(replace(gold, agg=0 if gold.agg == _COUNT else _COUNT), table)


def _wrong_value(gold: LogicalForm, table: Table) -> str | None:
    if not gold.conds:
        return None
    first = gold.conds[0]
    value = "no such value" if table.types[first.column] == "text" else -987_654_321
    return dialect_query(
        replace(gold, conds=(Condition(first.column, 0, value), *gold.conds[1:])), table
    )


def _no_condition(gold: LogicalForm, table: Table) -> str | None:
    return dialect_query(replace(gold, conds=()), table) if gold.conds else None


def _prose(gold: LogicalForm, table: Table) -> str:
    return f"The answer is in the column {table.header[gold.sel]} of the table."


def _select_column(gold: LogicalForm, table: Table) -> str:
    return dialect_query(LogicalForm(gold.sel, 0, ()), table)


def _count_all(gold: LogicalForm, table: Table) -> str:
    return dialect_query(LogicalForm(gold.sel, _COUNT, ()), table)


def _constant(gold: LogicalForm, table: Table) -> str:
    return "SELECT 1"


_KINDS: tuple[tuple[str, float | None, Write], ...] = (
    ("gold as it stands", 1.0, dialect_query),
    ("gold in standard SQL", 1.0, sql_query),
    ("gold in MySQL's quoting", 1.0, _transpiled("mysql")),
    ("gold in T-SQL's quoting", 1.0, _transpiled("tsql")),
    ("gold with col0, col1, …", 1.0, _numbered),
    ("gold, conditions in another order", 1.0, _shuffled),
    ("gold buried in prose", 1.0, _buried),
    ("gold, then another question", 1.0, _followed),
    ("a wrong column", 0.0, _wrong_column),
    ("a wrong aggregate", 0.0, _wrong_aggregate),
    ("a wrong value", 0.0, _wrong_value),
    ("the WHERE left out", 0.0, _no_condition),
    ("prose", 0.0, _prose),
    ("trivial: SELECT column FROM table", None, _select_column),
    ("trivial: SELECT COUNT column FROM table", None, _count_all),
    ("trivial: SELECT 1", None, _constant),
)
