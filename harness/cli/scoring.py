"""`score`: execution accuracy of any system's predictions, without a model.

A dataset folder, the name of a split and a predictions file -> a summary on standard output and
the rows of ``--out``. Nothing is written beside the data. A run's ``predictions.<variant>.jsonl``
can be scored too, because its rows hold ``text``.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.output import JsonFlag, answer
from harness.errors import UserError
from harness.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from harness.disk.cache import Cache
    from harness.sql.grade.summary import ExecutionSummary

MAX_COPIES = 64


def score(
    dataset: Annotated[Path | None, typer.Option(help="Folder in WikiSQL's layout.")] = None,
    split: Annotated[str | None, typer.Option(help="Name of the split, e.g. test.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="JSONL of predictions.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the verdicts go, JSONL.")] = None,
    format: Annotated[str, typer.Option(help="text, or wikisql for structured queries.")] = "text",
    hardened: Annotated[int, typer.Option(help="Perturbed copies K; 0 is none.")] = 0,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Grade known answers and say how it went.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Grade predictions by every protocol: official, ex, strict, hardened, logical form."""
    from harness.disk.cache import Cache
    from harness.progress import TerminalProgress

    if self_test:
        _self_test(json)
        return
    given = {
        "--dataset": dataset,
        "--split": split,
        "--predictions": predictions,
        "--out": out,
    }
    missing = [name for name, value in given.items() if value is None]
    if missing or dataset is None or split is None or predictions is None:
        raise UserError(
            f"score needs {', '.join(missing)}; e.g. python -m harness score --dataset "
            "fixtures/mini --split test --predictions FILE --out scores.jsonl, or --self-test"
        )
    progress = TerminalProgress()
    try:
        summary = run_score(dataset, split, predictions, format, hardened, out, Cache(), progress)
    finally:
        progress.close()
    answer(json, summary.as_dict(), _render(summary))


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
        split: the split's name; any name will do.
        predictions: the JSONL file of predictions.
        format: ``text`` or ``wikisql``.
        hardened: the number K of perturbed copies, 0 for none.
        out: the file for the rows, one for each example; None writes none.
        cache: keeps the gold results for the next time; None keeps nothing.
        progress: is called after each step.

    Raises:
        UserError: something in the files or options that the user can put right.
    """
    from harness.data.sources.wikisql import load_split
    from harness.disk.files import write_jsonl
    from harness.sql.grade.predictions import read_predictions
    from harness.sql.grade.score import score
    from harness.sql.grade.summary import summarize

    if not 0 <= hardened <= MAX_COPIES:
        raise UserError(f"--hardened must be 0..{MAX_COPIES}, got {hardened}.")
    with _no_collection():
        loaded = load_split(dataset, [split])
        found = read_predictions(predictions, format, [example.id for example in loaded.examples])
        key = _source_key(dataset, split)
        scores = score(loaded.tables, loaded.examples, found, hardened, cache, progress, key)
        if out is not None:
            write_jsonl(out, [one.row() for one in scores])
        return summarize(scores, loaded.examples)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Switch garbage collection off.

    Almost everything that grading makes is kept until the end, and collection takes a fifth of the
    time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _source_key(dataset: Path, split: str) -> str:
    """The digest of the two files that the split is read from."""
    from harness.data.sources.jsonlines import existing, read_bytes

    digest = hashlib.sha256()
    for name in (f"{split}.jsonl", f"{split}.tables.jsonl"):
        path = existing(dataset, name) or dataset / name
        digest.update(hashlib.sha256(read_bytes(path)).digest())
    return digest.hexdigest()


def _self_test(json: bool) -> None:
    from harness.data.sources.resolve import resolve_dataset
    from harness.disk.cache import Cache
    from harness.sql.grade.selftest import run_self_test

    report = run_self_test(resolve_dataset("mini").test, Cache())
    answer(json, report.as_dict(), report.render())
    if not report.passed:
        raise typer.Exit(1)


def _render(summary: ExecutionSummary) -> str:
    """The summary as Markdown, rates in percent."""
    told = summary.as_dict()
    lines = [f"{summary.n:,} predictions, {summary.protocol}", "", "| metric | |", "| --- | ---: |"]
    for name in ("ex", "ex_official", "ex_strict", "ex_hardened", "lf", "valid", "ex_given_valid"):
        value = told[name]
        lines.append(f"| {name} | {'not asked' if value is None else f'{100 * value:.2f}%'} |")
    if summary.ci95 is not None:
        low, high = (100 * edge for edge in summary.ci95)
        lines.append(f"| ex, 95% Wilson | {low:.2f} to {high:.2f}% |")
    lines.append(f"| degenerate gold, left out of ex | {summary.degenerate_gold} |")
    lines += [f"| failed: {kind} | {count} |" for kind, count in summary.failures.items()]
    for title, groups in (("aggregate", summary.by_agg), ("conditions", summary.by_conditions)):
        for key, group in groups.items():
            share = "" if group.ex is None else f"{100 * group.ex:.2f}% of {group.n}"
            lines.append(f"| ex, {title} {key or 'none'} | {share} |")
    return "\n".join(lines)
