"""The ``score`` command without its command line.

Dataset folder + split + predictions file -> a summary, and the ``--out`` rows on disk. The split
may have any name; nothing is written beside the data. A run's ``predictions.<variant>.jsonl`` is
accepted as input, since its rows hold ``text``.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.data.sources.jsonlines import existing, read_bytes
from harness.data.sources.wikisql import load_split
from harness.disk.cache import Cache
from harness.disk.files import write_jsonl
from harness.errors import UserError
from harness.progress import ProgressCallback, silent
from harness.sql.grade.predictions import read_predictions
from harness.sql.grade.score import score
from harness.sql.grade.summary import ExecutionSummary, summarize

MAX_COPIES = 64


def run_score(
    dataset: Path,
    split: str,
    predictions: Path,
    format: str = "text",
    hardened: int = 0,
    out: Path | None = None,
    cache: Cache | None = None,
    progress: ProgressCallback = silent,
) -> ExecutionSummary:
    """Grade a predictions file.

    Args:
        dataset: a folder with ``<split>.jsonl`` and ``<split>.tables.jsonl``.
        split: the split's name.
        predictions: the JSONL file of predictions.
        format: ``text`` or ``wikisql``.
        hardened: the number K of perturbed copies, 0 for none.
        out: where the per-example rows go; None writes none.
        cache: keeps gold results with the data for the next time; None keeps nothing.
        progress: told of the steps.

    Raises:
        UserError: something in the files or options that the user can put right.
    """
    if not 0 <= hardened <= MAX_COPIES:
        raise UserError(f"--hardened must be 0..{MAX_COPIES}, got {hardened}.")
    with _no_collection():
        loaded = load_split(dataset, [split])
        found = read_predictions(predictions, format, [example.id for example in loaded.examples])
        scores = score(
            loaded.tables,
            loaded.examples,
            found,
            hardened,
            cache,
            progress,
            source_key=_source_key(dataset, split),
        )
        if out is not None:
            write_jsonl(out, [one.row() for one in scores])
        return summarize(scores, loaded.examples)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection: what grading makes is kept, and looking for garbage costs a fifth."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _source_key(dataset: Path, split: str) -> str:
    digest = hashlib.sha256()
    for name in (f"{split}.jsonl", f"{split}.tables.jsonl"):
        path = existing(dataset, name) or dataset / name
        digest.update(hashlib.sha256(read_bytes(path)).digest())
    return digest.hexdigest()
