"""Tables of quality that the article does not have: summary, execution, failures, parity.

Input: columns -> output: Markdown; an empty string where there is nothing to show. The article's
own tables are in ``cost_tables`` and ``question_tables``, comparisons in
``comparison_tables``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness.compare.sides import sample_note
from harness.markdown import (
    NONE,
    code,
    count,
    duration,
    escape,
    fixed,
    gigabytes,
    percent,
    percent_interval,
    table,
)
from harness.report.columns import Column
from harness.schema.variant_result import Execution, GroupRate, VariantResult
from harness.stats.rates import wilson

AGGREGATES = ("", "MAX", "MIN", "COUNT", "SUM", "AVG")


def summary(columns: Sequence[Column]) -> str:
    """The one table of the README and the terminal: quality, speed, memory, size, time."""
    rows = []
    # Plain texts do not say where an answer begins: there the loss is that of the whole text.
    losses = [loss for column in columns if (loss := column.result.loss)]
    whole = bool(losses) and not any(loss.completion for loss in losses)
    for column in columns:
        result = column.result
        loss, execution, speed = result.loss, result.execution, result.throughput
        shown = loss and (loss.full_text if whole else loss.completion)
        hardened = execution.ex_hardened if execution else None
        rows.append(
            [
                escape(column.label),
                fixed(shown.loss) if shown else NONE,
                percent(execution.ex if execution else None),
                percent_interval(execution.clustered_ci95 or execution.ci95) if execution else NONE,
                percent(hardened),
                sample_note(column.run, result),
                _noted(
                    fixed(speed.generation_tokens_per_s if speed else None, 1), column.speed_note
                ),
                _training_memory(result),
                gigabytes(result.size.base_bytes) if result.size else NONE,
                _training_time(column),
            ]
        )
    headers = [
        "Variant",
        "Full-text loss" if whole else "Completion loss",
        "ex",
        "ex 95%",
        "ex hardened",
        "n",
        "Generation tokens/s",
        "Training memory",
        "Base size",
        "Training time",
    ]
    return table(headers, rows) if rows else ""


def execution(columns: Sequence[Column]) -> str:
    """Execution accuracy by every definition, with both intervals."""
    rows = []
    for column, found in _executions(columns):
        rows.append(
            [
                escape(column.label),
                percent(found.ex),
                percent_interval(found.ci95),
                percent_interval(found.clustered_ci95),
                percent(found.ex_hardened),
                percent(found.ex_strict),
                percent(found.ex_official),
                percent(found.lf),
                percent(found.valid),
                f"{found.n:,} of {found.of:,}",
                count(found.degenerate_gold),
            ]
        )
    headers = [
        "Variant",
        "ex",
        "95% Wilson",
        "95% over tables",
        "ex hardened",
        "ex strict",
        "ex official",
        "lf",
        "valid",
        "n",
        "Degenerate gold",
    ]
    return table(headers, rows) if rows else ""


def failures(columns: Sequence[Column]) -> str:
    """Failed answers by kind, variants side by side; the most frequent kind first."""
    shown = list(_executions(columns))
    totals: dict[str, int] = {}
    for _, found in shown:
        for kind, number in found.failures.items():
            totals[kind] = totals.get(kind, 0) + number
    kinds = sorted(totals, key=lambda kind: (-totals[kind], kind))
    rows = [[code(k), *(str(found.failures.get(k, 0)) for _, found in shown)] for k in kinds]
    return table(["Failure", *(escape(e.label) for e, _ in shown)], rows) if rows else ""


def by_aggregate(columns: Sequence[Column]) -> str:
    """Execution accuracy by the gold's aggregate."""
    return _groups(
        columns,
        "Gold aggregate",
        lambda found: found.by_agg,
        lambda key: AGGREGATES.index(key) if key in AGGREGATES else len(AGGREGATES),
    )


def by_conditions(columns: Sequence[Column]) -> str:
    """Execution accuracy by the gold's number of conditions."""
    return _groups(
        columns,
        "Gold conditions",
        lambda found: found.by_conditions,
        lambda key: int(key) if key.isdigit() else 99,
    )


def fuse_parity(columns: Sequence[Column]) -> str:
    """PPL and accuracy of adapter, fused and dequantized, and answers that flipped."""
    rows = []
    for column in columns:
        fuse = column.result.fuse
        if fuse is None:
            continue
        cells = [escape(column.label)]
        for form in (fuse.adapter, fuse.fused, fuse.dequantized):
            cells += [fixed(form.ppl), percent(form.ex)] if form else [NONE, NONE]
        flips = fuse.flips
        cells += [
            f"{NONE if number is None or flips is None else f'{number} of {flips.of}'}"
            for number in ((flips.fused, flips.dequantized) if flips else (None, None))
        ]
        rows.append(cells)
    headers = ["Variant"]
    for form_name in ("Adapter", "Fused", "Dequantized"):
        headers += [f"{form_name} PPL", f"{form_name} ex"]
    headers += ["Flips, fused", "Flips, dequantized"]
    if not rows:
        return ""
    why = [
        f"- {escape(column.label)}: dequantized form skipped, "
        f"it {escape(column.result.fuse.skipped)}."
        for column in columns
        if column.result.fuse and column.result.fuse.skipped
    ]
    return "\n\n".join([table(headers, rows), "\n".join(why)]).rstrip()


def _executions(columns: Sequence[Column]) -> Iterable[tuple[Column, Execution]]:
    for column in columns:
        if column.result.execution is not None:
            yield column, column.result.execution


def _groups(
    columns: Sequence[Column],
    title: str,
    pick: Callable[[Execution], dict[str, GroupRate]],
    order: Callable[[str], int],
) -> str:
    shown = [(column, pick(found)) for column, found in _executions(columns)]
    keys = sorted({key for _, groups in shown for key in groups}, key=order)
    rows = []
    for key in keys:
        row = [escape(key) or "none"]
        for _, groups in shown:
            group = groups.get(key)
            row.append(_group_rate(group))
        rows.append(row)
    return table([title, *(escape(e.label) for e, _ in shown)], rows) if rows else ""


def _group_rate(group: GroupRate | None) -> str:
    """`41.7% (19.3 to 68.0%, 12)`: a rate of few examples says little, so the interval is there."""
    if group is None:
        return NONE
    if group.ex is None:
        return f"{NONE} ({group.n})"
    interval = wilson(round(group.ex * group.n), group.n)
    return f"{percent(group.ex)} ({percent_interval(interval)}, {group.n})"


def _training_memory(result: VariantResult) -> str:
    peak = result.memory.phase("train") if result.memory else None
    if peak is None:
        return NONE
    return gigabytes(peak.mlx_peak_bytes) + (" (shared process)" if peak.shared_process else "")


def _training_time(column: Column) -> str:
    finetune = column.result.finetune
    if not finetune or not column.result.adapter:
        return NONE
    return _noted(duration(finetune.wall_s), column.training_note(taken=False))


def _noted(value: str, note: str) -> str:
    return f"{value} ({note})" if note else value
