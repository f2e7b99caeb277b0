"""Files that a person reads: a run's folder with its report and charts, a report anywhere, a page.

Input: :class:`Results` and rows, or the :class:`Analysis` of stored runs -> output: files. Not
covered: the store's own files (``runs.store``).
"""

from __future__ import annotations

from pathlib import Path

from harness.compare.analysis import Analysis, analyse
from harness.disk import files
from harness.report.article import Article
from harness.report.charts.curves import render_charts
from harness.report.page.page import render_page
from harness.report.report import render_report
from harness.runs import store
from harness.runs.file_names import PAGE_FILE, REPORT_FILE
from harness.runs.store import RunRows, StoredRun
from harness.schema.results import Results


def write_run(results_dir: Path, results: Results, rows: RunRows | None = None) -> StoredRun:
    """Write a new run with its rows, report and charts; the folder appears whole or not at all.

    Raises:
        UserError: the name is taken, two variants share a file name, or the disk refuses.
    """
    return store.write_run(
        results_dir, results, rows, lambda run: write_report(analyse([run]), run.folder)
    )


def write_report(
    analysis: Analysis, out: Path, article: Article | None = None, html: bool = False
) -> list[Path]:
    """Write the charts, `report.md` and, with ``html``, the page of runs into ``out``."""
    charts = render_charts(analysis)
    texts = {**charts, REPORT_FILE: render_report(analysis, article)}
    if html:
        texts[PAGE_FILE] = render_page(analysis, article, charts)
    for name, text in texts.items():
        files.write_text(out / name, text)
    return [out / name for name in texts]
