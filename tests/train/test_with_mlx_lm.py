"""What we leave works with stock mlx-lm's commands, and under mlx.launch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from training_rows import make_variant

from harness.backend import mx
from harness.data.tokens import TokenizedExample
from harness.models.load import LoadedModel
from harness.train.finetune import finetune
from harness.train.resume_state import checkpoints_in
from harness.train.variant import Variant
from tests.rounding import ADAM, SAME_LOSS

Loader = Callable[[Variant], LoadedModel]
Rows = list[TokenizedExample]
BIN = Path(sys.executable).parent


@pytest.mark.slow
@pytest.mark.parametrize("name", ["article/lora", "article/qlora", "dora", "full"])
def test_mlx_lm_generate_loads_the_adapter_and_every_checkpoint(
    name: str, loader: Loader, rows: Rows, valid: Rows, out: Path
) -> None:
    variant = make_variant(name, iters=2, save_every=1, steps_per_eval=50, val_batches=1)
    loaded = loader(variant)
    finetune(loaded, variant, rows, valid, out)
    for folder in (out, next(iter(checkpoints_in(out).values()))):
        command = [str(BIN / "mlx_lm.generate"), "--model", str(loaded.base.path)]
        command += ["--adapter-path", str(folder), "--prompt", "table: x", "--max-tokens", "3"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Generation: " in done.stdout


RANK = """
import sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from training_rows import make_rows, make_variant
from harness.disk.cache import Cache
from harness.models.load import load
from harness.models.resolve import resolve
from harness.train.finetune import finetune
variant = make_variant("article/lora", iters=6, batch_size=4)
loaded = load(resolve("tiny", Cache(Path(sys.argv[3]))))
finetune(loaded, variant, make_rows(21, 0), make_rows(9, 1), Path(sys.argv[4]))
"""


@pytest.mark.slow
def test_two_ranks_train_the_same_adapter_as_one(tmp_path: Path) -> None:
    here = Path(__file__).resolve().parent
    script = tmp_path / "rank.py"
    script.write_text(RANK, encoding="utf-8")
    curves, weights = [], []
    launch = [str(BIN / "mlx.launch"), "-n", "2", "--backend", "ring", "--python", sys.executable]
    for ranks, start in ((1, [sys.executable]), (2, launch)):
        out = tmp_path / f"ranks-{ranks}"
        arguments = [
            str(script),
            str(here),
            str(here.parents[1]),
            str(tmp_path / "cache"),
            str(out),
        ]
        # The cache is filled by the first run, so that two ranks do not race for it.
        done = subprocess.run(
            [*start, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=os.environ | {"PYTHONPATH": str(here.parents[1])},
        )
        assert done.returncode == 0, done.stderr
        curves.append(json.loads((out / "finetune.json").read_text())["curve"])
        weights.append(mx.load(str(out / "adapters.safetensors")))
    for one, two in zip(*curves, strict=True):
        assert two["val_loss"] == pytest.approx(one["val_loss"], rel=SAME_LOSS)
        if one["iteration"]:
            assert two["train_loss"] == pytest.approx(one["train_loss"], rel=SAME_LOSS)
    for name, array in weights[0].items():
        apart = np.sqrt(np.mean((np.array(array) - np.array(weights[1][name])) ** 2))
        # Six updates at a rate of 1e-5; Adam's largest step is (1 - b1) / sqrt(1 - b2) of it.
        assert apart <= ADAM * 6 * 1e-5 * 0.1 / 0.001**0.5, name
