"""Options: every mistake is one line that names the value and what is allowed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forks

ROOT = Path(__file__).resolve().parents[2]


def collect(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`pytest suites/ --collect-only` with ``arguments``: checks options, loads nothing."""
    return forks.run("-m", "pytest", "suites/", "--collect-only", "-q", *arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--variant=qlra"], "Did you mean 'qlora'?"),
        (["--variant=lora,,qlora"], "empty name"),
        (["--set", "iters"], "KEY=VALUE"),
        (["--set", "itres=4"], "iters"),
        (["--sweep", "iters="], "KEY=V1,V2"),
        (["--sweep=lora_parameters.rnk=4,8"], "Did you mean 'lora_parameters.rank'?"),
        (["--sweep=seed=0,1"], "--seeds 0,1"),
        (["--sweep=iters=4,8", "--sweep=iters=9"], "--sweep iters was given 2 times"),
        (["--sweep=iters=4,8", "--set=iters=9"], "--set and --sweep both give iters"),
        (["--limit=0"], "--limit '0'"),
        (["--seed=x"], "--seed 'x'"),
        (["--seed=1", "--seeds=1,2"], "contradict"),
        (["--seeds=1,1"], "twice"),
        (["--prompt-style=dialct"], "dialect"),
        (["--run-name=a/b"], "folder name"),
        (["--bless"], "--baseline"),
        (["--bless", "--baseline=x", "--seeds=0,1"], "--bless makes one run the baseline"),
        (["--baseline=nowhere/results.json"], "nowhere/results.json"),
        (["--gates=nowhere.toml", "--baseline=results/smollm2-mini"], "nowhere.toml"),
        (["--gates=fixtures/gates.toml"], "--gates FILE needs --baseline"),
        (["--strict"], "needs --baseline"),
        (["--adapter-path="], "is not DIR or NAME=DIR"),
        (["--adapter-path=mine="], "is not DIR or NAME=DIR"),
        (["--adapter-path=a", "--seeds=0,1"], "adapters of one seed each"),
        (["--model="], "--model got an empty name"),
        (["--model=tiny", "--model", "smollm2"], "--model was given 2 times: a run has one"),
        (["--checkpoints=10,x"], "'x'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_4(arguments: list[str], expected: str) -> None:
    done = collect(*arguments)
    assert done.returncode == 4, done.stdout + done.stderr
    message = done.stderr.strip()
    assert expected in message
    assert "Traceback" not in message


def test_pytests_own_strict_setting_asks_for_no_strict_gates() -> None:
    # A project's `strict = true`; the flag would be refused here, without --baseline.
    assert collect("-o", "strict=true").returncode == 0


def written_adapter(folder: Path, **config: object) -> Path:
    """A folder with the configuration of an mlx-lm adapter."""
    folder.mkdir(parents=True)
    settings = {"num_layers": 16, "lora_parameters": {"rank": 8, "scale": 20.0, "dropout": 0.0}}
    (folder / "adapter_config.json").write_text(json.dumps(settings | config))
    return folder


def variants_of(*arguments: str) -> list[str]:
    """The variants whose loss on the whole text would be measured."""
    done = collect("-k", "whole_text", *arguments)
    assert done.returncode == 0, done.stderr
    return re.findall(r"\[(.+)\]$", done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_which_variants_adapters_stand_for(tmp_path: Path) -> None:
    a = f"--adapter-path={written_adapter(tmp_path / 'a' / 'adapters', model='tiny')}"
    b = written_adapter(tmp_path / "b" / "adapters", model="tiny")
    assert variants_of(a) == ["base", "adapters"]
    assert variants_of(a, f"--adapter-path=b={b}") == ["base", "adapters", "b"]
    assert variants_of(a, "--variant=lora") == ["lora"]
    assert variants_of(a, "--variant=base,lora") == ["base", "lora"]
    assert variants_of(a, "--variant=lora,qlora") == ["lora", "qlora", "adapters"]
    assert variants_of(f"--adapter-path=b={b}", "--variant=lora") == ["lora", "b"]
    twice = collect(a, f"--adapter-path={b}")
    assert twice.returncode == 4
    assert f"--adapter-path NAME={b}" in twice.stderr


def test_one_run_has_one_model(tmp_path: Path) -> None:
    a = written_adapter(tmp_path / "a", model="tiny")
    b = written_adapter(tmp_path / "b", model="smollm2")
    done = collect(f"--adapter-path={a}", f"--adapter-path={b}")
    assert done.returncode == 4
    assert f"'tiny' ({a}), 'smollm2' ({b}). Give --model." in done.stderr
    assert collect(f"--adapter-path={a}", f"--adapter-path={b}", "--model=tiny").returncode == 0
    nameless = written_adapter(tmp_path / "c")
    assert "Name it with --model" in collect(f"--adapter-path={nameless}").stderr


def test_collecting_never_imports_mlx() -> None:
    script = (
        "import sys, pytest\n"
        "status = pytest.main(['suites/', '--collect-only', '-q'])\n"
        "sys.exit(9 if 'mlx.core' in sys.modules else status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_a_variant_lora_and_qlora_are_compared() -> None:
    expected = collect().stdout
    assert "test_execution_accuracy[lora]" in expected
    assert "test_execution_accuracy[qlora]" in expected


def test_timings_come_last() -> None:
    tests = [line for line in collect().stdout.splitlines() if "::" in line]
    timed = [i for i, line in enumerate(tests) if "test_throughput" in line]
    assert timed == list(range(len(tests) - len(timed), len(tests)))
