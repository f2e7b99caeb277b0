"""The figures of the structure: numbers of files, lines, circles; length and width of functions.

`python tests/house.py` (``make house``) prints them and exits with 1 when one is beyond its bound;
``tests/test_house.py`` holds the same bounds in the lint tests. What is counted: the modules of
`harness/`, imports inside functions included. The layers themselves are contracts of import-linter
in `pyproject.toml`; this script counts those that are kept.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "harness"
ARCHITECTURE = ROOT / "docs" / "architecture.md"

MOST_FILES = 234
MOST_LINES = 40_240
MOST_FILES_OF_A_FOLDER = 14
LONGEST_FUNCTION = 60
MEDIAN_FUNCTION = 9
MOST_PARAMETERS = 7
LONGEST_WAY = 10
"""Modules that a value passes on its way (the ways of docs/architecture.md)."""
FILES_OF_A_MEASUREMENT = 6
"""Files that adding a measurement touches."""


@dataclass(frozen=True)
class Function:
    """A function or method: where it starts, its length and how many parameters it takes."""

    place: str
    lines: int
    parameters: int


@dataclass(frozen=True)
class Figure:
    """One figure and its bound; ``text`` is what is printed of it."""

    name: str
    text: str
    kept: bool


def modules() -> list[Path]:
    """Every module of the package, `__init__.py` left out."""
    found = sorted((ROOT / PACKAGE).rglob("*.py"))
    return [path for path in found if path.name != "__init__.py"]


def line_count() -> int:
    """Lines of the package's modules; `__init__.py`, which lists a folder's files, is left out."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in modules())


def files_by_folder() -> Counter[str]:
    """Modules of each folder's own."""
    return Counter(str(path.parent.relative_to(ROOT)) for path in modules())


def functions() -> Iterator[Function]:
    """Every function and method of the package, nested ones too."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield _function(node, path)


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, path: Path) -> Function:
    taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    named = [argument for argument in taken if argument.arg not in ("self", "cls")]
    parameters = len(named) + bool(node.args.vararg) + bool(node.args.kwarg)
    if "typer." in ast.unparse(node.args):
        parameters = 0  # a command of the command line has a parameter an option, by typer's rule
    assert node.end_lineno is not None
    place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
    return Function(place, node.end_lineno - node.lineno + 1, parameters)


def circle() -> list[str]:
    """The modules of one circle of imports (those inside functions count), or nothing."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def contracts() -> tuple[int, int, str]:
    """How many import contracts are kept and broken, and what import-linter printed."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.search(r"Contracts: (\d+) kept, (\d+) broken", done.stdout)
    kept, broken = (int(found[1]), int(found[2])) if found else (0, 0)
    return kept, broken, done.stdout + done.stderr


def ways() -> dict[str, list[tuple[str, str]]]:
    """The ways of docs/architecture.md: title -> [(module, function)], in the order of the calls.

    A way is a section whose title begins with "Way"; each step is a numbered item that begins
    with `path/of/module.py:function` in backquotes, the path without the package's name.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    title = None
    for line in ARCHITECTURE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
            title = heading if heading.startswith("Way") else None
        step = re.match(r"\d+\. `([\w/]+)(?:\.py)?:?(\w*)`", line)
        if title and step:
            found.setdefault(title, []).append((step[1], step[2]))
    return found


def figures() -> list[Figure]:
    """All figures with their bounds."""
    folders = files_by_folder()
    folder, most = folders.most_common(1)[0]
    every = list(functions())
    longest = max(every, key=lambda f: f.lines)
    widest = max(every, key=lambda f: f.parameters)
    median = statistics.median(f.lines for f in every)
    round_trip = circle()
    kept, broken, _ = contracts()
    files, lines = len(modules()), line_count()
    found = [
        Figure("files", f"{files} (at most {MOST_FILES})", files <= MOST_FILES),
        Figure("lines", f"{lines:,} (at most {MOST_LINES:,})", lines <= MOST_LINES),
        Figure(
            "largest folder",
            f"{most} in {folder} (at most {MOST_FILES_OF_A_FOLDER})",
            most <= MOST_FILES_OF_A_FOLDER,
        ),
        Figure("circle of imports", " -> ".join(round_trip) or "none", not round_trip),
        Figure(
            "longest function",
            f"{longest.lines} lines, {longest.place} (at most {LONGEST_FUNCTION})",
            longest.lines <= LONGEST_FUNCTION,
        ),
        Figure(
            "median function",
            f"{median:g} lines (at most {MEDIAN_FUNCTION})",
            median <= MEDIAN_FUNCTION,
        ),
        Figure(
            "most parameters",
            f"{widest.parameters}, {widest.place} (at most {MOST_PARAMETERS})",
            widest.parameters <= MOST_PARAMETERS,
        ),
        Figure("import contracts", f"{kept} kept, {broken} broken", kept > 0 and not broken),
    ]
    for title, steps in ways().items():
        passed = len(dict.fromkeys(module for module, _ in steps))
        most_modules = FILES_OF_A_MEASUREMENT if "measurement" in title else LONGEST_WAY
        text = f"{passed} modules (at most {most_modules})"
        found.append(Figure(title, text, passed <= most_modules))
    return found


def main() -> int:
    """Print every figure; 1 when one is beyond its bound."""
    found = figures()
    for figure in found:
        print(f"{'ok ' if figure.kept else 'NOT'}  {figure.name}: {figure.text}")
    print(f"     folders: {', '.join(f'{k} {v}' for k, v in sorted(files_by_folder().items()))}")
    return 0 if all(figure.kept for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
