"""Tables of quality that the article does not have: summary, execution, failures, parity.

Input: columns -> output: Markdown; an empty string where there is nothing to show. The article's
own tables are in ``cost_tables`` and ``question_tables``, comparisons in
``comparison_tables``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import get_args

from harness.compare.sides import sample_note
from harness.markdown import (
    NONE,
    bullets,
    code,
    count,
    duration,
    escape,
    fixed,
    gigabytes,
    paragraphs,
    percent,
    percent_interval,
    table,
    table_of,
)
from harness.report.columns import Column, failure_kinds, perplexity_of
from harness.schema.rows import Finish
from harness.schema.variant_result import Execution, GroupRate, Size, in_bfloat16

HARDENED = (
    "ex hardened is test-suite accuracy: an answer must also agree with gold on K perturbed copies "
    "of the table. The protocol below names K."
)

ENDS: dict[str, str] = {
    "stop": "Stop token",
    "newline": "First newline",
    "fence": "Closing fence",
    "length": "Limit on new tokens",
}
"""What ended an answer, in words."""

AGGREGATES = ("", "MAX", "MIN", "COUNT", "SUM", "AVG")


def summary(columns: Sequence[Column]) -> str:
    """The one table of the README: what --sweep varied, quality, speed, memory, size, time."""
    rows = []
    # Plain texts do not mark where an answer begins: there the loss is that of the whole text.
    losses = [loss for column in columns if (loss := column.result.loss)]
    whole = bool(losses) and not any(loss.completion for loss in losses)
    title = "Full-text loss" if whole else "Completion loss"
    written = any(column.result.exact_match for column in columns)
    swept = dict.fromkeys(key for column in columns for key in column.swept)
    for column in columns:
        result = column.result
        loss, speed = result.loss, result.throughput
        shown = loss and (loss.full_text if whole else loss.completion)
        tokens_per_s = fixed(speed.generation_tokens_per_s if speed else None, 1)
        rows.append(
            {
                "Variant": escape(column.label),
                **{escape(key): _swept_value(column, key) for key in swept},
                title: fixed(shown.loss if shown else None),
                **(_exact(column) if written else _accuracy(column)),
                "n": sample_note(column.run, result),
                "Generation tokens/s": _noted(tokens_per_s, column.speed_note),
                "Training memory": _training_memory(column),
                "Base size": _base_size(result.size),
                "Training time": _training_time(column),
            }
        )
    return table_of(rows)


def execution(columns: Sequence[Column]) -> str:
    """Execution accuracy by every definition, with the interval of ex."""
    known = _executions(columns)
    shown = table_of(
        [
            {
                "Variant": escape(column.label),
                "ex": percent(found.ex),
                "95%": percent_interval(column.rate_interval("ex")),
                "ex hardened": percent(found.ex_hardened),
                "ex strict": percent(found.ex_strict),
                "ex official": percent(found.ex_official),
                "lf": percent(found.lf),
                "valid": percent(found.valid),
                "n": f"{found.n:,} of {found.of:,}",
                "Degenerate gold": count(found.degenerate_gold),
            }
            for column, found in known
        ]
    )
    hardened = any(found.ex_hardened is not None for _, found in known)
    return paragraphs(shown, HARDENED if hardened else "")


def exact_match(columns: Sequence[Column]) -> str:
    """Answers to data without tables that equal the data's own; empty where it has tables."""
    return table_of(
        [
            {
                "Variant": escape(column.label),
                "Exact match": percent(found.rate),
                "95%": percent_interval(found.ci95),
                "n": f"{found.n:,} of {found.of:,}",
            }
            for column in columns
            if (found := column.result.exact_match)
        ]
    )


def failures(columns: Sequence[Column]) -> str:
    """Failed answers by kind, variants side by side; the most frequent kind first."""
    shown = _executions(columns)
    rows = [
        [code(kind), *(str(found.failures.get(kind, 0)) for _, found in shown)]
        for kind in failure_kinds(columns)
    ]
    return table(["Failure", *(escape(e.label) for e, _ in shown)], rows) if rows else ""


def finishes(columns: Sequence[Column]) -> str:
    """What ended the answers, in shares; empty for runs that did not store it."""
    rows = []
    for column in columns:
        found = Counter(
            row.finish
            for row in column.run.predictions(column.variant) or ()
            if row.finish is not None
        )
        if total := found.total():
            shares = {ENDS[end]: percent(found[end] / total) for end in get_args(Finish)}
            rows.append({"Variant": escape(column.label), **shares, "Answers": f"{total:,}"})
    return table_of(rows)


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
    rows, why = [], []
    for column in columns:
        fuse = column.result.fuse
        if fuse is None:
            continue
        row = {"Variant": escape(column.label)}
        for name in ("adapter", "fused", "dequantized"):
            form = getattr(fuse, name)
            row[f"{name.capitalize()} PPL"] = perplexity_of(form)
            row[f"{name.capitalize()} ex"] = percent(form and form.ex)
        for name in ("fused", "dequantized"):
            number = getattr(fuse.flips, name, None)
            row[f"Flips, {name}"] = (
                f"{number} of {fuse.flips.of}" if fuse.flips and number is not None else NONE
            )
        rows.append(row)
        if fuse.skipped:
            name = escape(column.label)
            why.append(f"{name}: dequantized form skipped, it {escape(fuse.skipped)}.")
    return paragraphs(table_of(rows), bullets(why))


def _executions(columns: Sequence[Column]) -> list[tuple[Column, Execution]]:
    return [(column, found) for column in columns if (found := column.result.execution)]


def _groups(
    columns: Sequence[Column],
    title: str,
    pick: Callable[[Execution], dict[str, GroupRate]],
    order: Callable[[str], int],
) -> str:
    shown = [(column, pick(found)) for column, found in _executions(columns)]
    keys = sorted({key for _, groups in shown for key in groups}, key=order)
    rows = [
        [escape(key) or "none", *(_group_rate(groups.get(key)) for _, groups in shown)]
        for key in keys
    ]
    return table([title, *(escape(e.label) for e, _ in shown)], rows) if rows else ""


def _group_rate(group: GroupRate | None) -> str:
    """`41.7% (15.2 to 72.3%, 12)`: the interval shows how uncertain a rate of few examples is."""
    if group is None:
        return NONE
    interval = f"{percent_interval(group.ci95)}, " if group.ci95 else ""
    return f"{percent(group.ex)} ({interval}{group.n})"


def _accuracy(column: Column) -> dict[str, str]:
    found = column.result.execution
    return {
        "ex": percent(found.ex if found else None),
        "ex 95%": percent_interval(column.rate_interval("ex")),
        "ex hardened": percent(found.ex_hardened if found else None),
    }


def _exact(column: Column) -> dict[str, str]:
    found = column.result.exact_match
    return {
        "Exact match": percent(found.rate if found else None),
        "Exact match 95%": percent_interval(found.ci95 if found else None),
    }


def _swept_value(column: Column, key: str) -> str:
    return escape(str(column.swept[key])) if key in column.swept else NONE


def _base_size(size: Size | None) -> str:
    """`0.54 GB (bfloat16: 0.27 GB)`: a base in float32 is twice what others store."""
    shown = gigabytes(size.base_bytes if size else None)
    if size is None or not size.base_by_dtype:
        return shown
    half = gigabytes(in_bfloat16(size.base_by_dtype))
    return shown if half == shown else f"{shown} (bfloat16: {half})"


def _training_memory(column: Column) -> str:
    peak = column.peak("train")
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
