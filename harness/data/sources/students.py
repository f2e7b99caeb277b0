"""The published comparison's questions about a `students` table: fixture files -> records.

The article of January 2024 asked seven questions, judged the answers by eye and showed no table.
Here the table is ours (fixtures/students), every question has a gold query, and every variant is
asked both of the article's hints about the ninth grade. The second hint says that the value is
"9th", so its question runs on a copy of the table that writes grades in this way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.bundled import FIXTURES
from harness.data.records import Table
from harness.data.sources.wikisql import parse_table

STUDENTS_FOLDER = FIXTURES / "students"
TABLE_ID = "students"


@dataclass(frozen=True, slots=True)
class StudentQuestion:
    """A question with its hint (a line of the prompt), table and gold query in the dialect."""

    question: str
    hint: str | None
    table: Table
    gold_sql: str


def load_students(folder: Path = STUDENTS_FOLDER) -> list[StudentQuestion]:
    """The article's eight prompts in its order, each with its table."""
    tables = {table.id: table for table in map(parse_table, _objects(folder / "tables.jsonl"))}
    return [
        StudentQuestion(
            question=row["question"],
            hint=row["hint"],
            # Every prompt names the table as the article did, whichever copy answers it.
            table=replace(tables[row["table"]], id=TABLE_ID),
            gold_sql=row["gold_sql"],
        )
        for row in _objects(folder / "questions.jsonl")
    ]


def _objects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
