"""`compare`, `report` and `gate` as functions: what the CLI prints and its exit status.

Input: RUN arguments as the user typed them -> output: a JSON-able value and Markdown text (and an
exit status for ``gate``). Nothing here knows typer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.compare import gates
from harness.compare.cost import memory_ratios, speed_ratios
from harness.compare.quality import PairComparison, compare_sides, match_sides
from harness.compare.seeds import seed_differences, seed_runs
from harness.compare.sides import RunVariant, label_sides
from harness.compare.thresholds import load_gates
from harness.disk import files
from harness.errors import UserError
from harness.markdown import code
from harness.report.article import load_article
from harness.report.comparison import render_comparison, what_may_be_claimed
from harness.report.provenance import provenance
from harness.report.report import render_reports
from harness.report.tables import comparison_tables
from harness.runs.file_names import PAGE_FILE, REPORT_FILE
from harness.runs.store import read_run

SHIPPED_GATES = "fixtures/gates.toml"


def compare_command(run_a: str, run_b: str, *more: str) -> tuple[dict[str, Any], str]:
    """Paired comparison of stored runs: is b (and each further run) better than a?

    Runs that are seeds of one setting are compared within each seed, and then across the seeds.

    Raises:
        UserError: a run is missing or damaged, or the runs are not comparable.
    """
    runs = [read_run(where) for where in (run_a, run_b, *more)]
    # Two seeds of one variant are two sets of weights; from variants side by side comes more.
    seeds = seed_runs(runs) if len(runs[0].variants) > 1 else []
    if seeds:
        sides = [
            (RunVariant(run, a), RunVariant(run, b))
            for run in seeds
            for a, b in itertools.combinations(run.variants, 2)
        ]
    else:
        sides = [pair for other in runs[1:] for pair in match_sides(runs[0], other)]
    sides = label_sides(sides, runs)
    found = [compare_sides(a, b) for a, b in sides]
    speeds = [ratio for a, b in sides for ratio in speed_ratios(a, b)]
    memory = [ratio for a, b in sides for ratio in memory_ratios(a, b)]
    value = {
        "claim": what_may_be_claimed(seeds, found),
        "comparisons": [c.model_dump(mode="json") for pair in found for c in pair.primary],
        "descriptive": [_descriptive(pair) for pair in found],
        "seeds": [asdict(difference) for difference in seed_differences(seeds)] if seeds else [],
        "speeds": [asdict(ratio) for ratio in speeds],
        "memory": [asdict(ratio) for ratio in memory],
    }
    return value, render_comparison(runs, found, speeds, memory, seeds)


def report_command(
    runs: Sequence[str], out: Path | None = None, html: bool = False, article: bool = False
) -> tuple[dict[str, Any], str]:
    """Tables and charts of stored runs.

    With ``out`` the report and its charts are written there and the text says where; without, the
    text is the report itself and nothing is written.

    Raises:
        UserError: a run is missing or damaged, or ``html`` without ``out``.
    """
    if html and out is None:
        raise UserError("--html writes a page: say where with --out DIR.")
    stored = [read_run(run) for run in runs]
    published, grades = None, None
    if article:
        from harness.report.article_grades import grade_article

        published = load_article()
        grades = grade_article(published)
    report = render_reports(stored, published, grades)
    value: dict[str, Any] = {"runs": [run.id for run in stored], "files": [], "markdown": report}
    if out is None:
        return value, report
    from harness.report.charts.curves import render_charts

    for name, svg in render_charts(stored).items():
        files.write_text(out / name, svg)
        value["files"].append(str(out / name))
    files.write_text(out / REPORT_FILE, report)
    value["files"].append(str(out / REPORT_FILE))
    if html:
        from harness.report.page.page import render_page

        files.write_text(out / PAGE_FILE, render_page(stored, published, grades))
        value["files"].append(str(out / PAGE_FILE))
    return value, "Written:\n" + "\n".join(value["files"])


def gate_command(
    run: str, baseline: str, gates_file: Path | None = None, strict: bool = False
) -> tuple[dict[str, Any], str, int]:
    """Hold a stored run against a baseline; the last item is the exit status, 0 or 1.

    Raises:
        UserError: a file is missing, the runs are not comparable, or nothing that the gates name
            could be compared (exit status 2).
    """
    rules = load_gates(gates_file)
    new, old = read_run(run), read_run(baseline)
    results = gates.judge(new, old, rules, require_all=True)
    bad = gates.failed(results, strict)
    if all(result.verdict == "skipped" for result in results):
        why = sorted({result.reason for result in results}) or ["the run holds no variant"]
        raise UserError(
            f"nothing of run {new.id!r} was held against {old.id!r}, so nothing passed: "
            f"{'; '.join(why)}. Name other metrics with --gates FILE, or take the baseline anew "
            "on this machine."
        )
    counts = {
        verdict: sum(result.verdict == verdict for result in results)
        for verdict in ("pass", "fail", "inconclusive", "skipped")
    }
    listed = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
    status = 1 if bad else 0
    value = {
        "status": "regression" if bad else "pass",
        "counts": counts,
        "gates": [result.model_dump(mode="json") for result in results],
    }
    headline = f"**{'Regression' if bad else 'No regression'}**: {listed}."
    thresholds = f"thresholds of {code(str(gates_file or SHIPPED_GATES))}"
    origin = provenance([new, old], "gates", thresholds)
    return value, f"{headline}\n\n{comparison_tables.gates(results)}\n\n{origin}\n", status


def _descriptive(pair: PairComparison) -> dict[str, Any]:
    return {"a": pair.a, "b": pair.b, "metrics": [asdict(item) for item in pair.descriptive]}
