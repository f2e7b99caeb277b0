"""Everything that is compared among runs, computed once for all that show it.

Input: runs -> output: :class:`Analysis`: which variants are set against each other, their
differences, why some are not compared, ratios of speeds and memory, differences over seeds, and
each variant's checkpoints. A part is computed when it is first read, and never again. Not covered:
verdicts against a baseline (``gates``) and how anything is shown (``report``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from harness.compare.checkpoints import (
    BestCheckpoint,
    CheckpointScores,
    best_checkpoints,
    scores_of,
)
from harness.compare.cost import MemoryRatio, SpeedRatio, memory_ratios, speed_ratios
from harness.compare.quality import (
    Matched,
    PairComparison,
    compare_matched,
    match_if_paired,
    match_pair,
    match_sides,
)
from harness.compare.seeds import SeedDifference, seed_differences, seed_runs
from harness.compare.sides import RunVariant, differing_fields, label_sides, sides_of
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.runs.store import PendingRun, StoredRun
from harness.schema.results import Comparison

Made = TypeVar("Made")

AT_ONCE = 16
"""Pairs that are tested in one go; more would share more flips and take more memory."""


@dataclass(frozen=True)
class RefusedPair:
    """Two variants that are not compared: the fields that differ, or another reason."""

    a: str
    b: str
    fields: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class CheckpointAnalysis:
    """The checkpoints of one variant."""

    scores: list[CheckpointScores]
    best: list[BestCheckpoint]
    """The last checkpoint beside the best, by each metric; empty below two checkpoints."""


@dataclass(frozen=True)
class Analysis:
    """What is compared among ``runs``, each part once."""

    runs: tuple[StoredRun, ...]
    seeds: tuple[StoredRun, ...]
    """The runs in order of their seeds where they are seeds of one setting; else empty."""
    sides: tuple[tuple[RunVariant, RunVariant], ...]
    """The pairs of variants (a, b) that are set against each other."""
    refuse: bool = True
    """Whether a pair that is not comparable is kept as refused; else it is an error."""
    cache: Cache | None = None
    """Keeps what is made of new runs for the next that measure the same."""

    def kept(self, kind: str, packages: Sequence[str], make: Callable[[], Any]) -> Any:
        """The JSON value that ``make`` gives of the runs with ``packages``; of new runs out of the
        cache, where one before measured the same."""
        new = [run.content for run in self.runs if isinstance(run, PendingRun)]
        if self.cache is None or len(new) < len(self.runs):
            return make()
        return self.cache.value(kind, new, packages, make)

    @cached_property
    def variants(self) -> list[RunVariant]:
        """Every variant of the comparison, once."""
        return sides_of(self.runs)

    @property
    def pairs(self) -> list[PairComparison]:
        """Every pair that has something in common to be compared on."""
        return self._compared[0]

    @property
    def refused(self) -> list[RefusedPair]:
        """The pairs that are not compared, with the reason."""
        return self._compared[1]

    @property
    def records(self) -> list[Comparison]:
        """The `comparisons` of results.json."""
        return [record for pair in self.pairs for record in pair.primary]

    @cached_property
    def speeds(self) -> list[SpeedRatio]:
        """Ratios of speeds, or why there is none, of every pair."""
        return self._kept(
            "speed-ratios",
            list[SpeedRatio],
            lambda: [ratio for a, b in self.sides for ratio in speed_ratios(a, b)],
        )

    @cached_property
    def memory(self) -> list[MemoryRatio]:
        """Ratios of memory peaks, or why there is none, of every pair."""
        return [ratio for a, b in self.sides for ratio in memory_ratios(a, b)]

    @cached_property
    def seed_differences(self) -> list[SeedDifference]:
        """Differences over seeds; empty where the runs are not seeds of one setting."""
        return seed_differences(self.seeds) if self.seeds else []

    @cached_property
    def checkpoints(self) -> dict[tuple[Path, str], CheckpointAnalysis]:
        """The checkpoints of every variant that has some, by the run's folder and the variant."""
        return {
            (side.run.folder, side.variant): CheckpointAnalysis(
                scores,
                best_checkpoints(side.run.checkpoints(side.variant) or []),
            )
            for side in self.variants
            if (scores := scores_of(side))
        }

    def _kept(self, kind: str, of: type[Made], make: Callable[[], Made]) -> Made:
        """As :meth:`kept`, a value of type ``of``."""
        if self.cache is None:
            return make()
        form = TypeAdapter(of)
        found = self.kept(kind, ["numpy", "scipy"], lambda: form.dump_python(make()))
        return form.validate_python(found)

    @cached_property
    def _compared(self) -> tuple[list[PairComparison], list[RefusedPair]]:
        return self._kept(
            "comparisons", tuple[list[PairComparison], list[RefusedPair]], self._compare
        )

    def _compare(self) -> tuple[list[PairComparison], list[RefusedPair]]:
        found: list[PairComparison] = []
        refused: list[RefusedPair] = []
        for start in range(0, len(self.sides), AT_ONCE):
            matched = [self._matched(*pair) for pair in self.sides[start : start + AT_ONCE]]
            refused += [one for one in matched if isinstance(one, RefusedPair)]
            found += compare_matched([one for one in matched if isinstance(one, Matched)])
        return found, refused

    def _matched(self, a: RunVariant, b: RunVariant) -> Matched | RefusedPair | None:
        if not self.refuse:
            return match_pair(a, b)
        labels = a.label(b), b.label(a)
        if differing := tuple(differing_fields(a.run, b.run, across_models=True)):
            return RefusedPair(*labels, differing, "")
        try:
            return match_if_paired(a, b)
        except UserError as error:
            return RefusedPair(*labels, (), str(error))


def analyse(runs: Sequence[StoredRun], cache: Cache | None = None) -> Analysis:
    """Every pair of variants of ``runs``, as a report sets them against each other.

    Runs that are seeds of one setting are compared within each seed only: across seeds the
    per-seed differences decide.
    """
    seeds = seed_runs(runs)
    sides = [
        (a, b)
        for a, b in itertools.combinations(sides_of(runs), 2)
        if not seeds or a.run.folder == b.run.folder
    ]
    return Analysis(tuple(runs), tuple(seeds), tuple(sides), cache=cache)


def analyse_against_first(runs: Sequence[StoredRun]) -> Analysis:
    """Compare each further run with the first, as `compare` does; seeds only within each seed.

    Raises:
        UserError: here or when ``pairs`` is read: the variants of two runs cannot be matched, or
            the runs are not comparable.
    """
    # Two seeds of one variant are two sets of weights; from variants side by side comes more.
    seeds = seed_runs(runs) if len(runs[0].variants) > 1 else []
    if seeds:
        sides = [
            (RunVariant(run, a), RunVariant(run, b))
            for run in seeds
            for a, b in itertools.combinations(run.variants, 2)
        ]
    else:
        sides = [pair for other in runs[1:] for pair in match_sides(runs[0], other)]
    return Analysis(tuple(runs), tuple(seeds), tuple(label_sides(sides, runs)), refuse=False)
