"""Text comes out whole on a terminal whose encoding lacks the signs that reports use."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.markdown import encodable

ROOT = Path(__file__).resolve().parents[2]
RUN = "results/smollm2-mini"


@pytest.fixture(params=["PYTHONIOENCODING", pytest.param("LC_ALL", marks=pytest.mark.slow)])
def latin(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """An environment of ISO-8859-1: by Python's own variable, and by a German locale."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    plain["PYTHONPATH"] = str(ROOT)
    if request.param == "PYTHONIOENCODING":
        return {**plain, "PYTHONIOENCODING": "latin-1"}
    command = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(tmp_path / "de_DE.ISO-8859-1")]
    if shutil.which("localedef") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs localedef and the source of the locale")
    return {**plain, "LOCPATH": str(tmp_path), "LC_ALL": "de_DE.ISO-8859-1"}


def run(variables: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, env=variables
    )
    said = done.stdout.decode("latin-1")
    assert done.returncode == 0, said + done.stderr.decode("latin-1")
    return said


def test_signs_that_an_encoding_lacks_become_plain_ones() -> None:
    text = "Café – 5.209 − 5.228 ≥ “x” … 日本"
    assert encodable(text, "latin-1") == 'Café - 5.209 - 5.228 >= "x" ... ??'
    assert encodable(text, "ascii") == 'Caf? - 5.209 - 5.228 >= "x" ... ??'
    assert encodable(text, "utf-8") == encodable(text, None) == text


@pytest.mark.slow
def test_a_comparison_is_printed_and_its_json_says_the_same(latin: dict[str, str]) -> None:
    compare = ("harness", "compare", f"{RUN}:lora", f"{RUN}:qlora")
    said = run(latin, *compare)
    assert re.search(r"0\.\d+ - 0\.\d+", said)  # the two losses
    assert json.loads(run(latin, *compare, "--json"))


@pytest.mark.slow
def test_the_summary_of_pytest_stays_a_table(latin: dict[str, str], tmp_path: Path) -> None:
    suites = ("suites/test_size.py", "suites/test_loss.py", "--limit=10", "--model=tiny")
    places = (f"--results-dir={tmp_path / 'runs'}", "--variant=base", "-p", "no:cacheprovider")
    said = run(latin, "pytest", *suites, *places)
    lines = said.splitlines()
    (at,) = [place for place, line in enumerate(lines) if re.match(r"base +\d+\.\d{3}$", line)]
    assert "\\n" not in said
    assert set(lines[at - 1]) == {"-"}, "the rule under the head, of signs that the encoding has"
    assert lines[at - 2].startswith("Variant")
