"""Hostile answers through the public score path: named failures, innocent neighbours right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli.scoring import run_score
from harness.data.records import LogicalForm, Table

HOSTILE = Path(__file__).resolve().parents[3] / "shared" / "hostile" / "hostile.jsonl"

OWN = [
    "DROP TABLE t1",
    "SELECT \"Name\" FROM t1; DROP TABLE t1",
    "DELETE FROM t1; SELECT \"Name\" FROM t1 WHERE \"Pts\" > 3",
    "WITH d AS (DELETE FROM t1 RETURNING *) SELECT \"Name\" FROM t1 WHERE \"Pts\" > 3",
    "COPY (SELECT 1) TO 'stolen.csv'",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT content FROM read_text('/etc/passwd')",
    "ATTACH 'other.duckdb'; SELECT 1",
    "INSTALL httpfs; LOAD httpfs; SELECT * FROM 'http://127.0.0.1:9/x.csv'",
    "SELECT getenv('HOME')",
    "PRAGMA database_list",
    "SELECT * FROM duckdb_settings()",
    "SELECT json_execute_serialized_sql(json_serialize_sql('DELETE FROM t1'))",
    "SELECT count(*) FROM range(1000000000000)",
    "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT * FROM r) SELECT * FROM r",
    "SELECT from_json('1', repeat('[',20000)||'\"INT\"'||repeat(']',20000))",
    "SELECT reservoir_quantile(\"Pts\",0.5,2147483647) FROM t1",
    "SELECT repeat('x', 2000000000)",
    "SELECT sleep_ms(60000)",
    "SELECT \"Name\" FROM t1 WHERE \"Name\" = '" + "'" * 4000,
    "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "SELECT \"Name\" FROM t1 WHERE " + " AND ".join(["\"Pts\" > 3"] * 500),
    "SELECT \"Name\" FROM t1 WHERE \"Name\" LIKE '" + "%a" * 3000 + "'",
    "SELECT \"Name\" FROM t1 WHERE \"Pts\" > 3 LIMIT 99999999999999999999",
    "\x00SELECT \"Name\" FROM t1\x00; DROP TABLE t1",
    "SELECT \"Name\" FROM t1 WHERE \"Name\" = '\x00'",
    "SELECT \"Name\" FROM t1 WHERE \"Name\" = '\ud83d'",
    "SELECT",
    "```sql\n```",
    "'; DROP TABLE t1; --",
    "SELECT \"Name\" FROM main.t1, information_schema.tables",
    "SELECT \"Name\" FROM cells",
    "SELECT \"Name\" FROM main.cells",
]  # fmt: skip
INNOCENT = 'SELECT "Name" FROM t1 WHERE "Pts" > 3'


def write(folder: Path, texts: list[str]) -> None:
    rows = [["Alice", "2010", 1.0], ["Bob", "2011", 4.0], ["Cy", "2010", 9.0]]
    table = {"id": "t1", "header": ["Name", "Year", "Pts"], "types": ["text", "text", "real"]}
    (folder / "x.tables.jsonl").write_text(json.dumps(table | {"rows": rows}) + "\n")
    gold = {"sel": 0, "agg": 0, "conds": [[2, 1, 3]]}
    example = {"phase": 1, "table_id": "t1", "question": "q", "sql": gold}
    (folder / "x.jsonl").write_text((json.dumps(example) + "\n") * len(texts))
    lines = (json.dumps({"id": index, "text": text}) for index, text in enumerate(texts))
    (folder / "predictions.jsonl").write_text("".join(line + "\n" for line in lines))


def graded(folder: Path, hostile: list[str]) -> list[dict]:
    texts = [text for one in hostile for text in (one, INNOCENT)]
    write(folder, texts)
    before = sorted(path.name for path in folder.iterdir())
    run_score(folder, "x", folder / "predictions.jsonl", hardened=2, out=folder / "out" / "x.jsonl")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*before, "out"])
    rows = [json.loads(line) for line in (folder / "out" / "x.jsonl").open()]
    assert [row["id"] for row in rows] == list(range(len(texts)))
    assert all(row["ex"] and row["ex_hardened"] and row["valid"] for row in rows[1::2])
    return rows[::2]


def test_hostile_answers_are_failures_and_the_next_answer_is_right(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("tried", len(OWN))
    rows = graded(tmp_path, OWN)
    allowed = {index for index, text in enumerate(OWN) if '"Pts" > 3' in text and " AND " in text}
    allowed.add(1)  # the first statement counts, and it is harmless
    for index, row in enumerate(rows):
        assert index in allowed or not row["ex"], OWN[index]
    assert [row["failure"] for row in rows[4:20]] == [
        row["failure"] for row in rows[4:20] if row["failure"]
    ]


@pytest.mark.skipif(not HOSTILE.is_file(), reason="the shared hostile statements are not here")
def test_the_shared_hostile_statements_pass_through_score(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    statements = [json.loads(line) for line in HOSTILE.open()]
    record_property("tried", len(statements))
    rows = graded(tmp_path, [one["sql"] for one in statements])
    for one, row in zip(statements, rows, strict=True):
        if one["expected"] != "ok":
            assert not row["ex"], one["sql"][:80]


def test_the_tables_are_unchanged_after_hostile_answers(grade, squad: Table) -> None:
    texts = [*OWN, "SELECT COUNT(*) FROM 1-1"]
    assert grade(texts, LogicalForm(0, 3, ()))[-1].ex is True
