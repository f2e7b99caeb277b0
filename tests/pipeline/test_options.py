"""Options: every mistake is one line that names the value and what is allowed."""

from __future__ import annotations

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
        (["--variant=lora,qlora", "--adapter-path=x"], "exactly one --variant"),
        (["--checkpoints=10,x"], "'x'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_4(arguments: list[str], expected: str) -> None:
    done = collect(*arguments)
    assert done.returncode == 4, done.stdout + done.stderr
    message = done.stderr.strip()
    assert expected in message
    assert "Traceback" not in message


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
