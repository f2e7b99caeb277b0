"""The README is short; it and docs/commands.md name every option, variant, command and fixture;
files and modules that docs and docstrings name exist, and so do the pictures."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.__main__ import app
from harness.train.variants import shipped

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
FILES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("harness", "tests", "suites", "fixtures", "tools")
    for path in (ROOT / folder).rglob("*.py")
]
FOREIGN = (
    *("mlx_lm/lora.py", "mlx_lm/fuse.py", "mlx_lm/tuner/datasets.py", "mlx_lm/tuner/trainer.py"),
    *("tuner/trainer.py", "lora.py", "models/llama.py", "_distributed_utils/launch.py"),
    *("lora/data/wikisql.py", "lib/dbengine.py", "evaluate.py", "convert_hf_to_gguf.py"),
    "suites/test_mine.py",
)
"""Files of other projects, and the example of the README."""
SUFFIXES = ("py", "md", "js", "css", "json", "jsonl", "yaml", "toml", "gz", "j2")
NOT_MODULES = {"run", "suites", "fixtures", "results", "article", "finetune", "protocols"}
"""Names of folders or modules that mean a field of results.json or a variant in docs."""


def options() -> list[str]:
    text = (ROOT / "harness" / "options.py").read_text(encoding="utf-8")
    return [*re.findall(r'(?:_value|_switch)\(\s*"(--[a-z-]+)"', text), "--strict"]


def fixtures() -> list[str]:
    text = (ROOT / "harness" / "plugin_fixtures.py").read_text(encoding="utf-8")
    found = re.findall(r'@pytest.fixture\(scope="session"\)\ndef (\w+)', text)
    found += re.findall(r"^(\w+) = _section\(", text, re.M)
    return [name for name in found if name not in ("seed_run", "strict_gates")]


def test_the_readme_is_under_150_lines() -> None:
    assert len(README.splitlines()) < 150


def test_there_are_options_and_fixtures_to_look_for() -> None:
    assert len(options()) >= 20
    assert len(fixtures()) >= 12


@pytest.mark.parametrize("option", options())
def test_every_option_is_documented(option: str) -> None:
    assert f"`{option}" in COMMANDS or f" {option}" in COMMANDS


@pytest.mark.parametrize("name", shipped())
def test_every_variant_is_documented(name: str) -> None:
    assert f"`{name}`" in COMMANDS


@pytest.mark.parametrize("name", fixtures())
def test_every_fixture_is_documented(name: str) -> None:
    assert f"`{name}`" in README


def test_every_command_is_documented() -> None:
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    names += [group.name for group in app.registered_groups if group.name]
    assert len(names) >= 10
    assert [name for name in names if f"`{name}`" not in COMMANDS] == []


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_picture_page_and_heading_that_is_linked_to_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    absent = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, heading = link.partition("#")
        linked = page.parent / name if name else page
        if not linked.exists() or (heading and heading not in headings(linked)):
            absent.append(link)
    assert absent == []


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


def test_the_readme_shows_the_page_of_a_run() -> None:
    assert "](docs/page.png)" in README


def test_every_folder_of_the_harness_is_in_the_file_map() -> None:
    folders = [p.parent.name for p in (ROOT / "harness").glob("*/__init__.py")]
    assert len(folders) >= 10
    maps = " ".join(line for line in README.splitlines() if line.startswith("harness/"))
    assert [f for f in folders if f"{f}/ " not in maps] == []


def named_texts() -> Iterator[tuple[str, str]]:
    """(file, text) of every docstring of the harness and every page of the docs."""
    for path in (ROOT / "harness").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                yield path.relative_to(ROOT).as_posix(), str(node.value.value)
    for path in [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]:
        yield path.name, path.read_text(encoding="utf-8")


def test_every_file_that_docs_and_docstrings_name_exists() -> None:
    known = [f"/{name}" for name in (*FILES, *FOREIGN)]
    absent = {
        (place, name)
        for place, text in named_texts()
        for name in re.findall(r"\w[\w/]*\.py\b", text)
        if not any(path.endswith(f"/{name}") for path in known)
    }
    assert absent == set()


def test_every_module_that_docs_and_docstrings_name_exists() -> None:
    """Names such as `runs.store`, `paired.holm` or `schema/rows` in backquotes."""
    paths = ["/" + name.removesuffix(".py").removesuffix("/__init__") for name in FILES]
    code = [path for path in paths if path.startswith("/harness/")]
    first = {"harness", *(name for path in code for name in path.split("/")[2:])} - NOT_MODULES
    absent = set()
    for place, text in named_texts():
        for name in re.findall(r"`((?:\w+[./])+\w+)`", text):
            *parts, last = re.split("[./]", name)
            if parts[0] not in first or last in SUFFIXES:
                continue
            owners = [path for path in code if path.endswith("/" + "/".join(parts))]
            found = any(path.endswith("/" + "/".join((*parts, last))) for path in paths)
            if not found and not any(defines(path, last) for path in owners):
                absent.add((place, name))
    assert absent == set()


def defines(module: str, name: str) -> bool:
    """Whether the module, a path without its ending, has a top-level or class name ``name``."""
    path = ROOT / f"{module[1:]}.py"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return re.search(rf"^\s*(?:def |class )?{name}\b", text, re.M) is not None
