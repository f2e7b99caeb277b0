"""Outcomes of checks on a machine -> ``cuda_check.json`` and ``cuda_check.md``. Standard library
only, so that a report is left even where nothing could be started.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PASSED, FAILED, UNCHECKED = "passed", "failed", "not checked"


@dataclass
class Outcome:
    """What became of one check."""

    name: str
    what: str
    """What it checks, a phrase."""
    result: str = UNCHECKED
    """``passed``, ``failed`` or ``not checked``."""
    reason: str = ""
    """Why it failed or was not made."""
    seconds: float = 0.0
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    """A table of what was measured."""
    notes: Sequence[str] = ()
    """Sentences: conditions of the measurement, parts that were left out and why."""
    log: str = ""
    """The end of what its process printed, where it failed."""


@dataclass
class Report:
    """A machine and what was checked on it."""

    backend: str
    machine: dict[str, str] = field(default_factory=dict)
    """Card, driver, versions: what the readings depend on."""
    outcomes: list[Outcome] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    """What this machine cannot check whatever the time, and why."""
    seconds: float = 0.0

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [outcome.name for outcome in self.outcomes if outcome.result == FAILED]

    def write(self, folder: Path) -> None:
        """Write both files."""
        folder.mkdir(parents=True, exist_ok=True)
        record = json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
        (folder / "cuda_check.json").write_text(record, "utf-8")
        (folder / "cuda_check.md").write_text(markdown(self), "utf-8")


def markdown(report: Report) -> str:
    """The report as a page."""
    lines = [f"# Check of a machine: {report.machine.get('card', report.backend)}", ""]
    if report.backend == "cpu":
        lines += ["Dry run: the CPU backend answered for the GPU, with smaller models. "
                  "No figure here says anything about a GPU.", ""]  # fmt: skip
    lines += table(("what", "this machine"), list(report.machine.items()))
    lines += ["", "## Checks", ""]
    lines += table(
        ("check", "result", "seconds", "what, and why not"),
        [
            (o.name, o.result, f"{o.seconds:.1f}", f"{o.what}{': ' if o.reason else ''}{o.reason}")
            for o in report.outcomes
        ],
    )
    lines += ["", f"{report.seconds:.0f} s in all, unpacking included.", ""]
    if report.not_checked:
        lines += ["Could not be checked on this machine:", ""]
        lines += [f"- {sentence}" for sentence in report.not_checked] + [""]
    for outcome in report.outcomes:
        if outcome.rows:
            lines += [f"## {outcome.name}", "", *table(outcome.header, outcome.rows)]
            lines += ["", *outcome.notes, ""] if outcome.notes else [""]
        elif outcome.notes:
            lines += [f"## {outcome.name}", "", *outcome.notes, ""]
    return "\n".join(lines).rstrip() + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table."""
    return [_line(header), _line(["---"] * len(header)), *map(_line, rows)]


def _line(cells: Sequence[Any]) -> str:
    texts = (str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
    return "| " + " | ".join(texts) + " |"
