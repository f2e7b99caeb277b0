"""`make check`: what to run after every edit, in half a minute.

Ruff, mypy and the import contracts, all at once, then the tests of what changed since the last
commit: the changed test files, and those that name a changed module. Long files and slow tests are
left to `make test`; where nothing changed, or no test names it, a fast core runs instead.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
STATIC = (
    ("ruff", "check", "-q", "."),
    ("ruff", "format", "-q", "--check", "."),
    ("mypy",),
    ("lint-imports", "--no-cache"),
)
CORE = (
    *("tests/data/test_data_prompts.py", "tests/sql/test_protocols.py"),
    *("tests/sql/test_compare_results.py", "tests/measure/test_loss.py"),
    *("tests/train/test_objective.py", "tests/results/test_results_statistics.py"),
    "tests/test_docs.py",
)
LONG = re.compile(r"tests/(pipeline|faults|perf)/|test_lint|test_families|test_models_hub")
AT_MOST = 8
"""Test files of a change; more would not be quick."""


def changed() -> list[str]:
    """Paths that differ from the last commit, new ones too."""
    commands = (("diff", "--name-only", "HEAD"), ("ls-files", "--others", "--exclude-standard"))
    return [
        line
        for command in commands
        for line in subprocess.run(
            ["git", *command], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    ]


def names(path: str) -> re.Pattern[str] | None:
    """How a test file names a module of harness/: `from a.b import` or `from a import b`."""
    if not (path.startswith("harness/") and path.endswith(".py")):
        return None
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    folder, last = ".".join(parts[:-1]), parts[-1]
    whole = re.escape(".".join(parts))
    return re.compile(rf"{whole}\b|from {re.escape(folder)} import [^\n]*\b{last}\b")


def tests_of(paths: list[str]) -> list[str]:
    """Test files that changed or name a changed module."""
    patterns = [pattern for path in paths if (pattern := names(path)) is not None]
    chosen = []
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        name = file.relative_to(ROOT).as_posix()
        text = file.read_text("utf-8")
        if name in paths or any(pattern.search(text) for pattern in patterns):
            chosen.append(name)
    return chosen


def main() -> int:
    """Status 1 where anything failed; every tool's output is shown."""
    started = [
        (tool, subprocess.Popen([BIN / tool[0], *tool[1:]], cwd=ROOT, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        for tool in STATIC
    ]  # fmt: skip
    found = tests_of(changed())
    quick = [name for name in found if not LONG.search(name)]
    chosen, left = quick[:AT_MOST], [name for name in found if name not in quick[:AT_MOST]]
    command = [sys.executable, "-m", "pytest", "-q", *(chosen or CORE)]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    for tool, process in started:
        output, _ = process.communicate()
        print(f"{' '.join(tool)}: {'ok' if process.returncode == 0 else 'FAILED'}")
        if process.returncode:
            print(output)
        status = status or process.returncode
    if left:
        print(f"left to `make test`: {' '.join(left)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
