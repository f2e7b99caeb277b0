"""The article's tables in the article's order: loss, parameters, time, memory, test loss, size.

Input: entries -> output: Markdown blocks; an empty string where no entry has the data. The
questions and their speeds are in ``question_tables``; tables that the article does not have in
``tables``.
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
from harness.report.article import Article
from harness.report.columns import Entry, Point, training_note
from harness.schema.variant_result import LossValue


def loss_by_iteration(entries: Sequence[Entry]) -> str:
    """Train loss, validation loss and tokens per second by iteration, variants side by side."""
    # A base that was only validated once has no curve to set beside the others.
    shown = [entry for entry in entries if len(entry.curve) > 1]
    if not shown:
        return ""
    accumulated = {
        entry.label: any(point.updates != point.iteration for point in entry.curve)
        for entry in shown
    }
    headers = ["Iteration"]
    for entry in shown:
        label = escape(entry.label)
        headers += [f"{label} updates"] if accumulated[entry.label] else []
        headers += [f"{label} train loss", f"{label} val loss", f"{label} tokens/s"]
    points = [{point.iteration: point for point in entry.curve} for entry in shown]
    rows = []
    for iteration in sorted({number for by_number in points for number in by_number}):
        row = [str(iteration)]
        for entry, by_number in zip(shown, points, strict=True):
            row += _curve_cells(by_number.get(iteration), accumulated[entry.label])
        rows.append(row)
    notes = [
        f"- Tokens/s of {escape(entry.label)}: {note}."
        for entry in shown
        if (note := training_note(entry.result))
    ]
    return "\n\n".join([table(headers, rows, text_columns=0), "\n".join(notes)]).rstrip()


def parameters(entries: Sequence[Entry], article: Article | None = None) -> str:
    """Trainable parameters of all, logical and packed."""
    rows, sentences = [], []
    for entry in entries:
        counts = entry.result.parameters if entry.result else None
        if counts is None:
            continue
        rows.append(
            [
                escape(entry.label),
                millions(counts.trainable),
                millions(counts.total),
                fixed(counts.per_ten_thousand, 2),
                millions(counts.packed_total),
                fixed(counts.packed_per_ten_thousand, 2),
            ]
        )
        if counts.trainable:
            sentences.append(_parameter_sentence(entry, counts.trainable, counts.packed_total))
    if article is not None:
        for name, column in article.variants.items():
            rows.append(
                [
                    f"published {escape(name)}",
                    f"{column.trainable_million:.3f}M",
                    NONE,
                    NONE,
                    f"{column.total_million:.3f}M",
                    fixed(column.per_ten_thousand, 2),
                ]
            )
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


def wall_time(entries: Sequence[Entry]) -> str:
    """Iterations and wall time of fine-tuning, marked where cached or contended."""
    rows = [
        [
            escape(entry.label),
            count(entry.iterations),
            duration(entry.wall_s),
            _resumed(entry),
            training_note(entry.result) or NONE,
        ]
        for entry in entries
        if entry.wall_s is not None and entry.iterations is not None
    ]
    headers = ["Variant", "Iterations", "Wall time", "Resumed from", "Note"]
    return table(headers, rows) if rows else ""


def finetune_memory(entries: Sequence[Entry]) -> str:
    """Peak memory while fine-tuning."""
    return _memory(entries, ("train", "validate"), "train")


def evaluate_memory(entries: Sequence[Entry]) -> str:
    """Peak memory while loading, testing and generating."""
    return _memory(entries, ("load", "test", "generate"), "test")


def evaluation_loss(entries: Sequence[Entry], article: Article | None = None) -> str:
    """Test loss and PPL by the three definitions, with the interval of the loss."""
    rows = []
    for entry in entries:
        loss = entry.result.loss if entry.result else None
        if loss is None:
            continue
        cells = [escape(entry.label), count(entry.iterations)]
        for value in (loss.full_text, loss.completion, loss.mlx_lm_compat):
            cells += _loss_cells(value)
        answer = loss.completion
        cells += [interval(loss.full_text.ci95), interval(answer.ci95 if answer else None)]
        rows.append(cells)
    if article is not None:
        for name, column in article.variants.items():
            printed = [fixed(column.test_loss), fixed(column.test_ppl)]
            cells = [f"published {escape(name)}", count(column.iterations)]
            rows.append([*cells, *[NONE] * 4, *printed, NONE, NONE])
    if not rows:
        return ""
    headers = ["Variant", "Iteration"]
    for name in ("full_text", "completion", "mlx_lm_compat"):
        headers += [f"{name} loss", f"{name} PPL"]
    headers += ["full_text 95%", "completion 95%"]
    return table(headers, rows)


def fused_size(entries: Sequence[Entry]) -> str:
    """Bytes of base, adapter and fused model, the last by dtype."""
    rows = []
    for entry in entries:
        size = entry.result.size if entry.result else None
        if size is None and entry.fused_size is None:
            continue
        dtypes = size.fused_by_dtype if size else None
        rows.append(
            [
                escape(entry.label),
                gigabytes(size.base_bytes) if size else NONE,
                megabytes(size.adapter_bytes) if size else NONE,
                entry.fused_size or NONE,
                ", ".join(f"{name} {gigabytes(n)}" for name, n in sorted(dtypes.items()))
                if dtypes
                else NONE,
            ]
        )
    return table(["Variant", "Base", "Adapter", "Fused", "Fused by dtype"], rows) if rows else ""


def _curve_cells(point: Point | None, with_updates: bool) -> list[str]:
    if point is None:
        return [""] * (4 if with_updates else 3)
    cells = [
        "" if value is None else f"{value:.{digits}f}"
        for value, digits in (
            (point.train_loss, 3),
            (point.val_loss, 3),
            (point.tokens_per_s, 1),
        )
    ]
    return [str(point.updates), *cells] if with_updates else cells


def _parameter_sentence(entry: Entry, trainable: int, packed_total: int) -> str:
    share = 10_000 * trainable / packed_total
    return (
        f"- {escape(entry.label)} tunes {share:.2f} in ten thousand "
        f"({millions(trainable)} / {millions(packed_total)} × 10000) of the stored parameters."
    )


def _resumed(entry: Entry) -> str:
    finetune = entry.result.finetune if entry.result else None
    return count(finetune.resumed_from) if finetune else NONE


def _loss_cells(value: LossValue | None) -> list[str]:
    return [NONE, NONE] if value is None else [fixed(value.loss), fixed(value.ppl)]


def _memory(entries: Sequence[Entry], phases: Sequence[str], main: str) -> str:
    rows = []
    for entry in entries:
        memory = entry.result.memory if entry.result else None
        if memory is None:
            value = entry.finetune_memory if main == "train" else entry.evaluate_memory
            if value:
                cells = [value if phase == main else NONE for phase in phases]
                rows.append([escape(entry.label), *cells, *[NONE] * len(phases), NONE])
            continue
        found = [memory.phase(phase) for phase in phases]
        if not any(found):
            continue
        cells = [gigabytes(phase.mlx_peak_bytes) if phase else NONE for phase in found]
        cells += [gigabytes(phase.rss_peak_bytes) if phase else NONE for phase in found]
        shared = "shared" if any(phase and phase.shared_process for phase in found) else "own"
        rows.append([escape(entry.label), *cells, shared])
    if not rows:
        return ""
    headers = ["Variant", *(f"{phase}, MLX peak" for phase in phases)]
    return table([*headers, *(f"{phase}, RSS peak" for phase in phases), "Process"], rows)
