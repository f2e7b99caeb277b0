"""Answers as SQL texts by the thousand, and two other ways of grading them.

`python tests/perf/perf_sql_texts.py evaldata|sqlite FOLDER` grades the folder's answers by
execution: with the package evaldata (no sandbox) where it is installed, or in a bare loop over
sqlite3. :func:`texts` and :func:`wrong` write such folders: the split, the answers, gold as SQL,
and the tables in a SQLite file, lower-cased as WikiSQL's are.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

FILES = ("test.jsonl", "test.tables.jsonl", "predictions.jsonl", "gold.jsonl", "tables.sqlite")


def texts(folder: Path) -> int:
    """WikiSQL dev's predictions that are queries, in the spelling of the `sql` prompts."""
    from perf_scoring import originals

    examples, tables, answers = originals()
    pairs = zip(examples, answers, strict=True)
    return _write(folder, tables, [(e, a["query"]) for e, a in pairs if "query" in a])


def wrong(folder: Path, count: int) -> int:
    """Answers that run and are wrong, or right by luck: in turns another column, another aggregate,
    a condition too few, an operator turned round."""
    from perf_scoring import originals

    examples, tables, _ = originals()
    width = {table["id"]: len(table["header"]) for table in tables}
    numeric = {table["id"]: [kind == "real" for kind in table["types"]] for table in tables}

    def changed(at: int, example: dict[str, Any]) -> dict[str, Any]:
        sql = example["sql"]
        sums = (1, 2, 3, 5) if numeric[example["table_id"]][sql["sel"]] else (1, 2, 3)
        conds = [list(cond) for cond in sql["conds"]]
        if at % 4 == 0 or not conds:
            return {**sql, "sel": (sql["sel"] + 1) % width[example["table_id"]], "agg": 0}
        if at % 4 == 1:
            return {**sql, "agg": next(agg for agg in sums if agg != sql["agg"])}
        if at % 4 == 2:
            return {**sql, "conds": conds[1:]}
        return {**sql, "conds": [[conds[0][0], (conds[0][1] + 1) % 3, conds[0][2]], *conds[1:]]}

    repeated = [examples[at % len(examples)] for at in range(count)]
    return _write(folder, tables, [(e, changed(at, e)) for at, e in enumerate(repeated)])


def _write(folder: Path, tables: list[Any], pairs: Iterable[tuple[Any, Any]]) -> int:
    from harness.data.prompts import sql_query
    from harness.data.sources.wikisql import parse_logical_form, parse_table

    folder.mkdir(parents=True)
    known = {table["id"]: parse_table(table) for table in tables}
    _lines(folder / FILES[1], tables)

    def sql(example: Any, query: Any) -> str:
        table = known[example["table_id"]]
        low = [[*c[:2], c[2].lower() if isinstance(c[2], str) else c[2]] for c in query["conds"]]
        return sql_query(parse_logical_form({**query, "conds": low}, len(table.header)), table)

    pairs = list(pairs)
    _lines(folder / FILES[0], (example for example, _ in pairs))
    for name, at in ((FILES[2], 1), (FILES[3], None)):
        said = (sql(pair[0], pair[0]["sql"] if at is None else pair[at]) for pair in pairs)
        _lines(folder / name, ({"id": number, "text": text} for number, text in enumerate(said)))
    _sqlite(folder / FILES[4], known.values())
    return len(pairs)


def _lines(file: Path, rows: Iterable[Any]) -> None:
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def _sqlite(file: Path, tables: Iterable[Any]) -> None:
    from harness.sql.column_names import Names
    from harness.sql.run.render import identifier

    with closing(sqlite3.connect(file)) as connection:
        for table in tables:
            name, names = identifier(table.id), map(identifier, Names(table).sql)
            columns = ", ".join(f"{a} {b}" for a, b in zip(names, table.types, strict=True))
            connection.execute(f"CREATE TABLE {name} ({columns})")
            marks = ", ".join("?" * len(table.header))
            cells = ([c.lower() if isinstance(c, str) else c for c in row] for row in table.rows)
            connection.executemany(f"INSERT INTO {name} VALUES ({marks})", cells)
        connection.commit()


def _read(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Question, gold and answer."""
    files = [(folder / name).open(encoding="utf-8") for name in (FILES[0], FILES[3], FILES[2])]
    for question, gold, answer in zip(*(map(json.loads, file) for file in files), strict=True):
        yield question["question"], gold["text"], answer["text"]


def by_evaldata(folder: Path) -> int:
    """How many pass evaldata's ExecutionAccuracy."""
    from evaldata import (
        CallableSolver,
        EvalCase,
        ExecutionAccuracy,
        run_benchmark,
        sqlite_platform,
    )
    from evaldata.types import GoldQuery

    platform = sqlite_platform(name="wikisql", path=str(folder / FILES[4]))
    rows = list(_read(folder))
    cases = [
        EvalCase(id=str(at), input=question, expected=GoldQuery(sql=gold), platform=platform)
        for at, (question, gold, _) in enumerate(rows)
    ]
    solver = CallableSolver(lambda case: rows[int(case.id)][2])
    return int(run_benchmark(cases, solver, scorers=[ExecutionAccuracy()]).passed)


def by_sqlite(folder: Path) -> int:
    """How many give gold's rows in SQLite, in any order."""
    right = 0
    with closing(sqlite3.connect(folder / FILES[4])) as connection:
        for _, *both in _read(folder):
            try:
                gold, own = (sorted(map(repr, connection.execute(sql))) for sql in both)
            except sqlite3.Error:
                continue
            right += gold == own
    return right


GRADERS: dict[str, Callable[[Path], int]] = {"evaldata": by_evaldata, "sqlite": by_sqlite}

if __name__ == "__main__":
    print(GRADERS[sys.argv[1]](Path(sys.argv[2])))
