"""How long the whole run will take, said before it begins, by what it took on this machine before.

Steps that are not in the cache x the machine's earlier ones -> seconds by kind of step. A step's
size is counted in units that its time grows with: rows answered or scored, training's rows (forward
1, backward 2). Its pace is that of the earlier steps of the same model that come nearest in size,
of the same method, bits, data and style where there are any. What never ran here is named and not
guessed. Kept in the user's cache beside what trainings took (``train/past_runs``). Imports no mlx.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import ValidationError

from harness.disk.cache import estimates_file
from harness.disk.files import write_json
from harness.errors import UserError
from harness.machine.chip import compute_device
from harness.markdown import duration
from harness.schema.record import Record

TITLES = {
    "start": "starting processes",
    "describe": "loading",
    "finetune": "training",
    "losses": "loss",
    "answers": "answers",
    "question_answers": "questions",
    "fuse": "fusing",
    "asking": "asking endpoints",
    "grading": "grading",
    "speed": "speed",
    "report": "report",
}
"""The kinds of steps in the order of a run, as they are shown."""

NEAREST = 5
"""How many earlier steps give the pace: the median of those nearest in size."""
_KEPT = 1000
_LASTING_S = 60.0
"""A step that took longer is followed by what is left."""


class Step(Record):
    """A part of a run: what takes the time, and how much of it there is."""

    kind: str
    model: str
    """What computes it; empty where no model does."""
    setting: str
    """What else decides its pace."""
    units: float


class _Past(Step):
    seconds: float


class _Stored(Record):
    steps: list[_Past]


@dataclass(frozen=True)
class Found:
    """The seconds that a step will take, and how many earlier ones say so."""

    seconds: float
    basis: int


class RunEstimate:
    """The steps of a run that are left, and what this machine's earlier ones took."""

    def __init__(self, cache: Path, notify: Callable[[str], None]) -> None:
        self._path = estimates_file(cache, ["steps", *compute_device()])
        self._notify = notify
        self._left: list[Step] = []
        self._past: list[_Past] = []
        with contextlib.suppress(OSError, ValueError, ValidationError):
            stored = json.loads(self._path.read_text(encoding="utf-8"))
            self._past = _Stored.model_validate(stored).steps

    def begin(self, steps: Iterable[Step]) -> None:
        """Say how long these steps will take, and whether others keep the machine busy."""
        self._left = [step for step in steps if step.units > 0]
        self._notify(f"time of this run: {self.text()}")
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
        if load >= cores:
            self._notify(
                f"this machine was busy in the last minute (load {load:.1f} on {cores} processors)"
                ": beside other programs it takes longer, and what is timed is marked contended"
            )

    def finished(self, step: Step, seconds: float, whole: bool = True) -> None:
        """Keep what a step took, unless a broken-off run had done a part of it; after a long one
        say what is left."""
        if whole:
            self._past = [*self._past, _Past(**step.model_dump(), seconds=seconds)][-_KEPT:]
            with contextlib.suppress(UserError, OSError):  # an estimate is worth no run
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_json(self._path, _Stored(steps=self._past).model_dump(mode="json"))
        self._left = _without(self._left, step)
        if seconds > _LASTING_S and any(map(self.expected, self._left)):
            self._notify(f"time of what is left: {self.text()}")

    def text(self) -> str:
        """How long what is left will take, by kind of step, and on what that rests."""
        known: dict[str, float] = {}
        unknown: list[str] = []
        basis = []
        for kind, title in TITLES.items():
            for step in self._left:
                if step.kind != kind:
                    continue
                if (found := self.expected(step)) is None:
                    unknown.append(title)
                else:
                    known[title] = known.get(title, 0.0) + found.seconds
                    basis.append(found.basis)
        absent = ", ".join(dict.fromkeys(unknown))
        if not known:
            return f"not known, nothing like it ran on this machine yet ({absent})"
        parts = ", ".join(f"{title} {duration(s)}" for title, s in known.items() if round(s))
        least, most = min(basis), max(basis)
        runs = f"{least} to {most}" if least < most else f"{least}"
        beside = f"; not known, nothing like it ran here yet: {absent}" if absent else ""
        shown = f": {parts}" if parts else ""
        of_runs = f"from {runs} past run{'s' * (most > 1)} on this machine"
        return f"about {duration(sum(known.values()))}{shown} ({of_runs}){beside}"

    def expected(self, step: Step) -> Found | None:
        """What a step will take; None where nothing like it ran here."""
        same = [p for p in self._past if (p.kind, p.model) == (step.kind, step.model)]
        alike = [p for p in same if p.setting == step.setting] or same
        newest = alike[::-1]
        near = sorted(newest, key=lambda past: abs(math.log(past.units / step.units)))
        near = near[:NEAREST]
        if not near:
            return None
        pace = median(past.seconds / past.units for past in near)
        return Found(pace * step.units, len(near))


def _without(steps: Sequence[Step], done: Step) -> list[Step]:
    """The steps less the units of the one that is done, of which there may have been several."""
    left, units = [], done.units
    for step in steps:
        if (step.kind, step.model, step.setting) == (done.kind, done.model, done.setting):
            taken = min(units, step.units)
            units -= taken
            step = step.model_copy(update={"units": step.units - taken})
        if step.units > 0:
            left.append(step)
    return left
