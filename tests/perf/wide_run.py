"""A stored run of the real job's size: six variants, 15,878 questions on 2,400 tables, seeded.

`python -m tests.perf.wide_run FOLDER EXAMPLES [VARIANTS [SEED…]]` writes it by the project's own
store, and the data that it was measured on (which `report` and `gate` read again) as the cache's
`wikisql`, so give it a cache of its own with XDG_CACHE_HOME. Its questions are the mini corpus's on
tables of other names; each answer is one that the published seeds gave to that question, its losses
are that seed's times a factor of the table and one of the example. So failures, luck and ties are
real.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.bundled import FIXTURES
from harness.data.leakage import dataset_info
from harness.data.records import Dataset
from harness.data.sources.resolve import WIKISQL_ENTRY, resolve_dataset
from harness.disk.cache import Cache
from harness.runs.store import PendingRun, RunRows, StoredRun, read_run, write_run
from harness.schema.rows import LossRow, PredictionRow
from harness.schema.variant_result import LossValue, VariantResult
from harness.sql.grade.summary import summarize
from harness.stats.intervals import token_weighted_loss

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ROOT / "results" / "smollm2-mini-seeds"
EXAMPLES = 15_878  # WikiSQL's test split
VARIANTS = {
    "base": "base",
    "lora": "lora",
    "qlora": "qlora",
    "qlora-source": "qlora-source",
    "lora-again": "lora",
    "qlora-again": "qlora",
}
"""By name: the published variant whose answers it draws from."""


def prepare_data(count: int) -> Dataset:
    """The cache's `wikisql` with a test split of ``count`` examples; made where there is none."""

    def make(folder: Path) -> None:
        mini = FIXTURES / "mini"
        for split in ("train", "valid"):
            for name in (f"{split}.jsonl", f"{split}.tables.jsonl"):
                (folder / name).write_bytes((mini / name).read_bytes())
        examples, tables = _lines(mini / "test.jsonl"), _lines(mini / "test.tables.jsonl")
        copies = -(-count // len(examples))
        asked = [
            {**example, "table_id": renamed(example["table_id"], copy)}
            for copy in range(copies)
            for example in examples
        ]
        kept = [
            {**table, "id": renamed(table["id"], copy)}
            for copy in range(0, copies, 2)
            for table in tables
        ]
        for name, rows in (("test.jsonl", asked[:count]), ("test.tables.jsonl", kept)):
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / name).write_text(text, encoding="utf-8")

    Cache().build(*WIKISQL_ENTRY, make)
    return resolve_dataset("wikisql")


def renamed(table: str, copy: int) -> str:
    """The name of a table in a copy of the corpus; two copies share theirs."""
    return f"{table}-{copy // 2}"


def write_wide_run(
    results_dir: Path, count: int = EXAMPLES, seed: int = 0, names: Sequence[str] = (*VARIANTS,)
) -> StoredRun:
    """Write the run `wide-COUNT-SEED` of the variants ``names`` into ``results_dir``."""
    dataset = prepare_data(count)
    published = [read_run(folder) for folder in sorted(SEEDS.iterdir()) if folder.is_dir()]
    rows = RunRows(
        losses={name: list(_losses(published, name, dataset, seed)) for name in names},
        predictions={name: list(_answers(published, name, dataset, seed)) for name in names},
    )
    first = published[0].results
    variants = {
        name: _result(first.variants[VARIANTS[name]], rows, name, dataset) for name in names
    }
    name = f"wide-{count}-{seed}"
    results = first.model_copy(
        update={
            "run": first.run.model_copy(update={"id": name, "seed": seed}),
            "dataset": dataset_info(dataset),
            "variants": variants,
            "comparisons": [],
            "gates": [],
        }
    )
    write_run(PendingRun(results_dir / name, results, None, rows), lambda folder: None)
    return read_run(results_dir / name)


def _drawn(name: str, count: int, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, count, *map(ord, name)])


def _answers(
    published: Sequence[StoredRun], name: str, dataset: Dataset, seed: int
) -> Iterator[PredictionRow]:
    answered = [run.predictions(VARIANTS[name]) or () for run in published]
    examples = dataset.test.examples
    of = _drawn(name, len(examples), seed).integers(0, len(answered), len(examples))
    for example, which in zip(examples, of, strict=True):
        row = answered[which][example.id % len(answered[which])]
        was, now = row.table_id, example.table_id
        texts = {
            key: text.replace(was, now)
            for key in ("text", "sql")
            if (text := getattr(row, key)) is not None
        }
        yield row.model_copy(update={"id": example.id, "table_id": now, **texts})


def _losses(
    published: Sequence[StoredRun], name: str, dataset: Dataset, seed: int
) -> Iterator[LossRow]:
    measured = [run.losses(VARIANTS[name]) or () for run in published]
    count, draw = len(dataset.test.examples), _drawn(name, len(dataset.test.examples), seed)
    of = draw.integers(0, len(measured), count)
    own = draw.normal(0.0, 0.05, count)
    hard = np.random.default_rng(seed).normal(0.0, 0.2, count)
    for example, which, noise in zip(dataset.test.examples, of, own + hard, strict=True):
        row = measured[which][example.id % len(measured[which])]
        factor = float(np.exp(noise))
        changed = {
            "full_nll": row.full_nll * factor,
            "completion_nll": row.completion_nll * factor,
        }
        yield row.model_copy(update={"id": example.id, "table_id": example.table_id, **changed})


def _result(of: VariantResult, rows: RunRows, name: str, dataset: Dataset) -> VariantResult:
    """The variant's record with the sections that its rows give."""
    losses, count = rows.losses[name], len(rows.losses[name])
    tables = [row.table_id for row in losses]
    assert of.loss is not None

    def value(key: str) -> LossValue:
        nll = [getattr(row, f"{key}_nll") for row in losses]
        tokens = [getattr(row, f"{key}_tokens") for row in losses]
        return LossValue.of_sum(sum(nll), sum(tokens), token_weighted_loss(nll, tokens, tables))

    loss = {"n": count, "of": count, "full_text": value("full"), "completion": value("completion")}
    graded: Any = rows.predictions[name]  # what a score has of these a row has too
    return of.model_copy(
        update={
            "loss": of.loss.model_copy(update=loss),
            "execution": summarize(graded, dataset.test.examples),
            "checkpoints": None,
        }
    )


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    place, examples, *rest = sys.argv[1:]
    names, *seeds = rest or [",".join(VARIANTS)]
    for number in seeds or ["0"]:
        print(write_wide_run(Path(place), int(examples), int(number), names.split(",")).folder)
