"""A two-layer model of tiny's kind, for tests whose claim does not lie in the sixteen layers.

Folder -> the first two layers of ``harness/models/embedded/tiny.py``'s model: same widths,
tokenizer, output layer and chat template; a sixth of the time.
"""

from __future__ import annotations

from pathlib import Path

from harness.disk.files import write_json
from harness.models.embedded import tiny

LAYERS = 2


def write(folder: Path) -> Path:
    """Write the model directory into ``folder`` and return it."""
    from safetensors.numpy import save_file

    tiny.write(folder)
    write_json(folder / "config.json", tiny.config() | {"num_hidden_layers": LAYERS})
    beyond = tuple(f"model.layers.{layer}." for layer in range(LAYERS, tiny.LAYERS))
    kept = {n: array for n, array in tiny.weights().items() if not n.startswith(beyond)}
    save_file(kept, folder / "model.safetensors", metadata={"format": "mlx"})
    return folder
