"""`tunebench` like any tool: its version, its help, the suites from any folder, its runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from harness.cli.bench import settings, typed
from harness.cli.runs import headline
from harness.runs.store import read_run

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "results" / "smollm2-mini"


def tunebench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in ``folder``, as a user has it there."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    variables = own | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=variables)


def test_version_and_help(tmp_path: Path) -> None:
    assert tunebench(tmp_path, "--version").stdout == f"tunebench {version('tunebench')}\n"
    done = tunebench(tmp_path, "-h")
    assert done.returncode == 0
    said = " ".join(done.stdout.split())
    assert "the bundled suites, with pytest's options and exit status." in said
    assert "Exit 0 when a metric passed and none regressed, 1 on a regression or where" in said
    assert "..." not in done.stdout.partition("Commands:")[2]  # no sentence is cut
    assert "--install-completion" in done.stdout
    assert tunebench(tmp_path, "gate", "-h").returncode == 0


@pytest.mark.slow
def test_bench_is_pytest_on_the_bundled_suites_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("raise SystemExit('a stranger')\n")
    done = tunebench(tmp_path, "bench", "--collect-only", "-q", "--variant=qlora", "-k", "loss")
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]
    assert "test_loss_on_the_completion[qlora]" in found
    wrong = tunebench(tmp_path, "bench", "--variant=qlra")
    assert wrong.returncode == 4
    assert "Did you mean 'qlora'?" in wrong.stderr
    assert tunebench(tmp_path, "bench", "-k", "nothing_of_this_name").returncode == 5


def test_a_run_of_bench_records_what_was_typed() -> None:
    assert typed([*settings(), "--variant=lora"]) == ["tunebench", "bench", "--variant=lora"]
    assert typed(["suites/", "--variant=lora"]) == ["pytest", "suites/", "--variant=lora"]


@pytest.mark.slow
def test_the_list_of_runs(tmp_path: Path) -> None:
    done = tunebench(ROOT, "list", "results", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = [run for run in json.loads(done.stdout)["runs"] if run["name"] == PUBLISHED.name]
    assert (found["model"], found["variants"]) == ("smollm2", ["base", "lora", "qlora"])
    assert found["date"] == read_run(PUBLISHED).results.run.started
    assert "lora better than base on completion_loss, ex" in found["headline"]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.json").write_text("{")
    listed = tunebench(tmp_path, "list", ".").stdout
    assert listed.startswith("broken")
    assert tunebench(tmp_path, "list").returncode == 2


def test_the_headline_of_a_run_without_verdicts() -> None:
    results = read_run(PUBLISHED).results.model_copy(update={"comparisons": []})
    assert headline(results) == "base: ex 0.0%, lora: ex 34.7%, qlora: ex 26.9%"


@pytest.mark.parametrize("arguments", [["adapter", str(PUBLISHED), "--out", "x"], ["adapter"]])
def test_an_adapter_is_named_by_run_and_variant(tmp_path: Path, arguments: list[str]) -> None:
    done = tunebench(tmp_path, *arguments)
    assert done.returncode == 2
    assert not (tmp_path / "x").exists()
