"""`--bless`: a run becomes the baseline, the old one is kept.

Input: a stored run and the baseline's place -> output: that place filled with a copy of the run.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from harness.errors import UserError
from harness.results.layout import RESULTS_FILE
from harness.results.store import StoredRun


def bless(run: StoredRun, where: Path) -> Path | None:
    """Make ``run`` the baseline at ``where`` (a folder or its results.json), keeping the old one.

    The new baseline is copied beside the old and renamed into its place, rows included, since
    gates pair on them. Returns the folder that now holds the old baseline, if there was one.

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
    kept: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        shutil.copytree(run.folder, work, dirs_exist_ok=True)
        work.chmod(0o755)
        if target.exists():
            kept = _free_name(target, run.id)
            target.rename(kept)
        try:
            work.rename(target)
        except OSError:
            if kept is not None:
                kept.rename(target)
            raise
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    return kept


def _free_name(target: Path, run_id: str) -> Path:
    number = 0
    while True:
        suffix = f".{number}" if number else ""
        candidate = target.with_name(f"{target.name}.before-{run_id}{suffix}")
        if not candidate.exists():
            return candidate
        number += 1
