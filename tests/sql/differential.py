"""Grading against two databases: each text is executed itself in DuckDB and in SQLite.

:func:`compare` gives each sample's three outcomes (``right``, ``wrong``, ``error``; here the kind
of the failure) on the same table, text without regard to case. Why they part: parting_rules.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from harness.data.records import Example
from harness.sql.column_names import Names
from harness.sql.failures import Failure
from harness.sql.grade.equality import equal_results
from harness.sql.grade.gold import open_gold
from harness.sql.grade.predictions import Prediction
from harness.sql.grade.score import score
from harness.sql.values import fold
from tests.sql.model_sql import TABLE, Sample


@dataclass(frozen=True)
class Outcome:
    """What three readers make of one statement."""

    sample: Sample
    duckdb: str
    sqlite: str
    here: str


def compare(samples: Sequence[Sample]) -> list[Outcome]:
    """The outcomes, sample by sample; one whose gold is degenerate is left out."""
    examples = [Example(i, TABLE.id, "q", one.gold) for i, one in enumerate(samples)]
    predictions = [Prediction(i, text=one.answer) for i, one in enumerate(samples)]
    scores = score({TABLE.id: TABLE}, examples, predictions)
    gold = open_gold({TABLE.id: TABLE}, examples)
    golds = [one.result for one in gold.golds]
    gold.close()
    duck, lite = _duckdb(), _sqlite()
    outcomes = []
    for sample, graded, wanted in zip(samples, scores, golds, strict=True):
        if graded.ex is None or isinstance(wanted, Failure):
            continue
        here = graded.failure or ("right" if graded.ex else "wrong")
        both = (_verdict(run, sample.sql, wanted.rows) for run in (duck, lite))
        outcomes.append(Outcome(sample, *both, here))
    return outcomes


def _verdict(run: Callable[[str], list[Any]], sql: str, wanted: Sequence[Any]) -> str:
    try:
        rows = run(sql)
    except (duckdb.Error, sqlite3.Error, sqlite3.Warning):
        return "error"
    folded = [tuple(fold(c) if isinstance(c, str) else _number(c) for c in row) for row in rows]
    return "right" if equal_results(folded, wanted) else "wrong"


def _number(value: Any) -> Any:
    return float(value) if hasattr(value, "__float__") else None if value is None else str(value)


def _columns(text: str, real: str) -> str:
    kinds = {"text": text, "real": real}
    names = Names(TABLE).sql
    return ", ".join(f'"{n}" {kinds[t]}' for n, t in zip(names, TABLE.types, strict=True))


def _duckdb() -> Callable[[str], list[Any]]:
    connection = duckdb.connect(config={"threads": "1"})
    columns = _columns("VARCHAR COLLATE NOCASE", "DOUBLE")
    connection.execute(f'CREATE TABLE "{TABLE.id}" ({columns})')
    places = ", ".join("?" * len(TABLE.header))
    connection.executemany(f'INSERT INTO "{TABLE.id}" VALUES ({places})', TABLE.rows)

    def run(sql: str) -> list[Any]:
        if len(duckdb.extract_statements(sql)) != 1:
            raise duckdb.ParserException("one statement is wanted")
        return connection.execute(sql).fetchall()

    return run


def _sqlite() -> Callable[[str], list[Any]]:
    connection = sqlite3.connect(":memory:")
    connection.execute(f'CREATE TABLE "{TABLE.id}" ({_columns("TEXT COLLATE NOCASE", "REAL")})')
    places = ", ".join("?" * len(TABLE.header))
    connection.executemany(f'INSERT INTO "{TABLE.id}" VALUES ({places})', TABLE.rows)
    return lambda sql: connection.execute(sql).fetchall()
