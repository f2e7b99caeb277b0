"""Peaks of training and answering, measured on random weights of the shapes of real models.

`python tests/train/memory_of_shapes.py SHAPE LAYERS BITS PATH VARIANT BATCH LENGTH` prints one JSON
line; with a further word `train` nothing is answered, which takes longest. PATH is ``cpu`` (this
machine's own kernels) or ``gpu``: what Metal and CUDA compute, nothing replaced and every type
kept, on MLX's CPU device. BITS is 4, 16 (bfloat16) or 32. No weights are written; no tokenizer is
needed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    "mistral-7b": {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32768,
        "num_hidden_layers": 32, "tie_word_embeddings": False,
    },
    "llama-3-8b": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "num_hidden_layers": 32, "tie_word_embeddings": False,
    },
    "qwen3-8b": {
        "model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "num_hidden_layers": 36, "tie_word_embeddings": False,
    },
    "qwen3-4b": {
        "model_type": "qwen3", "hidden_size": 2560, "intermediate_size": 9728,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "num_hidden_layers": 36, "tie_word_embeddings": True,
    },
    "qwen3-0.6b": {
        "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "num_hidden_layers": 28, "tie_word_embeddings": True,
    },
}  # fmt: skip
"""``config.json`` of real models, as far as it decides sizes."""


def config_of(shape: str, layers: int | None = None) -> dict[str, Any]:
    """The configuration of a shape, with fewer layers where they are given."""
    shared = {"rms_norm_eps": 1e-5, "rope_theta": 1e6, "max_position_embeddings": 32768}
    found = {**SHAPES[shape], **shared, "torch_dtype": "bfloat16"}
    return found | ({"num_hidden_layers": layers} if layers else {})


def measure(
    config: dict[str, Any], bits: int, path: str, variant: str, rows: tuple[int, int], answer: bool
) -> dict[str, Any]:
    """Bytes: of the weights, and MLX's peaks of training on a batch of ``rows`` (how many, of how
    many tokens) and, if asked, of answering 16 prompts.

    ``variant`` is a shipped name with settings behind it: ``lora,grad_checkpoint=true``.
    """
    import harness.backend
    from harness.measure.decode import decoder_of
    from harness.measure.memory import MemoryPhase
    from harness.models.load import LoadedModel
    from harness.models.parameters import _build
    from harness.models.resolve import BaseModel
    from harness.train.finetune import finetune
    from harness.train.variants import load_variants

    mx, nn = harness.backend.mx, harness.backend.nn
    if path == "gpu":
        for module in ("models.cpu.accelerate", "train.mlx_lm_trainer"):
            __import__(f"harness.{module}")
            sys.modules[f"harness.{module}"].backend_name = lambda: "metal"
    model = _build(config)
    model.set_dtype({16: mx.bfloat16, 32: mx.float32}.get(bits, mx.bfloat16))
    if bits < 16:
        nn.quantize(model, 64, bits)
        config = config | {"quantization": {"bits": bits, "group_size": 64}}
    model.eval()
    from mlx.utils import tree_flatten

    weights = tree_flatten(model.parameters())
    for _, array in weights:
        mx.eval(array)
    base = BaseModel(config["model_type"], Path(), None, "0", config["model_type"], config)
    loaded = LoadedModel(model, None, base)
    batch, length = rows
    name, *settings = variant.split(",")
    short = {"iters": "2", "val_batches": "1", "steps_per_eval": "9", "batch_size": str(batch)}
    changes = short | dict(setting.split("=") for setting in settings)
    chosen = load_variants([name], changes)[0].model_copy(update={"quantize": None})
    examples = [_row(number, length) for number in range(2 * batch)]
    found = {"weights": sum(array.nbytes for _, array in weights)}
    del weights
    with tempfile.TemporaryDirectory() as folder:
        trained = finetune(loaded, chosen, examples, examples[:batch], Path(folder))
    found["train"] = trained.train.mlx_peak_bytes
    found["validate"] = trained.validation.mlx_peak_bytes
    if not answer:
        return found
    loaded.accelerate()
    with MemoryPhase() as phase:
        decoder = decoder_of(model, [_row(n, length).tokens for n in range(16)])
        for _ in range(3):
            decoder.step()
    found["answer"] = phase.measured.mlx_peak_bytes
    return found


def _row(number: int, length: int) -> Any:
    from harness.data.tokens import TokenizedExample

    tokens = tuple((7 * number + 13 * at) % 1000 for at in range(length))
    return TokenizedExample(number, f"t{number}", tokens, length // 2)


if __name__ == "__main__":
    keys = ("shape", "layers", "bits", "path", "variant", "batch", "length")
    asked = dict(zip(keys, sys.argv[1:8], strict=True))
    config = config_of(asked["shape"], int(asked["layers"]))
    rows = (int(asked["batch"]), int(asked["length"]))
    found = measure(
        config, int(asked["bits"]), asked["path"], asked["variant"], rows, "train" not in sys.argv
    )
    print(json.dumps(asked | found))
    os._exit(0)
