"""What this machine's earlier trainings took, against what was estimated: it corrects the next.

A chip and backend -> :class:`PastRuns`, kept as one small JSON file in the user's cache. Estimates
count operations and arrays; what a machine makes of them (its bandwidth, its allocator, heat) shows
in the ratio of measured to estimated, and the median of its past ratios corrects what follows: of
seconds, and of the memory above the weights, whose bytes are known before.
Trainings that say nothing are not kept: of less than a second or 0.2 GB, cut off, or beside others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from pydantic import ValidationError

from harness.disk.cache import estimates_file
from harness.disk.files import write_json
from harness.schema.record import Record
from harness.train.estimate import Estimate

_KEPT = 50
_LEAST_S = 1.0
_LEAST_BYTES = 2 * 10**8
_MOST = 5.0
"""Ratios beyond, up or down, say more of a fault than of the machine."""


class PastRun(Record):
    """One finished training."""

    estimated_s: float
    measured_s: float
    estimated_bytes: int
    measured_bytes: int
    weights_bytes: int | None = None
    """Of both, the base's weights; None in older records, which correct time alone."""


class _Stored(Record):
    runs: list[PastRun]


@dataclass(frozen=True)
class PastRuns:
    """The trainings of one backend and chip, the newest last."""

    path: Path
    runs: tuple[PastRun, ...] = ()

    @classmethod
    def of(cls, cache: Path, device: Sequence[str]) -> PastRuns:
        """Those of a backend and chip in the cache folder ``cache``; none where the file is absent
        or not readable."""
        path = estimates_file(cache, device)
        try:
            stored = _Stored.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError):
            return cls(path)
        return cls(path, tuple(stored.runs))

    def corrected(self, estimate: Estimate) -> Estimate:
        """``estimate`` times the median ratios of the past, its weights as they are; itself without
        any."""
        time, weights = self.time_ratio, estimate.weights_bytes
        return replace(
            estimate,
            train_s=estimate.train_s * time,
            validate_s=estimate.validate_s * time,
            peak_bytes=weights + round((estimate.peak_bytes - weights) * self.memory_ratio),
        )

    @property
    def time_ratio(self) -> float:
        """Measured over estimated seconds."""
        return _ratio([(run.measured_s, run.estimated_s) for run in self.runs])

    @property
    def memory_ratio(self) -> float:
        """Measured over estimated peaks, of both what lies above the weights."""
        return _ratio(
            [
                (run.measured_bytes - run.weights_bytes, run.estimated_bytes - run.weights_bytes)
                for run in self.runs
                if run.weights_bytes is not None
            ]
        )

    @property
    def note(self) -> str:
        """On what an estimate rests, to stand behind it in brackets."""
        if not self.runs:
            return "computed; no run of this machine to correct it by yet"
        runs = "run" if len(self.runs) == 1 else "runs"
        return f"corrected by {len(self.runs)} earlier {runs} of this machine"

    def add(self, estimate: Estimate, measured_s: float, measured_bytes: int) -> None:
        """Keep what a training took beside its uncorrected ``estimate``.

        Raises:
            UserError: the cache folder cannot be written.
        """
        if measured_s < _LEAST_S or measured_bytes < _LEAST_BYTES:
            return
        run = PastRun(
            estimated_s=estimate.train_s + estimate.validate_s,
            measured_s=measured_s,
            estimated_bytes=estimate.peak_bytes,
            measured_bytes=measured_bytes,
            weights_bytes=estimate.weights_bytes,
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stored = _Stored(runs=[*self.runs, run][-_KEPT:])
        write_json(self.path, stored.model_dump(mode="json"))


def _ratio(pairs: list[tuple[float, float]]) -> float:
    """The median of measured over estimated; 1 without a pair."""
    ratios = [measured / estimated for measured, estimated in pairs if estimated > 0]
    return min(_MOST, max(1 / _MOST, median(ratios))) if ratios else 1.0
