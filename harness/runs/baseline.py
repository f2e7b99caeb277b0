"""`--bless`: a run becomes the baseline, the old one is kept.

Input: a stored run and the baseline's place -> output: that place filled with a copy of the run.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from harness.disk import files
from harness.errors import UserError
from harness.runs.file_names import RESULTS_FILE
from harness.runs.store import StoredRun


def bless(run: StoredRun, where: Path) -> Path | None:
    """Make ``run`` the baseline at ``where`` (a folder or its results.json), keeping the old one.

    The new baseline is copied beside the old and renamed into its place, rows included, since
    gates pair on them. Whatever goes wrong, the old baseline is in its place and nothing is left
    beside it. Returns the folder that now holds the old baseline, if there was one.

    Raises:
        UserError: a partial run (its missing metrics would fail every later gate), the run is
            the baseline itself, or the disk refuses.
    """
    if run.results.run.partial:
        raise UserError(
            f"run {run.id!r} is partial (not selected: {', '.join(run.results.run.partial)}) and "
            "cannot become the baseline. Run all of suites/ first."
        )
    target = where.parent if where.name == RESULTS_FILE else where
    if target.exists() and target.resolve() == run.folder.resolve():
        raise UserError(f"run {run.id!r} is the baseline already.")
    work: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        files.remove_abandoned(target.parent, target.name)
        prefix = files.temporary_prefix(target.name)
        work = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        shutil.copytree(run.folder, work, dirs_exist_ok=True)
        work.chmod(0o755)
        return _swap(work, target, run.id)
    except OSError as error:
        raise UserError(f"cannot write {target}: {_reason(error)}") from error
    finally:
        if work is not None:  # gone where it was renamed into place
            shutil.rmtree(work, ignore_errors=True)


def _swap(work: Path, target: Path, run_id: str) -> Path | None:
    """Rename ``work`` to ``target``; the folder that the old one is kept in, if there was one."""
    if not target.exists():
        work.rename(target)
        return None
    kept = _free_name(target, run_id)
    target.rename(kept)
    try:
        work.rename(target)
    except BaseException:
        kept.rename(target)
        raise
    return kept


def _reason(error: OSError) -> str:
    """The system's message; copytree gathers one error a file, as (source, target, text)."""
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        first = error.args[0][0]
        return str(first[2] if isinstance(first, tuple) else first)
    return error.strerror or str(error)


def _free_name(target: Path, run_id: str) -> Path:
    number = 0
    while True:
        suffix = f".{number}" if number else ""
        candidate = target.with_name(f"{target.name}.before-{run_id}{suffix}")
        if not candidate.exists():
            return candidate
        number += 1
