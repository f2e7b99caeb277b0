"""What PEFT's own forward pass gives with adapters on a tiny random model: numbers for the tests.

`python tests/models/peft_reference.py` needs torch, transformers and peft (an environment of its
own: `test_peft.py` makes one) and prints one JSON object: by case, the adapter's configuration as
PEFT saved it, its tensors' names and shapes, and the logits of one text. Values of weights follow
from their names (:func:`values`), so that the tests make the same model and adapters without torch.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
TOKENS = (1, 9, 30, 2, 17, 5)
ATTENTION = ["q_proj", "v_proj"]
CASES: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 8, "target_modules": ATTENTION},
    "rank-stabilised": {"r": 4, "lora_alpha": 6, "target_modules": ATTENTION, "use_rslora": True},
    "ranks and alphas by module": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": [*ATTENTION, "down_proj"],
        "rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.down_proj": 6},
        "alpha_pattern": {"down_proj": 3, r"layers\.0\.self_attn\.v_proj": 16},
    },
    "one layer": {
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["o_proj", "up_proj"],
        "layers_to_transform": [1],
    },
    "all linear layers and the output": {
        "r": 3,
        "lora_alpha": 3,
        "target_modules": [*ATTENTION, "k_proj", "o_proj", "gate_proj", "lm_head"],
    },
    "dora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "use_dora": True},
}


def shapes() -> dict[str, tuple[int, ...]]:
    """The model's weights by name."""
    width, inner, vocabulary = (
        CONFIG[k] for k in ("hidden_size", "intermediate_size", "vocab_size")
    )
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, width),
        "model.norm.weight": (width,),
        "lm_head.weight": (vocabulary, width),
    }
    half = width // 2
    for layer in range(CONFIG["num_hidden_layers"]):
        of_layer = {
            "self_attn.q_proj": (width, width),
            "self_attn.k_proj": (half, width),
            "self_attn.v_proj": (half, width),
            "self_attn.o_proj": (width, width),
            "mlp.gate_proj": (inner, width),
            "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
            "input_layernorm": (width,),
            "post_attention_layernorm": (width,),
        }
        found |= {f"model.layers.{layer}.{name}.weight": size for name, size in of_layer.items()}
    return found


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 from -0.5 to 0.5 that the name decides; norms and magnitudes from 0.75 to 1.25."""
    name = name.replace(".default", "").removesuffix(".weight")
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(math.prod(shape))
    uniform = (raw >> np.uint64(11)) * 2.0**-53 - 0.5
    if "norm" in name or "magnitude" in name:
        uniform = 1.0 + uniform / 2
    return uniform.reshape(shape).astype(np.float32)


def weights() -> dict[str, np.ndarray]:
    """The model's weights."""
    return {name: values(name, shape) for name, shape in shapes().items()}


def reference(settings: dict[str, Any]) -> dict[str, Any]:
    """One case: PEFT's configuration, tensors and logits."""
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors import safe_open
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in CONFIG.items() if k != "model_type"}))
    model.load_state_dict({name: torch.from_numpy(w) for name, w in weights().items()})
    adapted = get_peft_model(model.float(), LoraConfig(**settings)).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.from_numpy(values(name, tuple(parameter.shape))))
        logits = adapted(torch.tensor([TOKENS])).logits[0]
    with tempfile.TemporaryDirectory() as folder:
        adapted.save_pretrained(folder)
        config = json.loads((Path(folder) / "adapter_config.json").read_text("utf-8"))
        with safe_open(Path(folder) / "adapter_model.safetensors", "np") as file:
            tensors = {name: list(file.get_tensor(name).shape) for name in sorted(file.keys())}
    # A set, which PEFT writes in an order of its own.
    config["target_modules"] = sorted(config["target_modules"])
    rows = [[round(float(value), 6) for value in row] for row in logits]
    return {"config": config, "tensors": tensors, "logits": rows}


if __name__ == "__main__":
    json.dump(
        {name: reference(settings) for name, settings in CASES.items()}, sys.stdout, indent=None
    )
