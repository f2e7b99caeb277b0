"""`score`: execution accuracy of any system's predictions, no model needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.output import JsonFlag, answer
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.sql.grade.summary import ExecutionSummary


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
    from harness.cli.score_file import run_score
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
