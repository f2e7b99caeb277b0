"""Scores of a split -> the `execution` record, and the figures that only `score` prints.

Rates are 0..1; they are None where nothing was graded. ``ex`` and rates like it leave out
examples with a degenerate gold. Intervals are over tables (``stats.rates``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from harness.data.records import Example
from harness.protocols import EXECUTION
from harness.schema.execution import Execution, GroupRate
from harness.sql.grade.score import Score
from harness.sql.query import aggregate_of, conditions_of
from harness.stats.rates import clustered_rate, rate

Graded = tuple[bool, str]
"""Whether an answer is right, and its table."""


def summarize(
    scores: Sequence[Score], examples: Sequence[Example], of: int | None = None
) -> Execution:
    """Summarize ``scores[i]``, the verdicts on ``examples[i]``.

    Args:
        scores: as :func:`harness.sql.grade.score.score` returns them.
        examples: the examples that were graded.
        of: the size of the split when ``examples`` is a part of it.
    """
    pairs = list(zip(scores, examples, strict=True))
    whole = _group([(score.ex, e.table_id) for score, e in pairs if score.ex is not None])
    return Execution(
        n=len(pairs),
        of=len(pairs) if of is None else of,
        ex=whole.ex,
        ex_official=rate(score.ex_official for score in scores),
        ex_strict=rate(score.ex_strict for score in scores),
        ex_hardened=rate(score.ex_hardened for score in scores),
        lf=rate(score.lf for score in scores),
        valid=rate(score.valid for score in scores),
        ci95=whole.ci95,
        clustered_ci95=whole.ci95,
        degenerate_gold=len(pairs) - whole.n,
        failures=dict(Counter(s.failure for s in scores if s.failure).most_common()),
        by_agg=_groups(pairs, lambda example: aggregate_of(example.gold)),
        by_conditions=_groups(pairs, lambda example: str(conditions_of(example.gold))),
    )


def score_figures(
    summary: Execution, scores: Sequence[Score], examples: Sequence[Example]
) -> dict[str, Any]:
    """What ``score --json`` prints: the summary, and three figures that no run stores.

    ``ex_given_valid`` is ``ex`` among the answers that ran; ``hardened_removed`` counts, by gold
    aggregate, the passes of ``ex`` that the perturbed tables take away (None without perturbed
    tables); ``protocol`` names the definitions.
    """
    removed = Counter(
        aggregate_of(example.gold)
        for score, example in zip(scores, examples, strict=True)
        if score.ex and score.ex_hardened is False
    )
    hardened = any(score.ex_hardened is not None for score in scores)
    return {
        **summary.model_dump(mode="json", exclude={"clustered_ci95"}),
        "ex_given_valid": rate(score.ex for score in scores if score.valid),
        "hardened_removed": dict(sorted(removed.items())) if hardened else None,
        "protocol": EXECUTION,
    }


def _groups(
    pairs: Iterable[tuple[Score, Example]], key: Callable[[Example], str]
) -> dict[str, GroupRate]:
    groups: dict[str, list[Graded]] = {}
    for score, example in pairs:
        if score.ex is not None:
            groups.setdefault(key(example), []).append((score.ex, example.table_id))
    return {name: _group(found) for name, found in sorted(groups.items())}


def _group(graded: Sequence[Graded]) -> GroupRate:
    right, tables = [one for one, _ in graded], [table for _, table in graded]
    return GroupRate(n=len(graded), ex=rate(right), ci95=clustered_rate(right, tables))
