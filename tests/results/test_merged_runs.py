"""Runs of several machines in one results folder: written there at once, or copied together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from results_sample import write_sample

from tests import forks

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OTHER = {"backend": "metal", "chip": "Apple M4", "memory_bytes": 32_000_000_000, "blas": None}


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    return forks.run("-m", "harness", *arguments)


def test_runs_copied_from_another_machine_are_compared_but_for_their_times(tmp_path: Path) -> None:
    write_sample(tmp_path / "here", "mac1", seed=0)
    write_sample(tmp_path / "there", "mac2", seed=1, device=OTHER, distributed={"size": 2})
    together = tmp_path / "here"
    shutil.copytree(tmp_path / "there" / "mac2", together / "mac2")
    compared = harness("compare", f"{together / 'mac1'}:lora", f"{together / 'mac2'}:lora")
    assert compared.returncode == 0, compared.stderr
    assert "`mac2:lora` − `mac1:lora`" in compared.stdout
    timed = [line for line in compared.stdout.splitlines() if "tokens/s" in line]
    assert timed
    assert all("timed on different machines" in line for line in timed)
    out = tmp_path / "report"
    reported = harness("report", str(together / "mac1"), str(together / "mac2"), "--out", str(out))
    assert reported.returncode == 0, reported.stderr
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "Sample CPU, 2 cores" in text
    assert "Apple M4" in text


WRITE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import pytest
from results_sample import write_sample

from tests import forks
from harness.errors import UserError
try:
    print(write_sample(Path(sys.argv[3]), sys.argv[4]).id)
except UserError as error:
    print("refused:", error)
"""


def test_two_processes_write_to_one_folder_and_a_name_is_taken_once(tmp_path: Path) -> None:
    here = Path(__file__).resolve().parent
    names = ("same", "same", "other")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(here), str(ROOT), str(tmp_path / "runs"), name],
            env=os.environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    outputs = [writer.communicate(timeout=120)[0].strip() for writer in writers]
    assert outputs[2] == "other"
    assert sorted(line.split(":")[0] for line in outputs[:2]) == ["refused", "same"]
    folders = {path.name for path in (tmp_path / "runs").iterdir()}
    assert folders == {"same", "other"}
