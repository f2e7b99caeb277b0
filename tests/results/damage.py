"""Damaged copies of an adapter, for the proof that the gates see damage.

Input: an mlx-lm adapter folder -> output: folders beside each other, `noise` (Gaussian noise on
every matrix, a multiple of that matrix's own standard deviation, seeded) and `scale` (LoRA scale
doubled in the configuration, weights unchanged). A quarter of the iterations is a retraining:
`--set iters=10`. Needs no MLX: safetensors are read as numpy arrays.

    python tests/results/damage.py ADAPTER OUT [SIGMA]
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

WEIGHTS, CONFIG = "adapters.safetensors", "adapter_config.json"
SIGMA = 2.0
"""Standard deviations of noise: four fifths of what is left is noise, by power."""


def noisy(adapter: Path, out: Path, sigma: float = SIGMA, seed: int = 0) -> Path:
    """A copy whose every matrix has noise of ``sigma`` times its own standard deviation."""
    rng = np.random.default_rng(seed)
    arrays = load_file(adapter / WEIGHTS)
    damaged = {}
    for name in sorted(arrays):
        matrix = arrays[name]
        noise = rng.normal(0.0, sigma * float(matrix.std()), matrix.shape)
        damaged[name] = (matrix + noise).astype(matrix.dtype)
    with safe_open(adapter / WEIGHTS, framework="np") as opened:  # type: ignore[no-untyped-call]
        metadata = opened.metadata()
    out.mkdir(parents=True)
    save_file(damaged, out / WEIGHTS, metadata=metadata)
    shutil.copy(adapter / CONFIG, out / CONFIG)
    return out


def rescaled(adapter: Path, out: Path, factor: float = 2.0) -> Path:
    """A copy whose LoRA scale is multiplied by ``factor``."""
    config = json.loads((adapter / CONFIG).read_text("utf-8"))
    config["lora_parameters"]["scale"] *= factor
    out.mkdir(parents=True)
    shutil.copy(adapter / WEIGHTS, out / WEIGHTS)
    (out / CONFIG).write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    return out


def main(arguments: list[str]) -> None:
    """Write `noise` and `scale` under OUT."""
    adapter, out = Path(arguments[0]), Path(arguments[1])
    sigma = float(arguments[2]) if len(arguments) > 2 else SIGMA
    print(noisy(adapter, out / "noise", sigma))
    print(rescaled(adapter, out / "scale"))


if __name__ == "__main__":
    main(sys.argv[1:])
