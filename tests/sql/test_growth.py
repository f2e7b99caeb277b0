"""Scoring grows linearly: `pytest tests/sql/test_growth.py -m slow -s` prints the times."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from harness.cli.scoring import run_score
from harness.disk.cache import Cache

DEV = Path(__file__).resolve().parents[3] / "shared" / "wikisql" / "dev"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DEV.is_dir(), reason="needs ../shared/wikisql beside the project"),
]


def enlarged(folder: Path, n: int) -> Path:
    """``n`` dev examples with their predictions; beyond dev's size, on renamed copies of it."""
    folder.mkdir()
    examples = [json.loads(line) for line in (DEV / "dev.jsonl").open(encoding="utf-8")]
    tables = [json.loads(line) for line in (DEV / "dev.tables.jsonl").open(encoding="utf-8")]
    answers = [json.loads(line) for line in (DEV / "dev.pred.jsonl").open(encoding="utf-8")]
    copies = -(-n // len(examples))
    with (folder / "dev.tables.jsonl").open("w", encoding="utf-8") as stream:
        for copy in range(copies):
            for table in tables:
                stream.write(json.dumps({**table, "id": f"{table['id']}-{copy}"}) + "\n")
    with (
        (folder / "dev.jsonl").open("w", encoding="utf-8") as gold,
        (folder / "predictions.jsonl").open("w", encoding="utf-8") as stream,
    ):
        for number in range(n):
            copy, at = divmod(number, len(examples))
            example = {**examples[at], "table_id": f"{examples[at]['table_id']}-{copy}"}
            gold.write(json.dumps(example) + "\n")
            error, query = answers[at]["error"], answers[at]["query"]
            answer = {"error": error} if error else {"query": query}
            stream.write(json.dumps({"id": number, **answer}) + "\n")
    return folder


def test_time_per_prediction_does_not_grow(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    per_prediction = {}
    for n in (1_000, 8_000, 80_000):
        folder = enlarged(tmp_path / str(n), n)
        seconds = []
        for _ in range(2):  # the second finds the gold results kept
            started = time.perf_counter()
            run_score(folder, "dev", folder / "predictions.jsonl", "wikisql", cache=cache)
            seconds.append(time.perf_counter() - started)
        print(f"{n} predictions: cold {seconds[0]:.2f} s, warm {seconds[1]:.2f} s")
        per_prediction[n] = seconds[1] / n
    assert per_prediction[80_000] <= 1.5 * per_prediction[8_000]
