"""`score`: execution accuracy of any system's predictions, no model needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.output import JsonFlag, answer
from harness.errors import UserError


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
    from harness.cache import Cache
    from harness.progress import TerminalProgress
    from harness.sql import command

    if self_test:
        report = command.run_self_test(dataset, split)
        answer(json, report.as_dict(), command.render_self_test(report))
        if not report.passed:
            raise typer.Exit(1)
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
        summary = command.run_score(
            dataset, split, predictions, format, hardened, out, Cache(), progress
        )
    finally:
        progress.close()
    answer(json, summary.as_dict(), command.render_summary(summary))
