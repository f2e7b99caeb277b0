"""The workflow in the docs is valid, and its commands take the options it gives them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from harness.__main__ import app
from harness.compare.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "docs" / "gate-workflow.yml"
GUIDE = (ROOT / "docs" / "gates.md").read_text("utf-8")


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text("utf-8"))
    return found


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = workflow["jobs"]["gate"]["steps"]
    return found


def command(workflow: dict[Any, Any], name: str) -> list[str]:
    return shlex.split(next(step["run"] for step in steps(workflow) if step.get("name") == name))


def test_it_runs_on_every_pull_request_with_no_more_rights_than_reading(
    workflow: dict[Any, Any],
) -> None:
    assert "pull_request" in workflow[True]  # YAML 1.1 reads the key `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", one) for one in used)
    assert all(("uses" in step) != ("run" in step) for step in steps(workflow))


def test_it_installs_with_constraints_and_keeps_the_cache(workflow: dict[Any, Any]) -> None:
    install = command(workflow, "Install")
    assert install[:4] == ["python", "-m", "pip", "install"]
    assert (ROOT / install[install.index("-c") + 1]).is_file()
    cached = next(step for step in steps(workflow) if str(step.get("uses")).endswith("cache@v4"))
    assert cached["with"]["path"] == ".cache/tunebench"
    assert workflow["env"]["XDG_CACHE_HOME"].endswith("/.cache")


def test_the_gate_command_takes_its_options(
    workflow: dict[Any, Any], request: pytest.FixtureRequest
) -> None:
    words = command(workflow, "Gate")
    assert words[:4] == ["python", "-m", "pytest", "suites/"]
    given = [word.partition("=")[0] for word in words[4:]]
    parser = request.config._parser
    known = {name for option in parser._anonymous.options for name in option.names()}
    known |= {n for group in parser._groups for option in group.options for n in option.names()}
    assert set(given) <= known
    assert {"--variant", "--adapter-path", "--baseline", "--junitxml"} <= set(given)
    variables = {name for word in words for name in re.findall(r"\$([A-Z_]+)", word)}
    assert variables <= {*workflow["env"], "GITHUB_WORKSPACE"}


def test_the_run_is_named_by_the_job_that_made_it(workflow: dict[Any, Any]) -> None:
    assert "${{ github.run_id }}" in workflow["env"]["RUN"]
    assert "--run-name=$RUN" in command(workflow, "Gate")
    assert "$GITHUB_WORKSPACE/out/$RUN" in command(workflow, "Page")
    page = next(step for step in steps(workflow) if step.get("name") == "Page")
    assert "env.RUN" in page["if"]


def test_the_page_command_takes_its_options(workflow: dict[Any, Any]) -> None:
    words = command(workflow, "Page")
    assert words[:4] == ["python", "-m", "harness", "report"]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {opt for parameter in commands["report"].params for opt in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_guide_names_every_metric_that_can_be_gated() -> None:
    assert [metric for metric in METRICS if f"`{metric}`" not in GUIDE] == []
    assert "gate-workflow.yml" in GUIDE
