"""Everything about a split that does not depend on predictions: its database and gold results.

Tables + examples -> :class:`GoldSet`. With a cache both are made once for the same content: the
database file, and each gold query's result by the official evaluator and by DuckDB. Nothing is
graded here.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.data.records import Example, Split, SqlGold, Table, wikisql_form
from harness.disk.cache import Cache
from harness.disk.files import content_key
from harness.disk.locks import CacheRefused
from harness.disk.scratch import Scratch
from harness.sql.failures import Failure
from harness.sql.grade.official import EvaluationError, OfficialEvaluator
from harness.sql.query import beyond_wikisql, gold_query
from harness.sql.read.reader import Reader
from harness.sql.run import database
from harness.sql.run.batch import Rows
from harness.sql.run.executor import Executor, Task

VERSION = 3
"""Is raised whenever the database or a gold result would come out differently."""


@dataclass(frozen=True, slots=True)
class Gold:
    """Gold results of one example. ``official`` is None where the official evaluator raises an
    error or knows no such query; ``result`` is a Failure where DuckDB does."""

    official: list[Any] | None
    result: Rows | Failure

    @property
    def degenerate(self) -> bool:
        """Whether no row satisfies the WHERE, every cell of the result is NULL, or gold fails."""
        return isinstance(self.result, Failure) or self.result.degenerate


class GoldSet:
    """The tables of a split in a database that is ready to run on, and the gold results."""

    def __init__(
        self, tables: Sequence[Table], folder: Path, scratch: Scratch | None = None
    ) -> None:
        self.tables = tables
        self.number_of = {table.id: index for index, table in enumerate(tables)}
        self.reader = Reader()
        self.official = OfficialEvaluator()
        self.executor = Executor(tables, folder / "tables.duckdb", self.reader)
        self.golds: list[Gold] = []
        self._scratch = scratch

    def close(self) -> None:
        """End the worker; remove the database unless it is cached."""
        self.executor.close()
        if self._scratch is not None:
            self._scratch.remove()

    def _compute(self, examples: Sequence[Example]) -> None:
        tasks = [
            Task(self.number_of[example.table_id], gold_query(example.gold)) for example in examples
        ]
        results = self.executor.run(tasks)
        for example, result in zip(examples, results, strict=True):
            table = self.tables[self.number_of[example.table_id]]
            form = wikisql_form(example.gold)
            try:
                official = None if form is None else self.official.execute(table, form)
            except EvaluationError:
                official = None
            self.golds.append(Gold(official, result))

    def _save(self, path: Path) -> None:
        rows = [
            [
                gold.official,
                [gold.result.kind, gold.result.detail]
                if isinstance(gold.result, Failure)
                else [gold.result.rows, gold.result.matched],
            ]
            for gold in self.golds
        ]
        storage = [self.executor.storage(index) for index in range(len(self.tables))]
        path.write_text(json.dumps({"kinds": storage, "golds": rows}), encoding="utf-8")

    def _load(self, path: Path) -> None:
        value = json.loads(path.read_text(encoding="utf-8"))
        for index, storage in enumerate(value["kinds"]):
            self.executor.know_storage(index, tuple(storage))
        for official, stored in value["golds"]:
            failed = isinstance(stored[0], str)
            result = Failure(*stored) if failed else Rows(tuple(map(tuple, stored[0])), stored[1])
            self.golds.append(Gold(official, result))


def open_gold(
    tables: Mapping[str, Table],
    examples: Sequence[Example],
    cache: Cache | None = None,
    source_key: str | None = None,
) -> GoldSet:
    """Prepare, or find in the cache, what grading ``examples`` needs.

    Args:
        tables: every table that the examples name.
        examples: the examples, in the order of the results.
        cache: where to keep the database and results; None, or one that the system refuses to
            read or write, keeps nothing.
        source_key: a hash of the files that tables and examples came from, if known; else their
            content is hashed.
    """
    used = list({example.table_id: tables[example.table_id] for example in examples}.values())
    if cache is not None:
        try:
            return _kept_gold(used, examples, cache, source_key)
        except CacheRefused as refused:
            cache.notify(f"tunebench: gold results are not kept: {refused.__cause__}")
    scratch = Scratch("sql")
    try:
        database.build(used, scratch.path / "tables.duckdb")
        found = GoldSet(used, scratch.path, scratch)
    except BaseException:
        scratch.remove()
        raise
    found._compute(examples)
    return found


def _kept_gold(
    used: Sequence[Table], examples: Sequence[Example], cache: Cache, source_key: str | None
) -> GoldSet:
    key = _key(used, examples, source_key)

    def make(target: Path) -> None:
        database.build(used, target / "tables.duckdb")
        with closing(GoldSet(used, target)) as made:
            made._compute(examples)
            made._save(target / "gold.json")

    folder = cache.build("gold", key, make)
    found = GoldSet(used, folder)
    found._load(folder / "gold.json")
    return found


def _key(tables: Sequence[Table], examples: Sequence[Example], source_key: str | None) -> str:
    versions: list[Any] = [VERSION, sqlite3.sqlite_version, _duckdb_version()]
    # What a text was read as changes with the reader, not with the files.
    if read := [astuple(one.gold) for one in examples if isinstance(one.gold, SqlGold)]:
        versions.append(read)
    if source_key is not None:
        return content_key("gold", versions, source_key, [example.id for example in examples])
    contents = [[table.id, table.header, table.types, table.rows] for table in tables]
    golds = [[example.id, example.table_id, astuple(example.gold)] for example in examples]
    return content_key("gold", versions, contents, golds)


def _duckdb_version() -> str:
    """DuckDB's version, taken from the name of its metadata folder.

    A run with a filled cache then imports neither DuckDB nor importlib.metadata, which load slowly.
    """
    spec = find_spec("duckdb")
    if spec is None or spec.origin is None:
        return "unknown"
    site = Path(spec.origin).parent.parent
    return ",".join(sorted(path.name for path in site.glob("duckdb-*.dist-info"))) or "unknown"


def gold_kinds(split: Split) -> list[str | None]:
    """Run every gold query of a split in DuckDB: None, `empty`, `null`, or why it does not run."""
    if not split.examples:
        return []
    with closing(open_gold(split.tables, split.examples)) as gold:
        return [_kind(found) for found in gold.golds]


def beyond(split: Split) -> Counter[str]:
    """What the gold queries of a split have that WikiSQL's form cannot hold, and in how many."""
    return Counter(name for e in split.examples for name in beyond_wikisql(gold_query(e.gold)))


def _kind(gold: Gold) -> str | None:
    if isinstance(gold.result, Failure):
        return f"{gold.result.kind} {gold.result.detail}".strip()
    if not gold.degenerate:
        return None
    return "empty" if gold.result.matched == 0 else "null"
