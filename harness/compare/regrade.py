"""A run's stored answers graded again, and held against the verdicts that it stored.

Input: a stored run and the test split -> output: :class:`Regraded`. What the same definitions grade
must come out as it is stored. A run of older definitions (another `execution@N`) may have been read
otherwise: there only what is read as it was then must have its verdicts, and the rest is counted.
Rows without a text, and answers that only this machine could not run, cannot be graded again.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from harness.compare.evidence import refuse
from harness.data.records import Split
from harness.data.sources.resolve import NAMES, resolve_dataset
from harness.disk.cache import Cache
from harness.disk.files import user_path
from harness.errors import UserError
from harness.protocols import EXECUTION, HARDENED_COPIES
from harness.runs.file_names import row_file
from harness.runs.store import PendingRun, StoredRun
from harness.schema.rows import PredictionRow
from harness.sql.grade.predictions import Prediction
from harness.sql.grade.score import Score, score
from harness.sql.read.gold import read_golds

VERDICTS = ("ex_official", "lf", "ex", "ex_strict", "ex_hardened", "valid", "failure")
READING = ("query", "sql", "failure")
"""What a reader made of a text."""

OF_THE_READING = ("ex_official", "lf", "ex", "valid")
"""The verdicts on a query that no version has changed."""

OF_THE_MACHINE = ("timeout", "memory", "crash")
"""Failures that another machine need not have."""


@dataclass(frozen=True)
class Regraded:
    """What a new grading found."""

    faults: list[str]
    """Verdicts that cannot have come from the texts, the first of each variant."""
    graded: int = 0
    otherwise: int = 0
    """Answers of a run of older definitions that are read or graded otherwise today."""
    without_text: int = 0

    def note(self, run: StoredRun) -> str:
        """One line on what could not be held against the texts; empty where all could."""
        said = []
        if self.otherwise:
            said.append(
                f"{self.otherwise:,} of {self.graded:,} answers of {run.id}, graded by "
                f"{graded_by(run)}, are read or graded otherwise by {EXECUTION}"
            )
        if self.without_text:
            said.append(
                f"{self.without_text:,} answers of {run.id} have no text, so their verdicts were "
                "not graded again"
            )
        return "; ".join(said)


def graded_by(run: StoredRun) -> str:
    """The definition that a run's rows were graded by, as `execution@2`."""
    return run.results.protocols.execution.partition("+")[0]


def known_split(runs: Sequence[StoredRun]) -> Split | None:
    """The test split of the runs' data, where a name of theirs, or a folder as their command gave
    it, resolves to that very data, with tables."""
    datasets = {run.results.dataset.sha256: run.results.dataset for run in runs}
    if len(datasets) != 1:
        return None
    names = dict.fromkeys(name for run in runs for name in _data_names(run))
    held = [run.split for run in runs if isinstance(run, PendingRun) and run.split is not None]
    if names and held:
        return held[0]
    for name in names:
        with contextlib.suppress(UserError):
            dataset = resolve_dataset(name, read_golds=read_golds)
            if dataset.has_tables and dataset.sha256 in datasets:
                return dataset.test
    return None


def _data_names(run: StoredRun) -> list[str]:
    named = [run.results.dataset.name] if run.results.dataset.name in NAMES else []
    with contextlib.suppress(ValueError):  # a command that was cut
        for word, after in pairwise([*shlex.split(run.results.run.command), ""]):
            option, equals, value = word.partition("=")
            named += [value if equals else after] if option == "--dataset" else []
    # A folder that is here: an id of the hub would be fetched.
    return [name for name in named if name in NAMES or user_path(name).is_dir()]


def require_regraded(
    run: StoredRun, split: Split, cache: Cache, variants: Iterable[str] | None = None
) -> str:
    """Refuse a run as evidence whose verdicts are not those of its texts.

    Returns:
        One line on what could not be held against its text; empty where all could.

    Raises:
        UserError: naming file, id, field and both values; or that older definitions graded it
            and today's read some of its answers otherwise.
    """
    found = regrade(run, split, cache, variants)
    refuse(run, found.faults)
    if found.otherwise:
        versions, commit = run.results.run.versions, run.results.run.git.commit
        wrote = f"tunebench {versions.get('tunebench', '')}".strip()
        raise UserError(
            f"run {run.id!r} was graded by an older reader: {found.note(run)}, so its verdicts "
            f"cannot be checked. Measure it again with this version, or gate with the one that "
            f"wrote it ({wrote}{f', commit {commit[:12]}' if commit else ''})."
        )
    return found.note(run)


def regrade(
    run: StoredRun, split: Split, cache: Cache, variants: Iterable[str] | None = None
) -> Regraded:
    """Grade the texts of ``variants``, by default all of ``run``, on the examples of ``split``."""
    whole = Regraded([])
    for name in run.variants if variants is None else variants:
        rows = run.predictions(name) if name in run.results.variants else None
        if rows and split.tables:
            one = _regraded(run, name, rows, split, cache)
            whole = replace(
                whole,
                faults=whole.faults + one.faults,
                graded=whole.graded + one.graded,
                otherwise=whole.otherwise + one.otherwise,
                without_text=whole.without_text + one.without_text,
            )
    return whole


def _regraded(
    run: StoredRun, variant: str, rows: Sequence[PredictionRow], split: Split, cache: Cache
) -> Regraded:
    file = f"run {run.id}: {row_file('predictions', variant)}"
    for row in rows:
        if row.id >= len(split.examples) or split.examples[row.id].table_id != row.table_id:
            return Regraded([f"{file}: id {row.id} is no question on table {row.table_id!r}"])
    told = [row for row in rows if row.text is not None]
    examples = [split.examples[row.id] for row in told]
    predictions = [Prediction(row.id, text=row.text) for row in told]
    hardened = HARDENED_COPIES if any(row.ex_hardened is not None for row in told) else 0
    scores = score(split.tables, examples, predictions, hardened, cache)
    odd, otherwise = [], 0
    for row, now in zip(told, scores, strict=True):
        why = _differs(row, now, graded_by(run) == EXECUTION)
        if why:
            odd.append(f"{file}: id {row.id}: {why}")
        elif _values(row, VERDICTS) != _values(now, VERDICTS) and not _by_machine(row, now):
            otherwise += 1
    if odd:
        odd = [odd[0] + (f", and {len(odd) - 1:,} more like it" if len(odd) > 1 else "")]
    return Regraded(odd, len(told), otherwise, len(rows) - len(told))


def _differs(row: PredictionRow, now: Score, same_definition: bool) -> str:
    """The first verdict that the text cannot have had; empty where none."""
    if _by_machine(row, now):
        return ""
    keys = VERDICTS if same_definition else OF_THE_READING
    if not same_definition and _values(row, READING) != _values(now, READING):
        return ""
    for key in keys:
        stored, here = getattr(row, key), getattr(now, key)
        if stored != here and not (key == "ex_strict" and stored is None):
            text = (row.text or "").strip()[:80]
            return f"{key} is {stored} in the row, {here} when {text!r} is graded again"
    return ""


def _by_machine(row: PredictionRow, now: Score) -> bool:
    return row.failure in OF_THE_MACHINE or now.failure in OF_THE_MACHINE


def _values(row: PredictionRow | Score, keys: Sequence[str]) -> list[object]:
    return [getattr(row, key) for key in keys]
