"""Predictions to score by the thousand: WikiSQL's dev split where it is at hand, else the mini's.

Beyond a split's size its tables are repeated under other names, so that the number of tables grows
with the number of examples as WikiSQL's own does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_WIKISQL = ROOT.parent / "shared" / "wikisql" / "dev"
_MINI = ROOT / "fixtures" / "mini"


def source() -> str:
    """Which examples are scored."""
    return "WikiSQL dev" if _WIKISQL.is_dir() else "the mini corpus"


def source_folder() -> tuple[Path, str]:
    """The folder of those examples, and their split."""
    return (_WIKISQL, "dev") if _WIKISQL.is_dir() else (_MINI, "test")


def enlarged(folder: Path, count: int) -> Path:
    """``test.jsonl``, ``test.tables.jsonl`` and ``predictions.jsonl`` of ``count`` examples."""
    folder.mkdir(parents=True)
    examples, tables, answers = originals()
    copies = -(-count // len(examples))
    with (folder / "test.tables.jsonl").open("w", encoding="utf-8") as stream:
        for copy in range(copies):
            for table in tables:
                stream.write(json.dumps({**table, "id": f"{table['id']}-{copy}"}) + "\n")
    with (
        (folder / "test.jsonl").open("w", encoding="utf-8") as gold,
        (folder / "predictions.jsonl").open("w", encoding="utf-8") as stream,
    ):
        for number in range(count):
            copy, at = divmod(number, len(examples))
            named = {**examples[at], "table_id": f"{examples[at]['table_id']}-{copy}"}
            gold.write(json.dumps(named) + "\n")
            stream.write(json.dumps({"id": number, **answers[at]}) + "\n")
    return folder


def originals() -> tuple[list[Any], list[Any], list[Any]]:
    """Examples, tables and answers as the files hold them."""
    if _WIKISQL.is_dir():
        lines = _lines(_WIKISQL / "dev.pred.jsonl")
        answers = [
            {"error": row["error"]} if row["error"] else {"query": row["query"]} for row in lines
        ]
        return _lines(_WIKISQL / "dev.jsonl"), _lines(_WIKISQL / "dev.tables.jsonl"), answers
    examples = _lines(_MINI / "test.jsonl")
    # Every third answer is wrong: it asks for the column beside.
    answers = [
        {"query": {**row["sql"], "sel": max(0, row["sql"]["sel"] - (at % 3 == 0))}}
        for at, row in enumerate(examples)
    ]
    return examples, _lines(_MINI / "test.tables.jsonl"), answers


def _lines(file: Path) -> list[Any]:
    with file.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]
