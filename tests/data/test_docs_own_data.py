"""docs/own_data.md: its commands, in their order, lead from two CSV files to a verdict."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "own_data.md").read_text("utf-8")
SCRIPT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
COMMANDS = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()
SMALL = ["--model=tiny", "--set", "iters=2"]


def run(command: str, *more: str) -> str:
    program, *words = shlex.split(command)
    assert program == "tunebench"
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words, *more],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    exec(SCRIPT, {})
    return tmp_path


def test_the_script_writes_what_import_reads(files: Path) -> None:
    assert run(COMMANDS[0]).splitlines()[0] in PAGE


@pytest.mark.slow
def test_every_command_of_the_page_runs_after_those_before_it(files: Path) -> None:
    for command in COMMANDS:
        if " score " in command:
            golds = (files / "players" / "test.jsonl").read_text("utf-8").splitlines()
            answers = [{"id": at, "text": json.loads(line)["sql"]} for at, line in enumerate(golds)]
            asked = (files / "prompts.jsonl").read_text("utf-8").splitlines()
            assert [json.loads(line)["id"] for line in asked] == [one["id"] for one in answers]
            text = "".join(json.dumps(answer) + "\n" for answer in answers)
            (files / "answers.jsonl").write_text(text, "utf-8")
        said = run(command, *(SMALL if " bench " in command else ()))
    # All eleven right against a random model's none: by 11 questions, on their table.
    assert "**better**" in said
    assert "about questions on this table" in said
    page = (files / "results" / "runs" / "own" / "index.html").read_text("utf-8")
    assert "Who of the" in page
    assert "ORDER BY Points DESC LIMIT 1" in page
