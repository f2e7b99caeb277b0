"""`compare`, `report`, `gate`, `adapter`, `list`: stored runs, without a model.

Input: RUN arguments as the user typed them -> output: Markdown or JSON on stdout, an exit status.
What a command needs is imported when it runs, so that `--help` is quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.output import JsonFlag, answer
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.schema.results import Results

RUN_HELP = "A run's folder or its results.json; RUN:variant picks one variant."
SHIPPED_GATES = "fixtures/gates.toml"


def compare(
    run_a: Annotated[str, typer.Argument(help=RUN_HELP)],
    run_b: Annotated[str, typer.Argument(help=RUN_HELP)],
    more: Annotated[
        list[str] | None, typer.Argument(help="Further runs, each beside RUN_A; or more seeds.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Compare runs in pairs: is b better than a? Seeds of one setting are compared across seeds."""
    value, text = compare_command(run_a, run_b, *more or ())
    answer(json, value, text)


def report(
    runs: Annotated[list[str], typer.Argument(help=RUN_HELP)],
    out: Annotated[Path | None, typer.Option(help="Folder for tables and charts.")] = None,
    html: Annotated[bool, typer.Option("--html", help="One self-contained page.")] = False,
    show: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    article: Annotated[
        bool, typer.Option("--article", help="Set the published numbers of 2024 beside.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="All numbers as CSV, into --out.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Tables for a paper, into --out.")] = False,
    png: Annotated[bool, typer.Option("--png", help="Charts as PNG, into --out.")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Charts as PDF, into --out.")] = False,
    json: JsonFlag = False,
) -> None:
    """Markdown tables and charts of stored runs; one page to look at with --html or --open."""
    asked = {"csv": csv, "latex": latex, "png": png, "pdf": pdf}
    paper = tuple(name for name, wanted in asked.items() if wanted)
    value, text = report_command(runs, out, html or show, article, paper)
    answer(json, value, text)
    if show:
        import webbrowser

        from harness.runs.file_names import PAGE_FILE

        page = next(file for file in map(Path, value["files"]) if file.name == PAGE_FILE)
        webbrowser.open(page.resolve().as_uri())


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
    """Exit 0 when a metric passed and none regressed, 1 on a regression or where nothing was
    decided, 2 when nothing can be compared."""
    value, text, status = gate_command(run, baseline, gates, strict)
    answer(json, value, text)
    if status:
        raise typer.Exit(status)


def adapter(
    run: Annotated[str, typer.Argument(help="RUN:VARIANT of a run that trained it here.")],
    out: Annotated[Path, typer.Option(help="The new folder.")],
    best: Annotated[
        bool, typer.Option("--best", help="Its best measured checkpoint instead of the last.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Copy a trained adapter (or its best checkpoint) as a folder that mlx-lm reads."""
    from harness.disk.cache import Cache
    from harness.pipeline.adapter_out import copy_adapter
    from harness.runs.store import read_run

    copied = copy_adapter(read_run(run), out, best, Cache())
    value = {"adapter": str(out), "iteration": copied.iteration, "command": copied.command}
    answer(json, value, f"adapter in {out}\ntry it: {copied.command}")


def list_runs(
    results_dir: Annotated[Path, typer.Argument(help="Where runs lie.")] = Path("results/runs"),
    json: JsonFlag = False,
) -> None:
    """The runs of a folder: name, date, model, variants, headline; the newest last."""
    from harness.runs.file_names import RESULTS_FILE
    from harness.runs.store import read_run

    if not results_dir.is_dir():
        raise UserError(f"there is no folder {results_dir}. Name the one of --results-dir.")
    found: list[dict[str, Any]] = []
    for file in results_dir.glob(f"*/{RESULTS_FILE}"):
        try:
            results = read_run(file).results
        except UserError as error:
            found.append({"name": file.parent.name, "date": "", "headline": str(error)})
            continue
        facts = {"name": file.parent.name, "date": results.run.started}
        named = {"model": results.model.id, "variants": [*results.variants]}
        found.append({**facts, **named, "headline": headline(results)})
    found.sort(key=lambda run: (run["date"], run["name"]))
    lines = [
        f"{run['name']}  {run['date']}  {run.get('model', '')}  "
        f"{', '.join(run.get('variants', ()))}\n    {run['headline']}"
        for run in found
    ]
    answer(json, {"runs": found}, "\n".join(lines) or f"no runs in {results_dir}")


def headline(results: Results) -> str:
    """What a run came to, in one line: its verdicts, else the figures of its variants."""
    from harness.markdown import percent

    said: dict[tuple[str, str, str], list[str]] = {}
    for one in results.comparisons:
        if one.verdict != "not distinguishable":
            said.setdefault((one.b, one.verdict, one.a), []).append(one.metric)
    if said:
        return "; ".join(f"{b} {v} than {a} on {', '.join(m)}" for (b, v, a), m in said.items())
    figures = []
    for name, variant in results.variants.items():
        if variant.execution is not None:
            figures.append(f"{name}: ex {percent(variant.execution.ex)}")
        elif variant.loss is not None:
            figures.append(f"{name}: loss {variant.loss.full_text.loss:.3f}")
    undecided = "no difference is shown; " if results.comparisons else ""
    return undecided + (", ".join(figures) or "nothing of quality was measured")


def compare_command(run_a: str, run_b: str, *more: str) -> tuple[dict[str, Any], str]:
    """Paired comparison of stored runs: a JSON-able value and Markdown.

    Runs that are seeds of one setting are compared within each seed, and then across the seeds.

    Raises:
        UserError: a run is missing or damaged, or the runs are not comparable.
    """
    from harness.compare.analysis import analyse_against_first
    from harness.report.comparison import render_comparison, what_may_be_claimed
    from harness.runs.store import read_run

    analysis = analyse_against_first([read_run(where) for where in (run_a, run_b, *more)])
    value = {
        "claim": what_may_be_claimed(analysis),
        "comparisons": [record.model_dump(mode="json") for record in analysis.records],
        "descriptive": [
            {"a": pair.a, "b": pair.b, "metrics": [asdict(item) for item in pair.descriptive]}
            for pair in analysis.pairs
        ],
        "seeds": [asdict(difference) for difference in analysis.seed_differences],
        "speeds": [asdict(ratio) for ratio in analysis.speeds],
        "memory": [asdict(ratio) for ratio in analysis.memory],
    }
    return value, render_comparison(analysis)


def report_command(
    runs: Sequence[str],
    out: Path | None = None,
    html: bool = False,
    article: bool = False,
    paper: Sequence[str] = (),
) -> tuple[dict[str, Any], str]:
    """Tables and charts of stored runs: a JSON-able value and Markdown; for a ``paper`` also in
    any of csv, latex, png and pdf.

    With ``out`` the report and its charts are written there and the text names it; without it, the
    text is the report itself and nothing is written, but with ``html`` one run's page in its own
    folder.

    Raises:
        UserError: a run is missing or damaged, or ``html`` without ``out`` is not of one whole run.
    """
    from harness.compare.analysis import analyse
    from harness.report.article import load_article
    from harness.report.report import render_report
    from harness.runs.file_names import REPORT_FILE
    from harness.runs.store import read_run

    analysis = analyse([read_run(run) for run in runs])
    first, *others = analysis.runs
    if html and out is None and (others or first.variant):
        raise UserError("a page of less or more than one run: name its folder with --out DIR.")
    published = load_article() if article else None
    value: dict[str, Any] = {"runs": [run.id for run in analysis.runs], "files": []}
    if paper and out is None:
        raise UserError(f"--{paper[0]} writes files: name their folder with --out DIR.")
    if out is None:
        report = render_report(analysis, published)
        value["markdown"] = report
        if not html:
            return value, report
        from harness.report.write import write_page

        value["files"] = [str(write_page(analysis, first.folder, published))]
        return value, "Written:\n" + "\n".join(value["files"])
    from harness.report.write import write_report

    value["files"] = [str(file) for file in write_report(analysis, out, published, html)]
    if paper:
        from harness.report.paper import write_paper

        value["files"] += map(str, write_paper(analysis, out, paper))
    value["markdown"] = (out / REPORT_FILE).read_text(encoding="utf-8")
    return value, "Written:\n" + "\n".join(value["files"])


def gate_command(
    run: str, baseline: str, gates_file: Path | None = None, strict: bool = False
) -> tuple[dict[str, Any], str, int]:
    """Judge a stored run against a baseline: a JSON-able value, Markdown, the exit status.

    Raises:
        UserError: a file is missing, the runs are not comparable, or one of them does not fit its
            own rows or their texts (exit status 2).
    """
    from harness.compare.evidence import require_evidence
    from harness.compare.gates import judge, outcome, verdict_counts
    from harness.compare.regrade import known_split, require_regraded
    from harness.compare.thresholds import load_gates
    from harness.disk.cache import Cache
    from harness.markdown import bullets, code, escape, paragraphs
    from harness.report.changed_examples import as_markdown, changed_examples
    from harness.report.provenance import provenance
    from harness.report.tables import gate_tables
    from harness.runs.store import read_run

    rules = load_gates(gates_file)
    new, old = read_run(run), read_run(baseline)
    for side in (new, old):
        require_evidence(side)
    results = judge(new, old, rules, require_all=True)
    split = known_split([new, old])
    if split is None:
        notes = [f"{new.results.dataset.name} is not at hand, so no answer was graded again"]
    else:
        notes = [require_regraded(side, split, Cache()) for side in (new, old)]
    found = outcome(results, strict)
    changed = changed_examples(new, old, results, split)
    value: dict[str, Any] = {
        "status": found.status,
        "counts": verdict_counts(results),
        "gates": [result.model_dump(mode="json") for result in results],
        "examples": [one.as_json() for one in changed],
        "notes": [note for note in notes if note],
    }
    thresholds = f"thresholds of {code(str(gates_file or SHIPPED_GATES))}"
    origin = provenance([new, old], "gated now", thresholds)
    told = bullets(map(escape, value["notes"]))
    text = paragraphs(gate_tables.gates(results), as_markdown(changed), told, origin)
    return value, f"{text}\n", found.exit_status
