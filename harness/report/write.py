"""Files that a person reads: a run's folder with its report and charts, a report anywhere, a page.

Input: the :class:`Analysis` of a pending run or of stored runs -> output: files. Not covered:
the store's own files (``runs.store``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.compare.analysis import Analysis
from harness.disk import files
from harness.report.article import Article
from harness.report.page.page import render_page
from harness.report.report import render_report
from harness.runs import store
from harness.runs.file_names import PAGE_FILE, REPORT_FILE
from harness.runs.store import PendingRun


def write_run(run: PendingRun, analysis: Analysis) -> None:
    """Write a new run with the comparisons of its analysis, its report, charts and page.

    Raises:
        UserError: as :func:`store.write_run`.
    """
    results = run.results.model_copy(update={"comparisons": analysis.records})
    made = replace(run, results=results)
    store.write_run(made, lambda folder: write_report(analysis, folder, html=True))


def write_report(
    analysis: Analysis, out: Path, article: Article | None = None, html: bool = False
) -> list[Path]:
    """Write the charts, `report.md` and, with ``html``, the page of runs into ``out``."""
    charts = _charts(analysis)
    texts = {**charts, REPORT_FILE: render_report(analysis, article)}
    if html:
        texts[PAGE_FILE] = render_page(analysis, charts, article)
    for name, text in texts.items():
        files.write_text(out / name, text)
    return [out / name for name in texts]


def write_page(analysis: Analysis, out: Path, article: Article | None = None) -> Path:
    """Write the page of runs, and nothing else, into ``out``."""
    files.write_text(out / PAGE_FILE, render_page(analysis, _charts(analysis), article))
    return out / PAGE_FILE


def _charts(analysis: Analysis) -> dict[str, str]:
    """By file name; those of a new run are kept for the next that measures the same."""

    def draw() -> dict[str, str]:
        from harness.report.charts.curves import render_charts  # and with it matplotlib

        return render_charts(analysis)

    charts: dict[str, str] = analysis.kept("charts", ["matplotlib"], draw)
    return charts
