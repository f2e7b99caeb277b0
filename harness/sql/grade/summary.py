"""Scores of a split -> the figures that results.json and ``score`` report.

Rates are 0..1; None where nothing was graded. ``ex`` and its kin leave out examples with a
degenerate gold. Intervals over tables are results/intervals.py's work; the Wilson interval here
takes examples as independent (Wilson 1927).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness import protocols
from harness.data.records import AGGREGATIONS, Example
from harness.sql.grade.score import Score

_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class GroupRate:
    """Execution accuracy of a subgroup of ``n`` graded examples."""

    n: int
    ex: float | None


@dataclass(frozen=True, slots=True)
class ExecutionSummary:
    """The ``execution`` record of results.json, with ``ex_given_valid`` and ``protocol`` added.

    ``n`` examples were asked of the split's ``of``.
    """

    n: int
    of: int
    ex: float | None
    ex_official: float | None
    ex_strict: float | None
    ex_hardened: float | None
    lf: float | None
    valid: float | None
    ci95: tuple[float, float] | None
    degenerate_gold: int
    failures: dict[str, int]
    by_agg: dict[str, GroupRate]
    by_conditions: dict[str, GroupRate]
    ex_given_valid: float | None
    hardened_removed: dict[str, int] | None
    protocol: str = protocols.EXECUTION

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)


def summarize(
    scores: Sequence[Score], examples: Sequence[Example], of: int | None = None
) -> ExecutionSummary:
    """Summarize ``scores[i]``, the verdicts on ``examples[i]``.

    Args:
        scores: as :func:`harness.sql.grade.score.score` returns them.
        examples: the examples that were graded.
        of: the size of the split when ``examples`` is a part of it.
    """
    pairs = list(zip(scores, examples, strict=True))
    graded = [score for score, _ in pairs if score.ex is not None]
    hits = sum(bool(score.ex) for score in graded)
    hardened = any(score.ex_hardened is not None for score in scores)
    return ExecutionSummary(
        n=len(pairs),
        of=len(pairs) if of is None else of,
        ex=_rate(score.ex for score in scores),
        ex_official=_rate(score.ex_official for score in scores),
        ex_strict=_rate(score.ex_strict for score in scores),
        ex_hardened=_rate(score.ex_hardened for score in scores),
        lf=_rate(score.lf for score in scores),
        valid=_rate(score.valid for score in scores),
        ci95=wilson(hits, len(graded)),
        degenerate_gold=len(pairs) - len(graded),
        failures=dict(Counter(s.failure for s in scores if s.failure).most_common()),
        by_agg=_groups((AGGREGATIONS[example.gold.agg], score) for score, example in pairs),
        by_conditions=_groups((str(len(example.gold.conds)), score) for score, example in pairs),
        ex_given_valid=_rate(score.ex for score in scores if score.valid),
        hardened_removed=_removed(pairs) if hardened else None,
    )


def wilson(successes: int, n: int) -> tuple[float, float] | None:
    """The 95% Wilson score interval of a rate; None for n = 0."""
    if n == 0:
        return None
    rate, square = successes / n, _Z95 * _Z95
    centre = rate + square / (2 * n)
    half = _Z95 * math.sqrt(rate * (1 - rate) / n + square / (4 * n * n))
    scale = 1 + square / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def _rate(values: Iterable[bool | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _groups(pairs: Iterable[tuple[str, Score]]) -> dict[str, GroupRate]:
    groups: dict[str, list[bool]] = {}
    for key, score in pairs:
        if score.ex is not None:
            groups.setdefault(key, []).append(score.ex)
    return {
        key: GroupRate(len(values), sum(values) / len(values))
        for key, values in sorted(groups.items())
    }


def _removed(pairs: Sequence[tuple[Score, Example]]) -> dict[str, int]:
    """How many passes of ``ex`` the perturbed tables take away, by gold aggregate."""
    removed: Counter[str] = Counter()
    for score, example in pairs:
        if score.ex and score.ex_hardened is False:
            removed[AGGREGATIONS[example.gold.agg]] += 1
    return dict(sorted(removed.items()))
