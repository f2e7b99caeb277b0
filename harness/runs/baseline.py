"""`--bless`: a run becomes the baseline, the old one is kept.

Input: a stored run and the baseline's place -> output: that place filled with a copy of the run.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from harness.errors import UserError
from harness.runs.file_names import RESULTS_FILE
from harness.runs.store import StoredRun, filling


def bless(run: StoredRun, where: Path) -> Path | None:
    """Make ``run`` the baseline at ``where`` (a folder or its results.json), keeping the old one.

    The new baseline is copied beside the old and renamed into its place, rows included, since
    gates pair on them. On any failure the old baseline is in its place and nothing is left
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
    with filling(target) as work:
        try:
            shutil.copytree(run.folder, work, dirs_exist_ok=True)
        except shutil.Error as error:  # copytree gathers (source, target, text), one a file
            raise OSError(error.args[0][0][2]) from error
        work.chmod(0o755)
        return _swap(work, target, run.id)


def _swap(work: Path, target: Path, run_id: str) -> Path | None:
    """Rename ``work`` to ``target``; the folder that the old one is kept in, if there was one."""
    if not target.exists():
        work.rename(target)
        return None
    suffixes = itertools.chain([""], (f".{number}" for number in itertools.count(1)))
    names = (f"{target.name}.before-{run_id}{suffix}" for suffix in suffixes)
    kept = next(path for name in names if not (path := target.with_name(name)).exists())
    target.rename(kept)
    try:
        work.rename(target)
    except BaseException:
        kept.rename(target)
        raise
    return kept
