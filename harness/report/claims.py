"""One sentence over all: what a reader of a comparison may claim, and no more.

Input: every pair's :class:`Comparison` records -> output: a sentence computed from their verdicts.
The sentences of single pairs and metrics are in ``verdicts``, those over seeds in ``seeds``.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.compare.quality import PairComparison
from harness.markdown import code
from harness.report.conclusions import ONE_SEED, capital, claim, clauses, listed, metric_name
from harness.schema.results import Comparison


def overall_claim(pairs: Sequence[PairComparison]) -> str:
    """What may be claimed over all pairs of a report; empty without any."""
    if not pairs:
        return ""
    if len(pairs) == 1:
        return claim(pairs[0].primary)
    records = [c for pair in pairs for c in pair.primary]
    parts = _shown(records)
    undecided = _undecided(records)
    if undecided:
        parts.append(f"no difference is shown {undecided}, which is not evidence of none")
    return f"{capital(clauses(parts))} ({ONE_SEED})."


def _shown(records: Sequence[Comparison]) -> list[str]:
    """`x` is better than `y` and `z` on ..., one part a winner and set of metrics."""
    won: dict[tuple[str, str], list[str]] = {}
    for c in records:
        if c.verdict != "not distinguishable":
            winner, loser = (c.b, c.a) if c.verdict == "better" else (c.a, c.b)
            won.setdefault((winner, loser), []).append(metric_name(c.metric))
    beaten: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (winner, loser), metrics in won.items():
        beaten.setdefault((winner, tuple(metrics)), []).append(code(loser))
    return [
        f"{code(winner)} is better than {listed(losers)} on {listed(metrics)}"
        for (winner, metrics), losers in beaten.items()
    ]


def _undecided(records: Sequence[Comparison]) -> str:
    """`between x and y on ...`, pairs that are open on the same metrics together."""
    left: dict[tuple[str, ...], list[str]] = {}
    by_pair: dict[tuple[str, str], list[str]] = {}
    for c in records:
        if c.verdict == "not distinguishable":
            by_pair.setdefault((c.a, c.b), []).append(metric_name(c.metric))
    for (a, b), metrics in by_pair.items():
        left.setdefault(tuple(metrics), []).append(f"between {code(a)} and {code(b)}")
    told = [f"{listed(pairs, 'or')} on {listed(metrics)}" for metrics, pairs in left.items()]
    return listed(told, "or") if told else ""
