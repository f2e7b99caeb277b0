"""The benchmark and its commands as a Mac answers them: see shim/sitecustomize.py.

No Mac is at hand: these runs show that nothing asks Linux, that what is asked of macOS is
understood, and that Metal's paths are whole. Times and Metal's own numbers they cannot show.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.backend import mx
from harness.disk.kernels import FOLDER_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
SHIM = Path(__file__).with_name("shim")
ODD = "Benutzer Größe ✓ and spaces"


@dataclass(frozen=True)
class Mac:
    """A home of odd names, which nothing can be written to but the cache."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        temporary = self.folder / "T".ljust(max(1, 90 - len(str(self.folder))), "x")
        temporary.mkdir(exist_ok=True)
        return {
            "PATH": f"{SHIM / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(SHIM), str(ROOT)]),
            "HOME": "/sys/kernel",  # read-only even for root
            "TMPDIR": str(temporary),
            "XDG_CACHE_HOME": str(self.folder / "Library" / "Caches"),
            "LC_ALL": "C",
            "PYTHONCOERCECLOCALE": "0",
            "TZ": "Pacific/Kiritimati",
            "COLUMNS": "80",
            "OMP_NUM_THREADS": "1",
            FOLDER_VARIABLE: os.environ[FOLDER_VARIABLE],
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
        )

    def bench(self, *arguments: str) -> dict[str, Any]:
        """`pytest … --set iters=4`; its results.json."""
        runs = self.folder / "Ergebnisse"
        options = ("--set", "iters=4", f"--results-dir={runs}", "--run-name=mac")
        done = self.run("-m", "pytest", *arguments, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "caffeinate" in done.stderr + done.stdout
        names = [str(path.relative_to(self.folder)) for path in self.folder.rglob("*")]
        assert len({name.casefold() for name in names}) == len(names), "one file on a Mac's disk"
        found: dict[str, Any] = json.loads((runs / "mac" / "results.json").read_text("utf-8"))
        return found


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    (tmp_path / ODD).mkdir()
    return Mac(tmp_path / ODD)


def test_the_shim_is_seen_by_this_project_alone(mac: Mac) -> None:
    code = (
        "import sys, os, harness.models.device as d; "
        "print(sys.platform, hasattr(os, 'sched_getaffinity'), d.device())"
    )
    done = mac.run("-c", code)
    assert done.returncode == 0, done.stderr
    seen = done.stdout.split(maxsplit=2)
    assert seen[:2] == ["linux", "True"]
    assert "'backend': 'metal', 'chip': 'Apple M3 Max'" in seen[2]


@pytest.mark.slow
def test_the_doctor_knows_the_machine(mac: Mac) -> None:
    done = mac.run("-m", "harness", "doctor", "--json")
    assert done.returncode in (0, 1), done.stderr
    text = json.dumps(json.loads(done.stdout))
    assert "Apple M3 Max" in text
    assert "metal" in text


def test_scoring_needs_nothing_of_linux(mac: Mac) -> None:
    done = mac.run("-m", "harness", "score", "--self-test")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_fine_tuning_and_its_losses(mac: Mac, two_layers: Path) -> None:
    suites = ("suites/test_finetune.py", "suites/test_loss.py")
    model = (f"--model={two_layers}", "--limit=8", "--set", "num_layers=2")
    results = mac.bench(*suites, *model, "--variant=lora")
    assert results["run"]["device"]["backend"] == "metal"
    assert results["run"]["device"]["chip"] == "Apple M3 Max"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_suite(mac: Mac, dtype: str, two_layers: Path, tmp_path: Path) -> None:
    # MLX's CPU device, which stands for the GPU here, is slow in bfloat16: two layers will do.
    model = two_layers if dtype == "float32" else _bfloat16(two_layers, tmp_path / "bf16")
    options = (f"--model={model}", "--limit=8", "--set", "num_layers=2")
    results = mac.bench("suites/", *options, "--variant=lora,qlora", "--checkpoints=all")
    assert results["run"]["partial"] == []
    for variant in results["variants"].values():
        assert all(section is not None for section in variant.values())


def _bfloat16(source: Path, folder: Path) -> Path:
    """A model with its weights in bfloat16, as a model of the hub has them."""
    shutil.copytree(source, folder)
    weights = folder / "model.safetensors"
    halved = {name: array.astype(mx.bfloat16) for name, array in mx.load(str(weights)).items()}
    mx.save_safetensors(str(weights), halved, {"format": "mlx"})
    return folder
