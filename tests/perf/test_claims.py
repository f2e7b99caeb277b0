"""Floors under two ratios of results/PERFORMANCE.md: `pytest tests/perf -m slow -s`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.rounding import SAME_LOSS

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        platform.system() != "Linux", reason="about MLX's CPU backend on Linux; Metal has its own"
    ),
]


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def measured(what: str) -> dict[str, Any]:
    # The claims are about a machine's own choice of threads, not about that of `make test`.
    own = {name: value for name, value in os.environ.items() if name not in THREADS}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("claims.py")), what],
        cwd=ROOT,
        env={**own, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{what}: {value}")
    return value


def test_a_quantized_training_step_is_at_least_8_times_stock_mlx_lm() -> None:
    ours, stock = measured("our-step"), measured("stock-step")
    ratio = stock["seconds"] / ours["seconds"]
    print(f"QLoRA step: {ratio:.1f} times stock mlx-lm")
    assert ours["loss"] == pytest.approx(stock["loss"], rel=SAME_LOSS)
    assert ratio >= 8


def test_generation_is_at_least_4_times_one_prompt_after_another() -> None:
    result = measured("generation")
    ratio = result["loop_s"] / result["ours_s"]
    print(f"generation: {ratio:.1f} times a loop over mlx_lm.generate")
    assert result["same"] == result["of"]
    assert ratio >= 4
