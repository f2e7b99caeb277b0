"""Tables of what training and evaluation took: loss, parameters, time, memory, test loss, size.

Input: columns (and rows of figures as printed, which stand below) -> output: Markdown blocks; an
empty string where there is nothing to show. The questions and their speeds are in
``question_tables``, accuracy in ``quality_tables``.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.markdown import (
    NONE,
    bullets,
    count,
    duration,
    escape,
    fixed,
    gigabytes,
    interval,
    megabytes,
    millions,
    paragraphs,
    table,
    table_of,
)
from harness.report.columns import Column, perplexity_of
from harness.schema.variant_result import CurvePoint, in_bfloat16

Rows = Sequence[Sequence[str]]
"""Finished rows of a table, which stand below those of the columns."""


def loss_by_iteration(columns: Sequence[Column]) -> str:
    """Train loss, validation loss and tokens per second by iteration, variants side by side."""
    # A base that was only validated once has no curve to set beside the others.
    shown = [column for column in columns if len(column.curve) > 1]
    if not shown:
        return ""
    curves = [
        (0 if column.accumulated else 1, {p.iteration: _curve_cells(p) for p in column.curve})
        for column in shown
    ]
    headers = [
        f"{escape(column.label)} {name}"
        for column, (first, _) in zip(shown, curves, strict=True)
        for name in _CURVE[first:]
    ]
    nothing = ("",) * len(_CURVE)
    rows = [
        [str(at), *(c for first, cells in curves for c in cells.get(at, nothing)[first:])]
        for at in sorted({at for _, cells in curves for at in cells})
    ]
    notes = [
        f"Tokens/s of {escape(column.label)}: {note}."
        for column in shown
        if (note := column.training_note())
    ]
    return paragraphs(table(["Iteration", *headers], rows, text_columns=0), bullets(notes))


def parameters(columns: Sequence[Column], printed: Rows = ()) -> str:
    """Trainable parameters of all, logical and packed."""
    known = [(column, counts) for column in columns if (counts := column.result.parameters)]
    rows = [
        [
            escape(column.label),
            millions(counts.trainable),
            millions(counts.total),
            fixed(counts.per_ten_thousand, 2),
            millions(counts.packed_total),
            fixed(counts.packed_per_ten_thousand, 2),
        ]
        for column, counts in known
    ]
    sentences = [
        f"{escape(column.label)} tunes {10_000 * counts.trainable / counts.packed_total:.2f} in "
        f"ten thousand ({millions(counts.trainable)} / {millions(counts.packed_total)} × 10000) of "
        "the stored parameters."
        for column, counts in known
        if counts.trainable
    ]
    headers = ("Variant", "Trainable", "Total", "Per 10,000", "Total, packed", "Per 10,000, packed")
    return paragraphs(_above(headers, rows, printed), bullets(sentences))


def wall_time(columns: Sequence[Column]) -> str:
    """Iterations and wall time of fine-tuning, marked where cached or contended."""
    rows = [
        {
            "Variant": escape(column.label),
            "Iterations": count(column.iterations),
            "Wall time": duration(finetune.wall_s),
            "Resumed from": count(finetune.resumed_from),
            "Note": column.training_note() or NONE,
        }
        for column in columns
        if (finetune := column.result.finetune) and column.iterations is not None
    ]
    return table_of(rows)


def memory(columns: Sequence[Column], phases: Sequence[str], printed: Rows = ()) -> str:
    """Peak memory in each of ``phases``: MLX's allocator and the process."""
    rows = []
    for column in columns:
        found = [column.peak(phase) for phase in phases]
        if any(found):
            cells = [gigabytes(phase.mlx_peak_bytes if phase else None) for phase in found]
            cells += [gigabytes(phase.rss_peak_bytes if phase else None) for phase in found]
            shared = "shared" if any(phase and phase.shared_process for phase in found) else "own"
            rows.append([escape(column.label), *cells, shared])
    peaks = [f"{phase}, {peak} peak" for peak in ("MLX", "RSS") for phase in phases]
    return _above(["Variant", *peaks, "Process"], rows, printed)


def evaluation_loss(columns: Sequence[Column], printed: Rows = ()) -> str:
    """Test loss and PPL by the three definitions, with the interval of the loss."""
    rows = []
    for column in columns:
        if loss := column.result.loss:
            cells = [escape(column.label), count(column.iterations)]
            for value in (loss.full_text, loss.completion, loss.mlx_lm_compat):
                cells += [fixed(value.loss if value else None), perplexity_of(value)]
            answer = loss.completion.ci95 if loss.completion else None
            rows.append([*cells, interval(loss.full_text.ci95), interval(answer)])
    headers = ["Variant", "Iteration"]
    for name in ("full_text", "completion", "mlx_lm_compat"):
        headers += [f"{name} loss", f"{name} PPL"]
    return _above([*headers, "full_text 95%", "completion 95%"], rows, printed)


def fused_size(columns: Sequence[Column], printed: Rows = ()) -> str:
    """Bytes of base, adapter and fused model, the last by dtype; base and fused model also as they
    would be with their floats in bfloat16."""
    rows = []
    for column in columns:
        if size := column.result.size:
            dtypes = sorted((size.fused_by_dtype or {}).items())
            rows.append(
                [
                    escape(column.label),
                    gigabytes(size.base_bytes),
                    _in_bfloat16(size.base_by_dtype),
                    megabytes(size.adapter_bytes),
                    gigabytes(size.fused_bytes or None),
                    _in_bfloat16(size.fused_by_dtype),
                    ", ".join(f"{name} {gigabytes(n)}" for name, n in dtypes) or NONE,
                ]
            )
    headers = ["Variant", "Base", "Base in bfloat16", "Adapter", "Fused", "Fused in bfloat16"]
    return _above([*headers, "Fused by dtype"], rows, printed)


def _in_bfloat16(by_dtype: dict[str, int] | None) -> str:
    return gigabytes(in_bfloat16(by_dtype) if by_dtype else None)


_CURVE = ("updates", "train loss", "val loss", "tokens/s")


def _curve_cells(point: CurvePoint) -> tuple[str, ...]:
    """One cell for each of ``_CURVE``."""
    return (
        str(point.updates),
        fixed(point.train_loss, missing=""),
        fixed(point.val_loss, missing=""),
        fixed(point.tokens_per_s, 1, missing=""),
    )


def _above(headers: Sequence[str], rows: Rows, printed: Rows) -> str:
    """A table of our rows above those as printed; empty without any."""
    return table(headers, [*rows, *printed]) if rows or printed else ""
