"""Grading predictions by every protocol.

Tables, examples and predictions -> one :class:`Score` for each example, a row of ``score --out``.
The order of the work: read the text (read/reader.py), take the official verdicts (official.py), run
the queries that differ from gold (run/executor.py), compare the results (equality.py), check the
text for repairs (strict.py), run what passed on perturbed tables (hardened.py). The protocols are
described in docs/protocols.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple

from harness.data.records import Example, LogicalForm, Table, wikisql_form
from harness.disk.cache import Cache
from harness.progress import ProgressCallback, silent
from harness.schema.execution import Counterexample, FailureKind
from harness.sql.failures import Failure
from harness.sql.grade.equality import equal_results, same_query
from harness.sql.grade.given_tables import Passed
from harness.sql.grade.gold import GoldSet, open_gold
from harness.sql.grade.hardened import Verdict, hold_on_copies
from harness.sql.grade.official import (
    EvaluationError,
    logical_form_match,
    same_to_the_evaluator,
)
from harness.sql.grade.predictions import REPLACEMENT, Prediction, mended, read_structured
from harness.sql.grade.strict import strict
from harness.sql.query import Query, from_logical_form, gold_query, to_logical_form
from harness.sql.read.bounded import read_all
from harness.sql.read.reader import Reading
from harness.sql.run.batch import Rows
from harness.sql.run.executor import Task


class Score(NamedTuple):
    """The verdicts on one prediction. None where a protocol does not apply.

    ``query`` is the logical form that was read, ``sql`` its DuckDB rendering, ``read_as`` how the
    text was read (None for a failure, and where there is no text), ``counterexample`` the smallest
    table on which an answer that passes ``ex`` by luck parts from gold, ``detail`` says which table
    or column is unknown.
    """

    id: int
    ex_official: bool | None
    lf: bool | None
    ex: bool | None
    ex_strict: bool | None
    ex_hardened: bool | None
    valid: bool
    failure: FailureKind | None
    query: dict[str, Any] | None
    sql: str | None
    read_as: str | None = None
    counterexample: Counterexample | None = None
    detail: str | None = None

    def row(self) -> dict[str, Any]:
        """The object of a ``score --out`` line; ``counterexample`` and ``detail`` stand where there
        is one."""
        row = self._asdict()
        found = row.pop("counterexample")
        if self.detail is None:
            del row["detail"]
        return row if found is None else {**row, "counterexample": found.model_dump(mode="json")}

    def record(self) -> dict[str, Any]:
        """Every field as JSON, which :meth:`of_record` reads."""
        found = self.counterexample
        return {**self._asdict(), "counterexample": found and found.model_dump(mode="json")}

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Score:
        """The score that :meth:`record` gave."""
        found = record["counterexample"]
        return cls(**{**record, "counterexample": found and Counterexample.model_validate(found)})


def score(
    tables: Mapping[str, Table],
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    hardened: int = 0,
    cache: Cache | None = None,
    progress: ProgressCallback = silent,
    source_key: str | None = None,
) -> list[Score]:
    """Grade ``predictions[i]`` on ``examples[i]``.

    Args:
        tables: every table that the examples name.
        examples: the questions, with gold.
        predictions: one for each example, in the same order.
        hardened: the number K of perturbed copies; 0 leaves ``ex_hardened`` None.
        cache: keeps the database and gold results for the next time.
        progress: is called after each step.
        source_key: see :func:`harness.sql.grade.gold.open_gold`.
    """
    for example, prediction in zip(examples, predictions, strict=True):
        if example.id != prediction.id:
            raise ValueError(f"prediction {prediction.id} stands where {example.id} should")
    if not examples:
        return []
    with closing(open_gold(tables, examples, cache, source_key)) as gold:
        return _Grading(gold, examples, predictions, progress).scores(hardened)


def _detail(result: object) -> str | None:
    """Which name is unknown, where that is the failure."""
    if isinstance(result, Failure) and result.kind in ("unknown_table", "unknown_column"):
        return result.detail[:120] or None
    return None


class _Grading:
    def __init__(
        self,
        gold: GoldSet,
        examples: Sequence[Example],
        predictions: Sequence[Prediction],
        progress: ProgressCallback,
    ) -> None:
        self.gold = gold
        self.examples = examples
        self.predictions = predictions
        self.progress = progress
        self.texts = [mended(prediction.text or "") for prediction in predictions]
        self.numbers = [gold.number_of[example.table_id] for example in examples]
        # Which answers are gold as it stands but for case, and which the same query as gold.
        self.identical: list[bool] = []
        self.same: set[int] = set()
        self.read_as: dict[int, str | None] = {}

    def scores(self, hardened: int) -> list[Score]:
        readings = self.readings()
        forms = [None if isinstance(r, Failure) else to_logical_form(r) for r in readings]
        golds = [wikisql_form(example.gold) for example in self.examples]
        self.identical = [
            form is not None and gold is not None and same_to_the_evaluator(form, gold)
            for form, gold in zip(forms, golds, strict=True)
        ]
        # DuckDB works in another process meanwhile.
        with ThreadPoolExecutor(1) as pool:
            executed = pool.submit(self.execute, readings)
            official = [
                (None, None) if gold is None else self.official(index, form, gold)
                for index, (form, gold) in enumerate(zip(forms, golds, strict=True))
            ]
            results = executed.result()
        ex = [self.ex(index, result) for index, result in enumerate(results)]
        strict = self.strict(ex)
        copies = self.on_copies(readings, ex, hardened)
        return [
            Score(
                id=example.id,
                ex_official=official[index][0],
                lf=official[index][1],
                ex=ex[index],
                ex_strict=strict[index],
                ex_hardened=copies[index].holds,
                valid=not isinstance(result, Failure),
                failure=result.kind if isinstance(result, Failure) else None,
                query=None if form is None else form_json(form),
                sql=self.sql(index, readings[index]),
                read_as=None if isinstance(readings[index], Failure) else self.read_as.get(index),
                counterexample=copies[index].counterexample,
                detail=_detail(result),
            )
            for index, (example, form, result) in enumerate(
                zip(self.examples, forms, results, strict=True)
            )
        ]

    def readings(self) -> list[Query | Failure]:
        """What each prediction asks."""
        texts = {
            index: (self.texts[index], self.gold.tables[self.numbers[index]])
            for index, one in enumerate(self.predictions)
            if one.failure is None and not one.structured
        }
        read = dict(zip(texts, read_all(list(texts.values()), self.gold.reader), strict=True))
        self.read_as = {index: one.read_as for index, one in read.items()}
        return [self.reading(index, read.get(index)) for index in range(len(self.predictions))]

    def reading(self, index: int, read: Reading | None) -> Query | Failure:
        """What one prediction asks; ``read`` is the reading of its text, if it has one."""
        prediction = self.predictions[index]
        if prediction.failure is not None:
            return prediction.failure
        if read is None:
            found = read_structured(prediction.query, self.gold.tables[self.numbers[index]])
            return found if isinstance(found, Failure) else from_logical_form(found)
        if self.texts[index] != (prediction.text or "") and REPLACEMENT in repr(read.result):
            return Failure("malformed_query", "a value holds half of a surrogate pair")
        return read.result

    def official(
        self, index: int, form: LogicalForm | None, gold: LogicalForm
    ) -> tuple[bool, bool]:
        """The official verdicts (execution, logical form)."""
        prediction = self.predictions[index]
        wanted = self.gold.golds[index].official
        if prediction.failure is not None:
            return False, False
        if self.identical[index]:
            return wanted is not None, True
        query = prediction.query if prediction.structured else form
        if query is None:
            return False, False
        lf = logical_form_match(query, gold)
        if wanted is None:
            return False, lf
        try:
            got = self.gold.official.execute(self.gold.tables[self.numbers[index]], query)
        except EvaluationError:
            return False, lf
        return got == wanted, lf

    def execute(self, readings: Sequence[Query | Failure]) -> list[Rows | Failure]:
        results: list[Rows | Failure | None] = []
        tasks: dict[Task, list[int]] = {}
        for index, reading in enumerate(readings):
            if isinstance(reading, Failure):
                results.append(reading)
                continue
            wanted = gold_query(self.examples[index].gold)
            storage = self.gold.executor.storage(self.numbers[index])
            same = self.identical[index] or reading == wanted
            if same or same_query(reading, wanted, storage):
                self.same.add(index)
                results.append(self.gold.golds[index].result)
            else:
                tasks.setdefault(Task(self.numbers[index], reading), []).append(index)
                results.append(None)
        found = self.gold.executor.run(list(tasks), self.progress)
        for indices, result in zip(tasks.values(), found, strict=True):
            for index in indices:
                results[index] = result
        return [result for result in results if result is not None]

    def ex(self, index: int, result: Rows | Failure) -> bool | None:
        gold = self.gold.golds[index]
        if gold.degenerate:
            return None
        if isinstance(result, Failure) or isinstance(gold.result, Failure):
            return False
        if result is gold.result:
            return True
        return equal_results(result.rows, gold.result.rows)

    def strict(self, ex: Sequence[bool | None]) -> list[bool | None]:
        if any(prediction.structured for prediction in self.predictions):
            # A structured prediction has no text that could stand as it is.
            return [None] * len(ex)
        passed = [index for index, value in enumerate(ex) if value]
        items = [
            (
                self.texts[index],
                self.gold.tables[self.numbers[index]],
                self.gold.executor.names(self.numbers[index]),
            )
            for index in passed
        ]
        result: list[bool | None] = [None if value is None else False for value in ex]
        for index, verdict in zip(passed, strict(self.gold.executor.sandbox, items), strict=True):
            result[index] = verdict
        return result

    def on_copies(
        self, readings: Sequence[Query | Failure], ex: Sequence[bool | None], copies: int
    ) -> list[Verdict]:
        """Whether ``ex`` holds on ``copies`` perturbed tables too; what is gold needs no run."""
        if not copies:
            return [Verdict(None)] * len(ex)
        passes = {
            index: Passed(self.examples[index], self.numbers[index], query)
            for index, query in enumerate(readings)
            if ex[index] and index not in self.same and isinstance(query, Query)
        }
        found = hold_on_copies(self.gold.executor, list(passes.values()), copies, self.progress)
        run = dict(zip(passes, found, strict=True))
        return [run.get(index, Verdict(value)) for index, value in enumerate(ex)]

    def sql(self, index: int, reading: Query | Failure) -> str | None:
        if isinstance(reading, Failure):
            return None
        sql = self.gold.executor.sql(Task(self.numbers[index], reading))
        return None if isinstance(sql, Failure) else sql


def form_json(form: LogicalForm) -> dict[str, Any]:
    """WikiSQL's JSON of a logical form, values as text."""
    conds = [[c.column, c.operator, c.value] for c in form.conds]
    return {"sel": form.sel, "agg": form.agg, "conds": conds}
