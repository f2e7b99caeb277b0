"""The verdicts of gates, as a table under the line that says what they come to.

Input: verdicts -> output: Markdown. The examples behind a failing gate are in
``changed_examples``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.compare.gates import Status, cannot_fail, outcome, verdict_counts
from harness.compare.metrics import METRICS
from harness.markdown import NONE, bullets, code, escape, paragraphs, table_of
from harness.schema.results import GateResult

HEADLINES: Mapping[Status, str] = {
    "pass": "No regression",
    "regression": "Regression",
    "not decided": "Not decided",
    "nothing compared": "Nothing was compared, so nothing passed",
}
"""What the first line about a run's gates says of each status."""


def gates(results: Sequence[GateResult]) -> str:
    """What the gates come to, every gate's verdict, and below the table its reason."""
    reasons = [
        f"{code(g.variant)} {code(g.metric)} **{g.verdict}**: {escape(g.reason)}" for g in results
    ]
    return paragraphs(
        headline(results), table_of([*map(_row, results)], text_columns=3), bullets(reasons)
    )


def headline(results: Sequence[GateResult]) -> str:
    """What the gates come to, and how many of them have each verdict."""
    counts = verdict_counts(results).items()
    idle = sum(cannot_fail(gate) for gate in results if gate.verdict == "pass")
    notes = {"pass": f" ({idle} of which cannot fail)" if idle else ""}
    listed = ", ".join(f"{n} {verdict}{notes.get(verdict, '')}" for verdict, n in counts if n)
    return f"**{HEADLINES[outcome(results).status]}**: {listed or 'no variant'}."


def _row(gate: GateResult) -> dict[str, str]:
    metric = METRICS[gate.metric]
    changed = gate.broken is not None and gate.fixed is not None
    return {
        "Variant": code(gate.variant),
        "Metric": code(gate.metric),
        "Verdict": f"**{gate.verdict}**",
        "Baseline": metric.show(gate.baseline),
        "Value": metric.show(gate.value),
        "Limit": _limit(gate),
        "Better": gate.direction,
        "Broken / fixed": f"{len(gate.broken or ())} / {len(gate.fixed or ())}"
        if changed
        else NONE,
    }


def _limit(gate: GateResult) -> str:
    """The limit, and beside it the one by the baseline's own margin (or the shipped) if another."""
    show = METRICS[gate.metric].show
    if gate.own_threshold in (None, gate.threshold):
        return show(gate.threshold)
    return f"{show(gate.threshold)} (otherwise {show(gate.own_threshold)})"
