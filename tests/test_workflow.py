"""The workflow of the project's own tests is valid, and names commands that exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from harness.__main__ import app
from harness.machine.installed import BACKENDS
from tests import forks

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text("utf-8"))
JOBS: dict[str, Any] = WORKFLOW["jobs"]
STEPS: list[dict[str, Any]] = [step for job in JOBS.values() for step in job["steps"]]
LINES = [shlex.split(line) for step in STEPS for line in step.get("run", "").splitlines()]
COMMANDS = [line[2:] if line[1:2] == ["-m"] else line for line in LINES]
"""As `make lint`, `pytest suites/`, `harness doctor`."""


def test_it_runs_on_both_systems_and_on_every_python() -> None:
    assert set(WORKFLOW[True]) == {"push", "pull_request"}  # YAML 1.1 reads the key `on` as true
    assert WORKFLOW["permissions"] == {"contents": "read"}
    for job in JOBS.values():
        matrix = job["strategy"]["matrix"]
        assert matrix["os"] == ["ubuntu-latest", "macos-15"]
        assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
        assert job["runs-on"] == "${{ matrix.os }}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"


def test_every_step_is_an_action_of_a_named_version_or_a_command() -> None:
    assert all(("uses" in step) != ("run" in step) for step in STEPS)
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", one) for one in used)


def test_it_makes_what_the_makefile_makes() -> None:
    rules = re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    known = {target for rule in rules for target in rule.split()}
    asked = {line[1] for line in COMMANDS if line[0] == "make"}
    assert asked == {"lint", "test"}
    assert asked <= known


def test_it_installs_as_the_readme_says_with_extras_that_exist() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    extras = {one["extra"] for one in JOBS["install"]["strategy"]["matrix"]["include"]}
    assert extras <= set(BACKENDS)
    for installer in ("pip install", "uv pip install"):
        assert f"`{installer} -c constraints.txt -e '.[dev,cpu]'`" in readme
        (line,) = [
            line
            for step in STEPS
            for line in step.get("run", "").splitlines()
            if line.startswith(f"{installer} -c")
        ]
        assert line == f"{installer} -c constraints.txt -e '.[dev,${{{{ matrix.extra }}}}]'"


def test_what_pages_serve_is_the_front_page_and_what_it_links_to() -> None:
    pages = yaml.safe_load((ROOT / ".github/workflows/pages.yml").read_text("utf-8"))
    steps = pages["jobs"]["publish"]["steps"]
    (folder,) = [ROOT / step["with"]["path"] for step in steps if "with" in step]
    front = (folder / "index.html").read_text("utf-8")
    linked = set(re.findall(r'href="([^"#]+)"', front)) - {"data:,"}
    assert "smollm2-mini/index.html" in linked
    assert [link for link in linked if not (folder / link).exists()] == []


def test_its_commands_exist() -> None:
    commands = [line[1] for line in COMMANDS if line[0] == "harness"]
    known: Any = typer.main.get_command(app)
    assert commands == ["doctor", "fetch"]
    assert set(commands) <= set(known.commands)


@pytest.mark.parametrize("arguments", [line[1:] for line in COMMANDS if line[0] == "pytest"])
def test_its_benchmarks_are_collected(arguments: list[str]) -> None:
    done = forks.run("-m", "pytest", *arguments, "--collect-only", "-q")
    assert done.returncode == 0, done.stderr
    assert "test_loss" in done.stdout
