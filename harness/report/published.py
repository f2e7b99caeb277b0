"""What is published: the runs committed under results/, and the seeds of one setting together.

Input: the folder results/ -> output: stored runs, read; one error names all that cannot be
published. `results/NAME/` is a run, `results/NAME/RUN/` is one of several seeds: those may be of
some suites only, since a spread between seeds needs no second timing. Not covered: how they are
shown (``leaderboard``).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.compare.seeds import seed_runs
from harness.errors import UserError
from harness.runs.file_names import RESULTS_FILE
from harness.runs.store import StoredRun, read_run

OWN_RUNS = "runs"
"""A user's own runs lie in results/runs/ and are not published."""


def published_runs(results_dir: Path) -> list[StoredRun]:
    """The published runs, by name.

    Raises:
        UserError: a run is partial or dirty; every such run is named.
    """
    runs = _read(results_dir.glob(f"*/{RESULTS_FILE}"), 0)
    _refuse(_partial(runs) + _dirty(runs))
    return runs


def published_seeds(results_dir: Path) -> dict[str, list[StoredRun]]:
    """The folders of seeds, by name, each with its runs.

    Raises:
        UserError: a run is dirty, or a folder's runs are not seeds of one setting.
    """
    runs = _read(results_dir.glob(f"*/*/{RESULTS_FILE}"), 1)
    _refuse(_dirty(runs))
    groups: dict[str, list[StoredRun]] = {}
    for run in runs:
        groups.setdefault(run.folder.parent.name, []).append(run)
    _refuse(
        [f"{name}/ holds no seeds of one setting" for name, g in groups.items() if not seed_runs(g)]
    )
    return groups


def _read(files: Iterable[Path], depth: int) -> list[StoredRun]:
    return [
        read_run(file)
        for file in sorted(files)
        if not (top := file.parents[depth].name).startswith(".") and top != OWN_RUNS
    ]


def _partial(runs: Iterable[StoredRun]) -> list[str]:
    return [
        f"{run.id} is partial (not selected: {', '.join(run.results.run.partial)})"
        for run in runs
        if run.results.run.partial
    ]


def _dirty(runs: Iterable[StoredRun]) -> list[str]:
    return [
        f"{run.id} is dirty (tracked files differed from its commit)"
        for run in runs
        if run.results.run.git.dirty
    ]


def _refuse(faults: list[str]) -> None:
    if faults:
        raise UserError(
            f"cannot be published: {'; '.join(faults)}. Commit, run all of suites/ again, and "
            "move the new run's folder into results/."
        )
