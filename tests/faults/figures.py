"""What was done to the harness and held: kills, damage, full disks, hostile input.

`python -m tests.faults.figures` (``make faults``) runs the tests named here, slow ones too, and
prints how much they tried and what held; `--docs` writes the table into docs/recovery.md. A test
counts once, or as many times as it says by `record_property("tried", N)`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness.markdown import table
from harness.report.leaderboard import replace_block

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "recovery.md"
START, END = "<!-- make faults -->", "<!-- /make faults -->"

KINDS = {
    "`kill -9` and Ctrl-C of a run, its model process or DuckDB's": (
        *("tests/faults/test_kill.py", "tests/faults/test_interrupt.py"),
    ),
    "files that were cut, zeroed or flipped": (
        *("tests/faults/test_damage.py", "tests/faults/test_journal.py"),
        *("tests/train/test_damaged_training.py", "tests/faults/test_kernels.py"),
    ),
    "disks that are full or read-only": ("tests/faults/test_disk.py",),
    "commands at once on one cache": ("tests/faults/test_at_once.py", "tests/cache/test_locks.py"),
    "hostile answers": ("tests/sql/test_hostile_answers.py", "tests/sql/test_reading_limits.py"),
    "strangers' files": (
        *("tests/faults/test_strangers_files.py", "tests/data/test_archive_hostile.py"),
        "tests/results/test_hostile_texts.py",
    ),
}


class Counted:
    """A pytest plugin that counts what was tried and what held, by kind."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test that ran, or that failed before or after it ran."""
        file = report.nodeid.partition("::")[0]
        kind = next(kind for kind, files in KINDS.items() if file in files)
        if report.skipped:
            self.skipped[kind] += 1
        elif report.when == "call" or report.failed:
            times = dict(report.user_properties).get("tried", 1)
            assert isinstance(times, int)
            self.tried[kind] += times
            self.held[kind] += times * report.passed

    def table(self) -> str:
        """The figures in Markdown."""
        rows = [
            (kind, f"{self.tried[kind]:,}", f"{self.held[kind]:,}", f"{self.skipped[kind]:,}")
            for kind in KINDS
        ]
        return table(["what was done", "times", "held", "tests skipped"], rows)


def main() -> int:
    """Run the tests and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", action="store_true", help="write the table into the docs")
    docs = parser.parse_args().docs
    counted = Counted()
    files = [file for files in KINDS.values() for file in files]
    status = pytest.main(["-q", "-m", "", f"--rootdir={ROOT}", *files], plugins=[counted])
    print(counted.table())
    if docs and not status:
        page = PAGE.read_text("utf-8")
        PAGE.write_text(replace_block(page, f"\n{counted.table()}\n", START, END), "utf-8")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
