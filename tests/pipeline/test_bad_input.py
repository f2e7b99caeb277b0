"""Bad input: one clear message before any model is loaded, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / "fixtures" / "mini"


def suites(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command on `tiny`, one cheap suite, results and cache in ``folder``."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "suites/test_loss.py",
            "--model=tiny",
            "--variant=lora",
            "--limit=4",
            "--set",
            "iters=2",
            f"--results-dir={folder / 'runs'}",
            *arguments,
        ],
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


def damaged_mini(folder: Path) -> Path:
    """A copy of mini whose third test line is no JSON."""
    copy = folder / "damaged"
    shutil.copytree(MINI, copy)
    lines = (copy / "test.jsonl").read_text("utf-8").splitlines()
    lines[2] = lines[2][:-5]
    (copy / "test.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return copy


def empty_valid(folder: Path) -> Path:
    """A copy of mini without a validation example."""
    copy = folder / "empty"
    shutil.copytree(MINI, copy)
    (copy / "valid.jsonl").write_text("")
    return copy


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model=nowhere/at-all/model"], "nowhere/at-all/model"),
        (["--model=tinny"], "Did you mean 'tiny'?"),
        (["--dataset=mnii"], "mini"),
        (["--dataset=./no/such/folder"], "no/such/folder"),
        (["--adapter-path=no/such/adapter"], "no/such/adapter"),
        (["--set", "num_layers=99"], "99"),
        (["--variant=full", "--set", "quantize.bits=4"], "full"),
    ],
)
def test_a_wrong_name_ends_before_anything_is_loaded(
    tmp_path: Path, arguments: list[str], told: str
) -> None:
    done = suites(tmp_path, *arguments)
    assert done.returncode == 4, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_damaged_dataset_names_file_and_line(tmp_path: Path) -> None:
    done = suites(tmp_path, f"--dataset={damaged_mini(tmp_path)}")
    assert done.returncode == 4
    assert "test.jsonl:3" in done.stderr


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    done = suites(tmp_path, f"--dataset={empty_valid(tmp_path)}")
    assert done.returncode == 4
    assert "valid.jsonl" in done.stderr


def test_an_adapter_of_another_base_is_refused_with_every_mismatch(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_file(
        {
            "model.layers.0.self_attn.q_proj.lora_a": np.zeros((999, 8), np.float32),
            "model.layers.77.self_attn.q_proj.lora_b": np.zeros((8, 64), np.float32),
        },
        adapter / "adapters.safetensors",
    )
    config = {
        "fine_tune_type": "lora",
        "num_layers": 16,
        "lora_parameters": {"rank": 8, "scale": 20.0, "dropout": 0.0},
    }
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    done = suites(tmp_path, f"--adapter-path={adapter}")
    assert done.returncode == 1
    assert "999" in done.stdout
    assert "layers.77" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_prompt_longer_than_the_context_is_named(tmp_path: Path) -> None:
    done = suites(tmp_path, "--set", "max_seq_length=64")
    assert done.returncode == 1
    assert "max_seq_length" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_loss_that_is_no_number_stops_the_run_and_caches_nothing(tmp_path: Path) -> None:
    done = suites(tmp_path, "--set", "learning_rate=1e30", "--set", "iters=6")
    assert done.returncode == 1
    assert "diverged" in done.stdout
    assert "learning_rate" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not list((tmp_path / "cache").glob("tunebench/finetune/*/adapters.safetensors"))
