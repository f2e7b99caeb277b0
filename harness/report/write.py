"""A run's folder with all that a person reads in it: the store's files, the report, the charts.

:class:`Results` and rows -> `<results-dir>/<run-name>/`; a stored run -> its report and charts
again.
"""

from __future__ import annotations

from pathlib import Path

from harness.disk import files
from harness.report.charts.curves import render_charts
from harness.report.report import render_report
from harness.runs import store
from harness.runs.file_names import REPORT_FILE
from harness.runs.store import RunRows, StoredRun
from harness.schema.results import Results


def write_run(results_dir: Path, results: Results, rows: RunRows | None = None) -> StoredRun:
    """Write a new run with its rows, report and charts; the folder appears whole or not at all.

    Raises:
        UserError: the name is taken, two variants share a file name, or the disk refuses.
    """
    return store.write_run(results_dir, results, rows, write_report)


def write_report(run: StoredRun, out: Path | None = None) -> list[Path]:
    """Write `report.md` and the charts of a run into ``out`` (its own folder by default)."""
    out = out or run.folder
    charts = render_charts([run])
    report = render_report(run)
    written = []
    for name, svg in charts.items():
        files.write_text(out / name, svg)
        written.append(out / name)
    files.write_text(out / REPORT_FILE, report)
    return [*written, out / REPORT_FILE]
