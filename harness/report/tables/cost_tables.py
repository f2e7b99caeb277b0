"""Tables of what training and evaluation took: loss, parameters, time, memory, test loss, size.

Input: columns (and rows of figures as printed, which stand below) -> output: Markdown blocks; an
empty string where there is nothing to show. The questions and their speeds are in
``question_tables``, accuracy in ``quality_tables``.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.markdown import (
    NONE,
    count,
    duration,
    escape,
    fixed,
    gigabytes,
    interval,
    megabytes,
    millions,
    table,
)
from harness.report.columns import Column
from harness.schema.variant_result import CurvePoint, LossValue

Rows = Sequence[Sequence[str]]
"""Finished rows of a table, which stand below those of the columns."""


def loss_by_iteration(columns: Sequence[Column]) -> str:
    """Train loss, validation loss and tokens per second by iteration, variants side by side."""
    # A base that was only validated once has no curve to set beside the others.
    shown = [column for column in columns if len(column.curve) > 1]
    if not shown:
        return ""
    accumulated = {
        column.label: any(point.updates != point.iteration for point in column.curve)
        for column in shown
    }
    headers = ["Iteration"]
    for column in shown:
        label = escape(column.label)
        headers += [f"{label} updates"] if accumulated[column.label] else []
        headers += [f"{label} train loss", f"{label} val loss", f"{label} tokens/s"]
    points = [{point.iteration: point for point in column.curve} for column in shown]
    rows = []
    for iteration in sorted({number for by_number in points for number in by_number}):
        row = [str(iteration)]
        for column, by_number in zip(shown, points, strict=True):
            row += _curve_cells(by_number.get(iteration), accumulated[column.label])
        rows.append(row)
    notes = [
        f"- Tokens/s of {escape(column.label)}: {note}."
        for column in shown
        if (note := column.training_note())
    ]
    return "\n\n".join([table(headers, rows, text_columns=0), "\n".join(notes)]).rstrip()


def parameters(columns: Sequence[Column], printed: Rows = ()) -> str:
    """Trainable parameters of all, logical and packed."""
    rows: list[Sequence[str]] = []
    sentences = []
    for column in columns:
        counts = column.result.parameters
        if counts is None:
            continue
        rows.append(
            [
                escape(column.label),
                millions(counts.trainable),
                millions(counts.total),
                fixed(counts.per_ten_thousand, 2),
                millions(counts.packed_total),
                fixed(counts.packed_per_ten_thousand, 2),
            ]
        )
        if counts.trainable:
            sentences.append(_parameter_sentence(column, counts.trainable, counts.packed_total))
    rows += printed
    if not rows:
        return ""
    headers = [
        "Variant",
        "Trainable",
        "Total",
        "Per 10,000",
        "Total, packed",
        "Per 10,000, packed",
    ]
    return "\n\n".join([table(headers, rows), "\n".join(sentences)]).rstrip()


def wall_time(columns: Sequence[Column]) -> str:
    """Iterations and wall time of fine-tuning, marked where cached or contended."""
    rows = [
        [
            escape(column.label),
            count(column.iterations),
            duration(finetune.wall_s),
            count(finetune.resumed_from),
            column.training_note() or NONE,
        ]
        for column in columns
        if (finetune := column.result.finetune) and column.iterations is not None
    ]
    headers = ["Variant", "Iterations", "Wall time", "Resumed from", "Note"]
    return table(headers, rows) if rows else ""


def memory(columns: Sequence[Column], phases: Sequence[str], printed: Rows = ()) -> str:
    """Peak memory in each of ``phases``: MLX's allocator and the process."""
    rows: list[Sequence[str]] = []
    for column in columns:
        measured = column.result.memory
        found = [measured.phase(phase) for phase in phases] if measured else []
        if not any(found):
            continue
        cells = [gigabytes(phase.mlx_peak_bytes) if phase else NONE for phase in found]
        cells += [gigabytes(phase.rss_peak_bytes) if phase else NONE for phase in found]
        shared = "shared" if any(phase and phase.shared_process for phase in found) else "own"
        rows.append([escape(column.label), *cells, shared])
    rows += printed
    peaks = [f"{phase}, {peak} peak" for peak in ("MLX", "RSS") for phase in phases]
    return table(["Variant", *peaks, "Process"], rows) if rows else ""


def evaluation_loss(columns: Sequence[Column], printed: Rows = ()) -> str:
    """Test loss and PPL by the three definitions, with the interval of the loss."""
    rows: list[Sequence[str]] = []
    for column in columns:
        loss = column.result.loss
        if loss is None:
            continue
        cells = [escape(column.label), count(column.iterations)]
        for value in (loss.full_text, loss.completion, loss.mlx_lm_compat):
            cells += _loss_cells(value)
        answer = loss.completion
        cells += [interval(loss.full_text.ci95), interval(answer.ci95 if answer else None)]
        rows.append(cells)
    rows += printed
    headers = ["Variant", "Iteration"]
    for name in ("full_text", "completion", "mlx_lm_compat"):
        headers += [f"{name} loss", f"{name} PPL"]
    return table([*headers, "full_text 95%", "completion 95%"], rows) if rows else ""


def fused_size(columns: Sequence[Column], printed: Rows = ()) -> str:
    """Bytes of base, adapter and fused model, the last by dtype."""
    rows: list[Sequence[str]] = []
    for column in columns:
        size = column.result.size
        if size is None:
            continue
        dtypes = sorted((size.fused_by_dtype or {}).items())
        rows.append(
            [
                escape(column.label),
                gigabytes(size.base_bytes),
                megabytes(size.adapter_bytes),
                gigabytes(size.fused_bytes or None),
                ", ".join(f"{name} {gigabytes(n)}" for name, n in dtypes) or NONE,
            ]
        )
    rows += printed
    return table(["Variant", "Base", "Adapter", "Fused", "Fused by dtype"], rows) if rows else ""


def _curve_cells(point: CurvePoint | None, with_updates: bool) -> list[str]:
    if point is None:
        return [""] * (4 if with_updates else 3)
    cells = [
        "" if value is None else fixed(value, digits)
        for value, digits in ((point.train_loss, 3), (point.val_loss, 3), (point.tokens_per_s, 1))
    ]
    return [str(point.updates), *cells] if with_updates else cells


def _parameter_sentence(column: Column, trainable: int, packed_total: int) -> str:
    share = 10_000 * trainable / packed_total
    return (
        f"- {escape(column.label)} tunes {share:.2f} in ten thousand "
        f"({millions(trainable)} / {millions(packed_total)} × 10000) of the stored parameters."
    )


def _loss_cells(value: LossValue | None) -> list[str]:
    return [NONE, NONE] if value is None else [fixed(value.loss), fixed(value.ppl)]
