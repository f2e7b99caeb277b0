"""What a reader must know of a run before its numbers: a stored run -> sentences in Markdown.

Partial, contended, dirty, leaking, conflicting or truncated data, and what data without tables
cannot have. Not covered: verdicts (``conclusions``) and where numbers come from (``provenance``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from harness.compare.cost import why_contended
from harness.compare.evidence import warning
from harness.markdown import code, escape
from harness.runs.store import StoredRun

MISSING = {
    "text": "execution accuracy (the data has no tables to run queries on) and completion loss "
    "(whole texts do not mark where an answer begins)",
    "completions": "execution accuracy (the data has no tables to run queries on)",
    "chat": "execution accuracy (the data has no tables to run queries on)",
}
"""What data in a format of mlx-lm's own cannot have."""


_URL = "endpoint"
_CUT = {
    "newline": ("the first newline", "`--prompt-style=chat` lets an answer have several lines."),
    "length": ("the limit on new tokens", "`--max-new-tokens` lets an answer be longer."),
}
"""Ends of an answer that are the protocol's and not the model's: their names, and what to do."""


def not_measurable(run: StoredRun) -> str:
    """What the run's data cannot have, in a sentence; empty where all can be measured."""
    missing = MISSING.get(run.results.dataset.form)
    if missing is None:
        return ""
    return f"Not measured: {missing}. Intervals and tests take each row as independent."


def warnings(run: StoredRun) -> list[str]:
    """What to know before reading the numbers, one Markdown quotation each; none, an empty list."""
    found = []
    record = run.results.run
    if missing := not_measurable(run):
        found.append(f"> {missing}")
    if unlike := warning(run):
        found.append(f"> {escape(unlike)}")
    for name, other in run.results.same_as.items():
        found.append(
            f"> One variant: the base is quantized already, so {code(name)} is {code(other)} here "
            f"and was measured once, as {code(other)}."
        )
    if record.partial:
        missing = escape(", ".join(record.partial))
        found.append(f"> Partial: not selected were {missing}. Not for publication.")
    if reason := why_contended(run):
        found.append(f"> Contended: {reason}; its timings enter no comparison.")
    if record.git.dirty:
        found.append("> Dirty: tracked files differed from the commit. Not for publication.")
    leak = run.results.dataset.leakage
    if leak.shared_tables or leak.shared_questions:
        found.append(
            f"> Leakage: {leak.shared_tables:,} tables and {leak.shared_questions:,} questions "
            "stand in more than one split."
        )
    repeats = run.results.dataset.repeats
    if repeats is not None and repeats.conflicting:
        found.append(
            f"> Conflicting gold: {repeats.conflicting:,} questions were asked before on the same "
            "table with another answer."
        )
    found += [
        _asked(name, r.config) for name, r in run.results.variants.items() if _URL in r.config
    ]
    found += filter(None, (_ended_early(run, name) for name in run.results.variants))
    for name, result in run.results.variants.items():
        trained = result.finetune.truncated if result.finetune else None
        scored = result.loss.truncated if result.loss else None
        if trained:
            found.append(f"> Truncated: {code(name)} was trained on {trained:,} rows cut short.")
        if scored:
            found.append(
                f"> Truncated: the loss of {code(name)} is over {scored:,} rows cut short."
            )
    return found


def _asked(variant: str, config: Mapping[str, Any]) -> str:
    """What a model behind a URL is, and how it was asked."""
    model, url = config[_URL]["model"], config[_URL]["url"]
    return (
        f"> Endpoint: {code(variant)} is {code(model)} behind {code(url)}, asked with "
        f"{code(config['prompt'].partition(' ')[0])} for at most {config['max_tokens']} tokens. "
        "Which weights answered is known by that name alone."
    )


def _ended_early(run: StoredRun, variant: str) -> str:
    """That answers were ended before any query began, by the protocol and not by the model."""
    asked = [row for row in run.predictions(variant) or () if row.finish is not None]
    ends: Counter[str] = Counter(
        row.finish for row in asked if row.finish in _CUT and row.failure == "no_query"
    )
    if not ends:
        return ""
    counted = ", ".join(f"{ends[end]:,} by {name}" for end, (name, _) in _CUT.items() if ends[end])
    advice = " ".join(text for end, (_, text) in _CUT.items() if ends[end])
    return (
        f"> Ended early: {ends.total():,} of {len(asked):,} answers of {code(variant)} ended "
        f"before any query began ({counted}), so what would have followed is not graded. {advice}"
    )
