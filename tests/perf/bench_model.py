"""Rows of `make perf` that run a model: training, generation, test loss, memory.

Each side runs in processes of its own (`child.py`), interleaved. The stock sides take minutes a
step: they are run once, and the row notes it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from perf_projection import WIKISQL_TEST, mistral_s, projected_s
from table import ROOT, Measured, Row, faster, have, keep

ITERATIONS = "16"
ADAPTER = ROOT / "build" / "perf" / "adapter"
PROMPTS = 64
TEST_ROWS = 64

_STEPS: dict[tuple[str, ...], Any] = {}


def child(*arguments: str) -> Any:
    """The JSON that `child.py` prints for these arguments."""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / "child.py"), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{here}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def step(*arguments: str) -> Any:
    """As ``child("step", ...)``, once a session: speed and memory rows read the same one."""
    if arguments not in _STEPS:
        _STEPS[arguments] = child("step", *arguments)
    return _STEPS[arguments]


def skip_if_there(name: str) -> None:
    """Leave out what a resumed run has."""
    if have(name):
        pytest.skip(f"{name} is measured on this commit (MISSING=1)")


def test_lora_and_overhead() -> None:
    skip_if_there("lora")
    ours, theirs = [], []
    for _ in range(2):
        ours.append(child("train", "ours", ITERATIONS))
        theirs.append(child("train", "mlx_lm", ITERATIONS))
    keep(
        faster(
            "lora",
            "fine-tune LoRA, float32, CPU",
            "mlx-lm's trainer, same BLAS",
            [side["seconds_per_token"] * 1e3 for side in ours],
            [side["seconds_per_token"] * 1e3 for side in theirs],
            (1.8, 2.2),
            "ms a real token",
            f"smollm2 on mini, batch 4, {ITERATIONS} iterations, the first left out; "
            f"validation loss after them {ours[-1]['val_loss']:.3f} against "
            f"{theirs[-1]['val_loss']:.3f} (other batches: theirs are cut from file order), "
            f"largest resident set {ours[-1]['peak_rss'] / 1e9:.2f} GB against "
            f"{theirs[-1]['peak_rss'] / 1e9:.2f}",
        )
    )
    shares = [side["overhead"] for side in ours]
    keep(
        Row(
            "overhead",
            "overhead of the harness inside training",
            "the whole",
            Measured(tuple(100 * share for share in shares), "%"),
            None,
            sorted(shares)[len(shares) // 2],
            "%",
            0.02,
            0.005,
            False,
            "time in our batches and callbacks over the time of the training loop, validation and "
            "saving left out; of the row `lora`",
        )
    )


@pytest.mark.parametrize(
    ("name", "method", "limits"),
    [("lora_stock", "lora", (20, 28)), ("qlora", "qlora", (20, 24))],
    ids=["lora_stock", "qlora"],
)
def test_step(name: str, method: str, limits: tuple[float, float]) -> None:
    skip_if_there(name)
    ours, stock = step("ours", method, "6"), step("stock", method, "1")
    assert ours["loss"] == pytest.approx(stock["loss"], rel=1e-4)
    keep(
        faster(
            name,
            f"fine-tune {method}: forward and backward of 4 x 83 tokens",
            "stock mlx-lm as pip installs it",
            ours["seconds"],
            stock["seconds"],
            limits,
            "s",
            f"one stock step only, it takes a minute; loss {ours['loss']:.5f} against "
            f"{stock['loss']:.5f}; BLAS {ours['blas']} against {stock['blas']}",
        )
    )


def test_memory() -> None:
    skip_if_there("memory")
    ours, stock = step("ours", "qlora", "6"), step("stock", "qlora", "1")
    sides = [Measured((side["mlx_peak_bytes"] / 1e9,), "GB") for side in (ours, stock)]
    keep(
        Row(
            "memory",
            "peak memory of fine-tuning a quantized base",
            "stock mlx-lm",
            *sides,
            sides[0].median / sides[1].median,
            "x",
            1.1,
            1.0,
            False,
            "MLX's peak over the step of the row `qlora`; resident set "
            f"{ours['peak_rss'] / 1e9:.2f} GB against {stock['peak_rss'] / 1e9:.2f}, in both "
            "with loading the model and MLX itself",
        )
    )


def adapter() -> str:
    """The trained adapter that answers; trained on first use, kept under build/."""
    ADAPTER.parent.mkdir(parents=True, exist_ok=True)
    child("adapter", str(ADAPTER))
    return str(ADAPTER)


def test_generation() -> None:
    skip_if_there("generation")
    data = child("generation", adapter(), str(PROMPTS))
    keep(
        faster(
            "generation",
            "generate test SQL, seconds a prompt",
            "a loop over `mlx_lm.generate`, same BLAS",
            data["ours"],
            data["loop"],
            (10, 12),
            "s",
            f"all {data['all']} test prompts of mini, the LoRA adapter as shipped, float32, "
            f"{data['tokens']:.0f} tokens on average; the loop over {data['of']} of them, evenly "
            f"spaced, of which {data['same']} answers are equal; ours before and after the loop. "
            f"Batches of 16, {data['joined']} of them decoded as one (by rule), adapters "
            f"folded into the weights; one batch at a time takes {data['by_batch']:.3f} s a prompt "
            f"and gives {data['same_by_batch']} of {data['all']} answers alike",
            "a row costs its attention over the cache and its share of the matrix products "
            "however many go together (the table of a decoding step)",
        )
    )


def test_projection() -> None:
    skip_if_there("projection")
    found = child("projection", adapter())
    sample, whole = found["sample"], found["all"]
    expected = projected_s(sample, whole["rows"], whole["prompt_tokens"])
    scored = child("scored", "10000")["warm"] / 10_000 * WIKISQL_TEST
    prompt, answer = (whole[name] / whole["rows"] for name in ("prompt_tokens", "answer_tokens"))
    answered = projected_s(sample, WIKISQL_TEST, WIKISQL_TEST * prompt)
    fast, slow = (mistral_s(WIKISQL_TEST, prompt, answer, *m) for m in ((13_600, 400), (150, 40)))
    keep(
        Row(
            "projection",
            f"{whole['rows']:.0f} answers, projected from {sample['rows']}: how far off",
            "measured",
            Measured((expected,), "processor s"),
            Measured((whole["seconds"],), "processor s"),
            abs(expected / whole["seconds"] - 1),
            "%",
            0.5,
            0.25,
            False,
            "a token of prompt or answer costs what it does in the sample; prompts of "
            f"{prompt:.0f} tokens, answers of {answer:.0f}. So {WIKISQL_TEST:,} answers of smollm2 "
            f"take {answered / 3600:.1f} processor hours here, and scoring them {scored:.0f} s. "
            "Mistral-7B in 4 bits by its own arithmetic (7.25 G weights of 4.5 bits, two "
            "operations a weight and token, 64 rows a step), never measured: "
            f"{fast / 3600:.1f} h at 13.6 TFLOP/s and 400 GB/s, {slow / 3600:.0f} h at 150 GFLOP/s "
            "and 40 GB/s, where both are kept busy",
        )
    )


def test_test_loss() -> None:
    skip_if_there("test_loss")
    data = child("test_loss", adapter(), str(TEST_ROWS))
    assert data["loss"] == pytest.approx(data["their_loss"], abs=1e-5)
    keep(
        faster(
            "test_loss",
            "test loss and PPL, all three protocols, ms a row",
            "mlx-lm's `evaluate` (`mlx_lm.lora --test`), same BLAS",
            [1e3 * seconds for seconds in data["ours"]],
            [1e3 * seconds for seconds in data["mlx_lm"]],
            (1.2, 1.35),
            "ms",
            f"{TEST_ROWS} test rows of mini in turns; `mlx_lm_compat` {data['loss']:.6f}, "
            f"theirs {data['their_loss']:.6f}",
        )
    )
