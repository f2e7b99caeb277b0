"""Whether a run's `results.json` and its own rows say the same.

Input: a stored run -> output: faults, each naming the file, the field and both values. Counts, ids,
tables, nulls and rates are held against one another; no text is graded again (``regrade``). A row
file that is missing is no fault here: what needs it fails by itself. Intervals and what has no rows
(memory, sizes, the fused forms) are not covered.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from harness.compare.checkpoints import by_iteration
from harness.compare.metrics import METRICS, NO_TABLES, Metric
from harness.compare.pairing import stored_examples
from harness.compare.sides import RunVariant
from harness.errors import UserError
from harness.runs.checksums import REMEDY
from harness.runs.file_names import row_file
from harness.runs.store import StoredRun
from harness.schema.execution import Execution, GroupRate
from harness.schema.rows import LossRow, PredictionRow
from harness.schema.variant_result import ExactMatch, Loss, LossValue, perplexity

ROUNDING = 1e-9
"""Relative: sums of the same rows in another order agree so far."""

SHOWN = 5
"""Faults that a refusal lists."""


def faults(run: StoredRun) -> list[str]:
    """What does not fit, in the order of the variants and their files; empty where all does."""
    return run.once("faults", lambda: _faults(run))


def _faults(run: StoredRun) -> list[str]:
    found: list[str] = []
    tables: dict[int, tuple[object, str]] = {}
    usable: dict[int, tuple[object, str]] = {}
    for name in run.variants:
        side = RunVariant(run, name)
        if (losses := run.losses(name)) is not None:
            file = f"run {run.id}: {row_file('losses', name)}"
            found += _of_ids(file, losses, side, "loss")
            found += _unlike("table", [(row.id, row.table_id) for row in losses], file, tables)
            found += _of_losses(file, losses, side)
        if (answers := run.predictions(name)) is not None:
            file = f"run {run.id}: {row_file('predictions', name)}"
            null = [(row.id, "null" if row.ex is None else "a verdict") for row in answers]
            found += _of_ids(file, answers, side, "execution")
            found += _unlike("table", [(row.id, row.table_id) for row in answers], file, tables)
            found += _unlike("ex", null, file, usable)
            found += _of_answers(file, answers, side.result.execution)
        if (written := run.answers(name)) is not None:
            file = f"run {run.id}: {row_file('answers', name)}"
            found += _of_ids(file, written, side, "exact_match")
        found += _of_values(side)
        found += _of_checkpoints(side)
        found += _of_form(side)
    return found


def missing_files(run: StoredRun) -> list[str]:
    """The row files that the run's sections have and its folder has not."""
    rows_of = {
        "loss": "losses",
        "execution": "predictions",
        "exact_match": "answers",
        "throughput": "trials",
    }
    return [
        row_file(kind, name)
        for name in run.variants
        for section, kind in rows_of.items()
        if getattr(run.results.variants[name], section) and RunVariant(run, name).rows(kind) is None
    ]


def warning(run: StoredRun) -> str:
    """One line for a report about a run that does not fit its own rows; empty where it fits."""
    found = faults(run)
    if not found:
        return ""
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return f"Does not add up: {found[0]}{more}. Its numbers are no evidence."


def require_evidence(run: StoredRun) -> None:
    """Refuse a run that does not fit its own rows.

    Raises:
        UserError: naming the first faults.
    """
    refuse(run, faults(run))


def refuse(run: StoredRun, found: Sequence[str]) -> None:
    """Refuse the run for the faults that were ``found``, if any."""
    if found:
        more = f"\n… and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        listed = "\n".join(found[:SHOWN])
        raise UserError(
            f"run {run.id!r} does not fit its own rows, so it is no evidence:\n{listed}{more}\n"
            f"{REMEDY}"
        )


def _of_ids(
    file: str,
    rows: Sequence[Any],
    side: RunVariant,
    name: Literal["loss", "execution", "exact_match"],
) -> Iterator[str]:
    """Each example once, as many as the section counts, all of the split where it says so."""
    for number, times in Counter(row.id for row in rows).items():
        if times > 1:
            yield f"{file} has id {number} {times:,} times"
    section: Loss | Execution | ExactMatch | None = getattr(side.result, name)
    if section is None:
        return
    of, test = section.of, side.run.results.dataset.splits.test
    place = f"variants.{side.variant}.{name}"
    if len(rows) != section.n:
        yield f"{file} has {len(rows):,} rows, {place}.n is {section.n:,}"
    if of != test:
        yield f"run {side.run.id}: {place}.of is {of:,}, dataset.splits.test {test:,}"
    beyond = [row.id for row in rows if row.id >= of]
    if beyond:
        yield f"{file} has id {beyond[0]}, {place}.of is {of:,}"


def _unlike(
    what: str,
    values: Sequence[tuple[int, object]],
    file: str,
    known: dict[int, tuple[object, str]],
) -> Iterator[str]:
    """Where files of one run disagree on something that no model changes, the first example."""
    differing = [
        (number, value, *known[number])
        for number, value in values
        if known.setdefault(number, (value, file))[0] != value
    ]
    if differing:
        number, here, there, other = differing[0]
        yield (
            f"{file} has {here} as {what} of id {number}, {other} {there}"
            f"{_and_more(len(differing) - 1)}"
        )


def _of_answers(
    file: str, rows: Sequence[PredictionRow], execution: Execution | None
) -> Iterator[str]:
    asked = {
        key: any(getattr(row, key) is not None for row in rows)
        for key in ("ex_strict", "ex_hardened")
    }
    odd = [(row.id, why) for row in rows if (why := _contradiction(row, asked))]
    if odd:
        yield f"{file}: id {odd[0][0]}: {odd[0][1]}{_and_more(len(odd) - 1)}"
    if execution is None:
        return
    degenerate = sum(row.ex is None for row in rows)
    if degenerate != execution.degenerate_gold:
        yield (
            f"{file} has {degenerate:,} rows without ex, degenerate_gold is "
            f"{execution.degenerate_gold:,}"
        )
    counted = Counter(row.failure for row in rows if row.failure)
    for kind in sorted({*counted, *execution.failures}):
        if counted[kind] != execution.failures.get(kind, 0):  # type: ignore[index]
            yield (
                f"{file} has {counted[kind]:,} failures of kind {kind}, "  # type: ignore[index]
                f"failures.{kind} is {execution.failures.get(kind, 0):,}"
            )
    right = sum(bool(row.ex) for row in rows)
    for name, groups in (("by_agg", execution.by_agg), ("by_conditions", execution.by_conditions)):
        yield from _of_groups(file, name, groups, (right, len(rows) - degenerate))


def _of_groups(
    file: str, name: str, groups: Mapping[str, GroupRate], rows: tuple[int, int]
) -> Iterator[str]:
    """The groups together are all graded rows."""
    together = (
        round(sum((group.ex or 0.0) * group.n for group in groups.values())),
        sum(group.n for group in groups.values()),
    )
    if groups and together != rows:
        shown = [f"{right:,} right of {n:,}" for right, n in (rows, together)]
        yield f"{file} has {shown[0]}, {name} together {shown[1]}"


def _contradiction(row: PredictionRow, asked: Mapping[str, bool]) -> str:
    """Why the verdicts of a row cannot stand beside one another; empty where they can."""
    for key in ("valid", "ex", "ex_strict", "ex_hardened"):
        if row.failure and getattr(row, key):
            return f"{key} is true beside failure {row.failure!r}"
    for key, given in asked.items():
        verdict = getattr(row, key)
        if verdict and not row.ex:
            return f"{key} is true, ex {'null' if row.ex is None else 'false'}"
        if row.ex is None and verdict is not None:
            return f"{key} is {str(verdict).lower()}, ex null"
        if given and verdict is None and row.ex is False:
            return f"{key} is null, ex false"
    return ""


def _of_losses(file: str, rows: Sequence[LossRow], side: RunVariant) -> Iterator[str]:
    negative = [row.id for row in rows if min(row.full_nll, row.completion_nll) < 0]
    if negative:
        yield f"{file}: id {negative[0]} has a negative loss{_and_more(len(negative) - 1)}"
    loss: Loss | None = side.result.loss
    sections: dict[str, LossValue | None] = (
        {"full": loss.full_text, "completion": loss.completion} if loss else {}
    )
    for prefix, value in sections.items():
        tokens = sum(getattr(row, f"{prefix}_tokens") for row in rows)
        if value is None:
            continue
        if tokens != value.tokens:
            yield f"{file} has {tokens:,} {prefix}_tokens, results.json {value.tokens:,}"
        ppl, expected = (number or math.inf for number in (value.ppl, perplexity(value.loss)))
        if not math.isclose(ppl, expected, rel_tol=1e-6):
            yield f"run {side.run.id}: ppl {ppl:g} is not exp of loss {value.loss:g}"


def _of_values(side: RunVariant) -> Iterator[str]:
    """Every metric that has rows is what its rows give."""
    for metric in METRICS.values():
        examples = stored_examples(side, metric.rows) if metric.paired else None
        rows = side.rows(metric.rows) if metric.rows else None
        if rows is None:
            continue
        stored = metric.value(side.result)
        here = examples.mean(metric) if examples else _median(metric, rows)
        if not _same(stored, here):
            file = row_file(metric.rows, side.variant)
            yield (
                f"run {side.run.id}: {metric.key} of {side.variant!r} is {_shown(stored)} in "
                f"results.json, {_shown(here)} by {file}"
            )


def _median(metric: Metric, rows: Sequence[Any]) -> float | None:
    trials = [float(getattr(row, metric.key)) for row in rows]
    return statistics.median(trials) if trials else None


def _of_checkpoints(side: RunVariant) -> Iterator[str]:
    rows = side.run.checkpoints(side.variant)
    if rows is None:
        return
    file = f"run {side.run.id}: {row_file('checkpoints', side.variant)}"
    found = by_iteration(rows)
    stored = {one.iteration: one for one in side.result.checkpoints or []}
    if [*found] != sorted(stored):
        yield f"{file} has checkpoints {[*found]}, results.json {sorted(stored)}"
        return
    for iteration, of in found.items():
        here = (METRICS["full_text_loss"].mean(of), METRICS["ex"].mean(of))
        there = (stored[iteration].loss, stored[iteration].ex)
        for name, x, y in zip(("loss", "ex"), here, there, strict=True):
            if not _same(x, y):
                yield (
                    f"{file}: {name} of checkpoint {iteration} is {_shown(x)}, in results.json "
                    f"{_shown(y)}"
                )


def _of_form(side: RunVariant) -> Iterator[str]:
    """What data of this form cannot have is not there."""
    form = side.run.results.dataset.form
    if side.result.execution and METRICS["ex"].absent.get(form) == NO_TABLES:
        yield (
            f"run {side.run.id}: dataset.form is {form!r}, which has no tables, and variants."
            f"{side.variant}.execution is there"
        )


def _same(stored: float | None, here: float | None) -> bool:
    if stored is None or here is None:
        return stored is here
    return math.isclose(stored, here, rel_tol=ROUNDING, abs_tol=ROUNDING)


def _shown(value: float | None) -> str:
    return "null" if value is None else f"{value:.10g}"


def _and_more(count: int) -> str:
    return f", and {count:,} more like it" if count else ""
