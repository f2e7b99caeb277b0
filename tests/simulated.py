"""What the simulations share: their tables stand in a page of docs/, between two marks.

`python -m tests.results.simulate_gates` prints its tables, with `--docs` it also writes them there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.report.leaderboard import replace_block

DOCS = Path(__file__).resolve().parents[1] / "docs"
START, END = "<!-- simulated: make simulate -->", "<!-- /simulated -->"


def parser(description: str | None, page: str) -> argparse.ArgumentParser:
    """A command line with `--docs`."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--docs", action="store_true", help=f"write them into docs/{page}")
    return made


def show(text: str, page: str, docs: bool) -> None:
    """Print the tables, and put them between the marks of the page where ``docs`` asks for it."""
    print(text)
    if docs:
        changed = replace_block((DOCS / page).read_text("utf-8"), f"\n{text.strip()}\n", START, END)
        (DOCS / page).write_text(changed, "utf-8")


def written(page: str) -> str:
    """What stands between the marks of the page."""
    return (DOCS / page).read_text("utf-8").partition(START)[2].partition(END)[0]
