"""The store: a run's folder on disk, the only module that writes result files.

Input: :class:`Results`, rows of losses, predictions, speed trials and checkpoints -> output:
`<results-dir>/<run-name>/`; and back, as a :class:`StoredRun` whose row files are read when asked
for. A new folder is filled beside its place (with the report, too) and then renamed
into it, so a run is whole or absent. Not covered: what the fields mean (``schema``) and how they
read in words (``report``).
"""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from harness.data.records import Split
from harness.disk import files
from harness.errors import UserError, unknown
from harness.runs import checksums
from harness.runs.file_names import RESULTS_FILE, check_file_names, check_new, row_file
from harness.runs.upgrades import UPGRADES, upgrade
from harness.schema.results import SCHEMA_VERSION, Results
from harness.schema.rows import AnswerRow, CheckpointRow, LossRow, PredictionRow, TrialRow
from harness.schema.variant_result import Record

Row = TypeVar("Row", bound=Record)
Made = TypeVar("Made")


@dataclass(frozen=True)
class RunRows:
    """The rows of the files beside `results.json`, by variant; a missing variant has no file."""

    losses: Mapping[str, Sequence[LossRow]] = field(default_factory=dict)
    predictions: Mapping[str, Sequence[PredictionRow]] = field(default_factory=dict)
    trials: Mapping[str, Sequence[TrialRow]] = field(default_factory=dict)
    checkpoints: Mapping[str, Sequence[CheckpointRow]] = field(default_factory=dict)
    answers: Mapping[str, Sequence[AnswerRow]] = field(default_factory=dict)

    @cached_property
    def texts(self) -> dict[str, str]:
        """The row files by name."""
        found = {}
        for kind in fields(self):
            for variant, items in getattr(self, kind.name).items():
                dumped = [item.model_dump(mode="json") for item in items]
                if kind.name != "trials":
                    dumped.sort(key=lambda row: (row.get("iteration", 0), int(row["id"])))
                found[row_file(kind.name, variant)] = files.json_lines(dumped)
        return found


@dataclass(frozen=True)
class StoredRun:
    """A run in the store. ``variant`` is set when the user picked one with `RUN:variant`.

    A row file is read, hashed and validated when it is first asked for, and never again.
    """

    folder: Path
    results: Results
    variant: str | None = None
    _once: dict[object, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def id(self) -> str:
        """The run's name."""
        return self.results.run.id

    @property
    def variants(self) -> list[str]:
        """The variants to show: the picked one, or all in run order."""
        return [self.variant] if self.variant else list(self.results.variants)

    def losses(self, variant: str) -> Sequence[LossRow] | None:
        """Per-example losses; None when the run has no such file."""
        return self._rows("losses", variant, LossRow)

    def predictions(self, variant: str) -> Sequence[PredictionRow] | None:
        """Graded answers in id order; None when the run has no such file."""
        return self._rows("predictions", variant, PredictionRow)

    def answers(self, variant: str) -> Sequence[AnswerRow] | None:
        """Answers to data without tables; None when the run has no such file."""
        return self._rows("answers", variant, AnswerRow)

    def trials(self, variant: str) -> Sequence[TrialRow] | None:
        """Speed trials; None when the run has no such file."""
        return self._rows("trials", variant, TrialRow)

    def checkpoints(self, variant: str) -> Sequence[CheckpointRow] | None:
        """Every example under every evaluated checkpoint; None when the run has no such file."""
        return self._rows("checkpoints", variant, CheckpointRow)

    def once(self, what: object, make: Callable[[], Made]) -> Made:
        """What ``make`` gives, called for the first that asks: something is computed of a run."""
        if what not in self._once:
            self._once[what] = make()
        return cast("Made", self._once[what])

    def _rows(self, kind: str, variant: str, row: type[Row]) -> Sequence[Row] | None:
        file = self.folder / row_file(kind, variant)
        return self.once(file, lambda: _read_rows(file, row))


_OF_ONE_RUN: Any = {
    "run": {"id", "started", "finished", "command", "git"},
    "variants": {
        "__all__": {"adapter": {"source"}, "finetune": {"cached"}, "throughput": {"cached"}}
    },
}
"""The fields in which two runs differ that measured the same."""


@dataclass(frozen=True)
class PendingRun(StoredRun):
    """A run before it is written: its rows are still in memory."""

    rows: RunRows = field(default_factory=RunRows)
    split: Split | None = None
    """The test split that it was measured on, where it has tables and is in memory."""

    @cached_property
    def content(self) -> list[Any]:
        """What was measured, as JSON: equal for two runs that differ in nothing but their names,
        their times, and what came from the cache."""
        rows = {name: files.content_key(text) for name, text in self.rows.texts.items()}
        return [self.results.model_dump(mode="json", exclude=_OF_ONE_RUN), rows]

    def _rows(self, kind: str, variant: str, row: type[Row]) -> Sequence[Row] | None:
        by_variant: Mapping[str, Sequence[Row]] = getattr(self.rows, kind)
        return by_variant.get(variant)


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A temporary neighbour of ``folder`` for the block to fill and to rename; else it goes again.

    Raises:
        UserError: the disk refuses.
    """
    parent = folder.parent
    with files.writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        files.remove_abandoned(parent)
        prefix = files.temporary_prefix(folder.name)
        work = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with files.writing(folder):
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)  # gone where it was renamed into place


def write_run(run: PendingRun, finish: Callable[[Path], object]) -> None:
    """Write a new run with its rows; the folder appears whole or not at all.

    Args:
        run: the record, comparisons and gates included, and the files beside `results.json`.
        finish: adds what is made from the record (the report, the charts) to the folder, before
            its files are hashed and it gets its name.

    Raises:
        UserError: the name is taken, two variants share a file name, or the disk refuses.
    """
    folder = check_new(run.folder.parent, run.id)
    check_file_names(run.results.variants)
    with filling(folder) as work:
        for name, text in run.rows.texts.items():
            files.write_text(work / name, text)
        files.write_json(work / RESULTS_FILE, dump(run.results))
        finish(work)
        checksums.write_checksums(work)
        work.chmod(0o755)
        # rename() onto a folder that appeared meanwhile fails unless that folder is empty.
        work.rename(folder)


def read_run(where: str | Path) -> StoredRun:
    """Read a run: its folder or its `results.json`, optionally with `:variant` behind.

    Raises:
        UserError: nothing there, a damaged or foreign file, or no such variant.
    """
    path, variant = _split_variant(str(where))
    folder = path.parent if path.name == RESULTS_FILE else path
    file = folder / RESULTS_FILE
    if not file.is_file():
        raise UserError(
            f"no run at {where}: {file} does not exist. RUN is a run's folder or its "
            f"{RESULTS_FILE}, with an optional :variant; runs lie under results/ and "
            "results/runs/."
        )
    results = _parse_results(file)
    variant = None if variant is None else results.same_as.get(variant, variant)
    if variant is not None and variant not in results.variants:
        raise unknown(f"variant of run {results.run.id}", variant, results.variants)
    return StoredRun(folder, results, variant)


def dump(results: Results) -> dict[str, Any]:
    """The JSON object of `results.json`."""
    return results.model_dump(mode="json", by_alias=True)


def _split_variant(text: str) -> tuple[Path, str | None]:
    path = Path(text)
    if path.exists() or ":" not in text:
        return path, None
    head, _, tail = text.rpartition(":")
    # "C:\\run" and a path with a colon in a folder's name keep their colon.
    if tail.startswith("\\") or not Path(head).exists():
        return path, None
    return Path(head), tail


def _parse_results(file: Path) -> Results:
    checksums.check(file)
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        raw = upgrade(raw, SCHEMA_VERSION) if isinstance(raw, dict) else raw
    except (OSError, ValueError, RecursionError) as error:
        raise checksums.damaged(file, error) from error
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks what its schema_version has ({error})"
        raise checksums.damaged(file, reason) from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{file} has schema_version {version!r}; this tunebench reads {min(UPGRADES)} to "
            f"{SCHEMA_VERSION}. Read it with the version that wrote it (run.versions), or make "
            "the run again."
        )
    try:
        return Results.model_validate(raw)
    except ValidationError as error:
        raise checksums.damaged(file, describe_error(error)) from error


def describe_error(error: ValidationError) -> str:
    """The first three faults of a validation, as `place: what`, and how many more."""
    faults = error.errors(include_url=False)
    shown = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults[:3])
    return shown + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")


def _read_rows(file: Path, kind: type[Row]) -> list[Row] | None:
    checksums.check(file)
    if not file.is_file():
        return None
    with checksums.reading(file), file.open("rb") as stream, _without_collecting():
        return [_row(kind, line, file, n) for n, line in enumerate(stream, start=1)]


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """No search for circles in the block: it would look at every row again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _row(kind: type[Row], line: bytes, file: Path, number: int) -> Row:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        reason = describe_error(error)
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"byte {error.start + 1} of the line is no UTF-8 ({error.reason})"
    raise checksums.damaged(f"{file}:{number}", reason)
