"""Files for a paper: the numbers as CSV, tables as LaTeX, charts as PNG or PDF.

Input: an :class:`Analysis` -> output: files. CSV has the store's units (rates 0..1, bytes, seconds)
and full precision; LaTeX has what a reader sees, for the package booktabs.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

from harness.compare.analysis import Analysis
from harness.compare.metrics import METRICS
from harness.disk import files
from harness.markdown import fixed, p_value, percent, percent_interval, visible
from harness.report.charts.curves import figure
from harness.report.charts.style import STYLE
from harness.report.columns import CHARTS, Column, available_charts, columns_of

DOTS_PER_INCH = 200


def write_paper(analysis: Analysis, out: Path, formats: Sequence[str]) -> list[Path]:
    """The files of each of ``formats`` (csv, latex, png, pdf) in ``out``."""
    found = write_csv(analysis, out) if "csv" in formats else []
    found += write_latex(analysis, out) if "latex" in formats else []
    return found + write_figures(analysis, out, [one for one in formats if one in ("png", "pdf")])


def write_csv(analysis: Analysis, out: Path) -> list[Path]:
    """Files of variants, comparisons and curves; one without a row is left out."""
    columns = columns_of(analysis.runs)
    tables = {
        "variants.csv": [_measured(column) for column in columns],
        "comparisons.csv": list(_compared(analysis)),
        "curves.csv": [
            {**_named(column), **point.model_dump()} for column in columns for point in column.curve
        ],
    }
    return [
        _write(out / name, pd.DataFrame(rows, dtype=object).to_csv(index=False).encode())
        for name, rows in tables.items()
        if rows
    ]


def write_latex(analysis: Analysis, out: Path) -> list[Path]:
    """The variants side by side, and their comparisons where there are some, in one file."""
    tables = [[*map(_shown, columns_of(analysis.runs))], [*_differences(analysis)]]
    texts = [
        pd.DataFrame(rows).to_latex(
            index=False, escape=True, column_format="l" + "r" * len(rows[0])
        )
        for rows in tables
        if rows
    ]
    # In text LaTeX's own fonts have an inverted mark at `<`, and a hyphen for a minus.
    shown = re.sub(r"[<>]|(?<= )-(?=\d)", r"$\g<0>$", "\n".join(texts))
    return [_write(out / "tables.tex", f"% \\usepackage{{booktabs}}\n{shown}".encode())]


def write_figures(analysis: Analysis, out: Path, formats: Iterable[str]) -> list[Path]:
    """Every chart in each of ``formats`` (png, pdf), the same bytes for the same numbers."""
    columns = columns_of(analysis.runs)
    found = []
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        for name in available_charts(columns):
            made = figure(name, columns, analysis)
            for kind in formats:
                stream = io.BytesIO()
                date = {"CreationDate": None} if kind == "pdf" else {}
                made.savefig(
                    stream, format=kind, dpi=DOTS_PER_INCH, metadata={"Title": CHARTS[name], **date}
                )
                found.append(_write((out / name).with_suffix(f".{kind}"), stream.getvalue()))
    return found


def _write(path: Path, content: bytes) -> Path:
    files.write_bytes(path, content)
    return path


def _named(column: Column) -> dict[str, Any]:
    run = column.run.results
    return {"run": visible(run.run.id), "variant": visible(column.variant), "seed": run.run.seed}


def _measured(column: Column) -> dict[str, Any]:
    """Every metric of a variant; intervals behind the rates that have one."""
    result = column.result
    row = _named(column) | {"n": result.execution.n if result.execution else None}
    for metric in METRICS.values():
        row[metric.key] = metric.value(result)
        if metric.rows == "predictions" and row[metric.key] is not None:
            low, high = column.rate_interval(metric.key) or (None, None)
            row |= {f"{metric.key}_ci95_low": low, f"{metric.key}_ci95_high": high}
    return row | {"wall_s": result.finetune.wall_s if result.finetune else None}


def _compared(analysis: Analysis) -> Iterable[dict[str, Any]]:
    for record in analysis.records:
        row = record.model_dump(exclude={"ci95", "fixed", "broken", "p_holm"})
        low, high = record.ci95 or (None, None)
        counts = {
            name: None if ids is None else len(ids)
            for name, ids in (("fixed", record.fixed), ("broken", record.broken))
        }
        yield row | {"ci95_low": low, "ci95_high": high} | counts


def _shown(column: Column) -> dict[str, str]:
    loss, execution = column.result.loss, column.result.execution
    return {
        "Variant": visible(column.label),
        "Completion loss": fixed(loss.completion.loss if loss and loss.completion else None),
        "Execution accuracy": percent(execution.ex if execution else None),
        "95%": percent_interval(column.rate_interval("ex")),
        "Hardened": percent(execution.ex_hardened if execution else None),
        "n": f"{execution.n:,}" if execution else "",
    }


def _differences(analysis: Analysis) -> Iterable[dict[str, str]]:
    for record in analysis.records:
        metric = METRICS[record.metric]
        yield {
            "Pair": visible(f"{record.b} - {record.a}"),
            "Metric": metric.title,
            "Difference": metric.show_delta(record.delta),
            "95%": metric.show_interval(record.ci95),
            "p": p_value(record.p_family),
            "Verdict": record.verdict,
        }
