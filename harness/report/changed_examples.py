"""The examples behind a failing gate: what broke and what was fixed, with both answers.

Input: a run, its baseline, the verdicts, and the test split where it is in reach -> output:
:class:`ChangedExample` records, and text or Markdown of the first of them. Questions and gold
queries are not in the store; without the data only ids, tables and answers are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.compare.gates import matched_variants
from harness.data.prompts import style
from harness.data.records import Split
from harness.markdown import NONE, code, escape, paragraphs, table_of, visible
from harness.runs.store import StoredRun
from harness.schema.results import GateResult
from harness.schema.rows import PredictionRow

SHOWN = 10
"""Examples of each kind that a message or a page lists; `gate --json` has all of them."""

WIDTH = 300
"""Characters of an answer that a message shows."""


@dataclass(frozen=True)
class ChangedExample:
    """An example that the baseline and the checked run answered with different success."""

    variant: str
    id: int
    table: str
    question: str | None
    gold: str | None
    before: str | None
    """What the baseline wrote."""
    now: str | None
    broken: tuple[str, ...]
    """The failing metrics by which it was right before and is wrong now."""
    fixed: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For `gate --json`."""
        return asdict(self) | {"broken": [*self.broken], "fixed": [*self.fixed]}


def changed_examples(
    run: StoredRun, baseline: StoredRun, results: Sequence[GateResult], split: Split | None
) -> list[ChangedExample]:
    """What changed by the failing gates of ``results``, by variant and in the order of ids."""
    failing = [result for result in results if result.verdict == "fail"]
    counterpart = matched_variants(run, baseline)
    found = []
    for variant in dict.fromkeys(result.variant for result in failing):
        other = counterpart.get(variant)
        after = _by_id(run.predictions(variant))
        before = _by_id(baseline.predictions(other)) if other else {}
        mine = [result for result in failing if result.variant == variant]
        broken = {result.metric: {*(result.broken or ())} for result in mine}
        fixed = {result.metric: {*(result.fixed or ())} for result in mine}
        for number in sorted(set().union(*broken.values(), *fixed.values())):
            if number in after and number in before:
                how = tuple(
                    tuple(metric for metric, ids in kind.items() if number in ids)
                    for kind in (broken, fixed)
                )
                rows = before[number], after[number]
                found.append(_changed(variant, rows, how, _question(run, split, number)))
    return found


def as_text(changed: Sequence[ChangedExample], gate: GateResult) -> str:
    """What broke and what was fixed by one gate, the first ten of each, in plain lines."""
    mine = [one for one in changed if one.variant == gate.variant]
    kinds = {
        "broken": [one for one in mine if gate.metric in one.broken],
        "fixed": [one for one in mine if gate.metric in one.fixed],
    }
    if not any(kinds.values()):
        return ""
    lines = [", ".join(f"{len(of)} examples {kind}" for kind, of in kinds.items())]
    for kind, of in kinds.items():
        for one in of[:SHOWN]:
            lines.append(f"{kind}: #{one.id}, table {one.table}: {one.question or ''}".rstrip(": "))
            shown = {"gold": one.gold, "before": one.before, "now": one.now}
            lines += [f"    {name:<7} {_short(text)}" for name, text in shown.items() if text]
        if len(of) > SHOWN:
            lines.append(f"and {len(of) - SHOWN} more {kind}; `tunebench gate --json` lists all")
    return visible("\n".join(lines))


def as_markdown(changed: Sequence[ChangedExample]) -> str:
    """Tables of the first ten broken and the first ten fixed; empty without any."""
    broken = [one for one in changed if one.broken]
    fixed = [one for one in changed if one.fixed and not one.broken]
    return paragraphs(_table("Broken", broken), _table("Fixed", fixed))


def _table(title: str, changed: Sequence[ChangedExample]) -> str:
    rows = [
        {
            "Variant": code(one.variant),
            "Example": f"#{one.id}",
            "By": ", ".join(code(metric) for metric in one.broken or one.fixed),
            "Question": escape(one.question) if one.question else NONE,
            "Gold": _cell(one.gold),
            "Before": _cell(one.before),
            "Now": _cell(one.now),
        }
        for one in changed[:SHOWN]
    ]
    if not rows:
        return ""
    more = f", the first {SHOWN} of {len(changed)}" if len(changed) > SHOWN else ""
    return f"**{title}**{more}:\n\n{table_of(rows, text_columns=7)}"


def _changed(
    variant: str,
    rows: tuple[PredictionRow, PredictionRow],
    how: tuple[tuple[str, ...], ...],
    asked: tuple[str | None, str | None],
) -> ChangedExample:
    before, now = rows
    return ChangedExample(
        variant, now.id, now.table_id, *asked, _answer(before), _answer(now), how[0], how[1]
    )


def _answer(row: PredictionRow) -> str | None:
    """The text as written, and how it failed; the SQL of structured predictions."""
    text = row.sql if row.text is None else row.text.strip()
    return f"{text} ({row.failure})" if row.failure else text


def _question(run: StoredRun, split: Split | None, number: int) -> tuple[str | None, str | None]:
    """The question and its gold query in the run's own style."""
    if split is None or number >= len(split.examples):
        return None, None
    example = split.examples[number]
    written = (run.results.protocols.prompt or "dialect@").partition("@")[0]
    gold = style(written).completion(example.gold, split.tables[example.table_id])
    return example.question, gold.strip()


def _by_id(rows: Sequence[PredictionRow] | None) -> Mapping[int, PredictionRow]:
    return {row.id: row for row in rows or ()}


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= WIDTH else f"{flat[:WIDTH]}…"


def _cell(text: str | None) -> str:
    return NONE if text is None else code(_short(text))
