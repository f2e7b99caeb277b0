"""Scores of a split -> the `execution` record, and the figures that only `score` prints.

Rates are 0..1; they are None where nothing was graded. ``ex`` and rates like it leave out
examples with a degenerate gold. The Wilson interval takes examples as independent; the interval
over tables is made where it is stored (pipeline/grading.py), because `score` does without numpy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from harness.data.records import AGGREGATIONS, Example
from harness.protocols import EXECUTION
from harness.schema.execution import Execution, GroupRate
from harness.sql.grade.score import Score
from harness.stats.rates import rate, wilson


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
    graded = [score.ex for score in scores if score.ex is not None]
    return Execution(
        n=len(pairs),
        of=len(pairs) if of is None else of,
        ex=rate(graded),
        ex_official=rate(score.ex_official for score in scores),
        ex_strict=rate(score.ex_strict for score in scores),
        ex_hardened=rate(score.ex_hardened for score in scores),
        lf=rate(score.lf for score in scores),
        valid=rate(score.valid for score in scores),
        ci95=wilson(sum(graded), len(graded)),
        clustered_ci95=None,
        degenerate_gold=len(pairs) - len(graded),
        failures=dict(Counter(s.failure for s in scores if s.failure).most_common()),
        by_agg=_groups((AGGREGATIONS[example.gold.agg], score) for score, example in pairs),
        by_conditions=_groups((str(len(example.gold.conds)), score) for score, example in pairs),
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
        AGGREGATIONS[example.gold.agg]
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


def _groups(pairs: Iterable[tuple[str, Score]]) -> dict[str, GroupRate]:
    groups: dict[str, list[bool]] = {}
    for key, score in pairs:
        if score.ex is not None:
            groups.setdefault(key, []).append(score.ex)
    return {key: GroupRate(n=len(found), ex=rate(found)) for key, found in sorted(groups.items())}
