"""`compare`, `report` and `gate`: what stored runs say, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.output import JsonFlag, answer

RUN_HELP = "A run's folder or its results.json; RUN:variant picks one variant."


def compare(
    run_a: Annotated[str, typer.Argument(help=RUN_HELP)],
    run_b: Annotated[str, typer.Argument(help=RUN_HELP)],
    more: Annotated[
        list[str] | None, typer.Argument(help="Further runs, each beside RUN_A; or more seeds.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Paired comparison of runs: is b better than a? Seeds of one setting: across the seeds."""
    from harness.cli.run_commands import compare_command

    value, text = compare_command(run_a, run_b, *more or ())
    answer(json, value, text)


def report(
    runs: Annotated[list[str], typer.Argument(help=RUN_HELP)],
    out: Annotated[Path | None, typer.Option(help="Folder for tables and charts.")] = None,
    html: Annotated[bool, typer.Option("--html", help="One self-contained page.")] = False,
    article: Annotated[
        bool, typer.Option("--article", help="Set the published numbers of 2024 beside.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Markdown tables and charts of stored runs."""
    from harness.cli.run_commands import report_command

    value, text = report_command(runs, out, html, article)
    answer(json, value, text)


def gate(
    run: Annotated[str, typer.Argument(help=RUN_HELP)],
    baseline: Annotated[str, typer.Option(help="The run to gate against.")],
    gates: Annotated[
        Path | None, typer.Option(help="Thresholds (default: fixtures/gates.toml).")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="An inconclusive gate fails too.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Exit 0 when no metric regressed, 1 on a regression, 2 when runs cannot be compared."""
    from harness.cli.run_commands import gate_command

    value, text, status = gate_command(run, baseline, gates, strict)
    answer(json, value, text)
    if status:
        raise typer.Exit(status)
