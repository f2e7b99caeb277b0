"""The workflow in the docs is valid, and its commands take the options it gives them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
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


def test_the_baseline_is_the_target_branchs(workflow: dict[Any, Any]) -> None:
    places = {
        step["with"]["path"]: step["with"].get("ref")
        for step in steps(workflow)
        if str(step.get("uses")).startswith("actions/checkout") and "repository" not in step["with"]
    }
    assert places == {"mine": None, "target": "${{ github.event.pull_request.base.sha }}"}
    for name, option in (("Gate", "--baseline=$GITHUB_WORKSPACE"), ("Page", "$GITHUB_WORKSPACE")):
        words = command(workflow, name)
        assert any(word.startswith(f"{option}/target/$BASELINE") for word in words)
        assert not any("mine/$BASELINE" in word for word in words)
    assert "--adapter-path=$GITHUB_WORKSPACE/mine/$ADAPTER" in command(workflow, "Gate")


def test_a_change_of_the_baseline_is_gated_in_a_job_of_its_own(
    workflow: dict[Any, Any], tmp_path: Path
) -> None:
    by_name = {step.get("name"): step for step in workflow["jobs"]["baseline"]["steps"]}
    gate = by_name["Baseline"]
    assert gate["if"] == "${{ steps.changed.outputs.baseline == 'changed' }}"
    assert shlex.split(gate["run"]) == [
        *("python", "-m", "harness", "gate", "$GITHUB_WORKSPACE/mine/$BASELINE"),
        *("--baseline", "$GITHUB_WORKSPACE/target/$BASELINE"),
    ]
    for side in ("mine", "target"):
        (tmp_path / side / "b").mkdir(parents=True)
        (tmp_path / side / "b" / "results.json").write_text("{}")
    said = tmp_path / "output"
    said.touch()
    env = {**os.environ, "BASELINE": "b", "GITHUB_OUTPUT": str(said)}
    for text, expected in (("{}", ""), ("{1}", "baseline=changed\n")):
        (tmp_path / "mine" / "b" / "results.json").write_text(text)
        subprocess.run(
            ["bash", "-e", "-c", by_name["Changed"]["run"]], cwd=tmp_path, env=env, check=True
        )
        assert said.read_text() == expected


def test_the_guide_names_every_metric_that_can_be_gated() -> None:
    assert [metric for metric in METRICS if f"`{metric}`" not in GUIDE] == []
    assert "gate-workflow.yml" in GUIDE
