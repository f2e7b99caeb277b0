"""From SmolLM2's GGUF file to a Hugging Face / MLX model directory.

GGUF (weights and tokenizer in one file, read by ``mx.load``) and config.json -> model.safetensors
in float32, tokenizer.json and tokenizer_config.json. As a program: ``python -m harness.models.gguf
FILE FOLDER``. Covers the llama architecture with Q4_0, Q4_1, Q8_0 and unquantized tensors; not a
general converter. Sources: llama.cpp's ``convert_hf_to_gguf.py`` (``LlamaModel.permute``),
``gguf-py`` (tensor names) and ``llama-vocab.cpp`` (``smollm``).
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.backend import mx
from harness.disk.files import write_json
from harness.models.tiny import byte_level_tokenizer

_TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_CONTROL_TOKEN = 3  # llama.cpp: LLAMA_TOKEN_TYPE_CONTROL


def convert(gguf: Path, folder: Path) -> None:
    """Complete the model directory ``folder``, which holds the ``config.json`` of ``gguf``."""
    loaded: Any = mx.load(str(gguf), return_metadata=True)
    tensors, metadata = loaded
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = dict(_weights(tensors, config))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    types = metadata["tokenizer.ggml.token_type"].tolist()
    tokenizer = byte_level_tokenizer(
        metadata["tokenizer.ggml.tokens"],
        [number for number, kind in enumerate(types) if kind == _CONTROL_TOKEN],
        metadata["tokenizer.ggml.merges"],
        words=True,
    )
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", _tokenizer_config(metadata))


def _weights(
    tensors: dict[str, mx.array], config: dict[str, Any]
) -> Iterator[tuple[str, mx.array]]:
    """Each tensor by its Hugging Face name, dequantized, in float32."""
    for name in sorted(tensors):
        stem, _, leaf = name.rpartition(".")
        if leaf != "weight":
            continue
        value = tensors[name]
        if f"{stem}.scales" in tensors:
            scales, biases = tensors[f"{stem}.scales"], tensors[f"{stem}.biases"]
            # GGUF's blocks are 32 weights long, and MLX packs the weights into words of 32 bits.
            bits = value.shape[-1] // scales.shape[-1]
            full = scales.astype(mx.float32), biases.astype(mx.float32)
            value = mx.dequantize(value, *full, group_size=32, bits=bits)
        value = value.astype(mx.float32)
        if stem.endswith("attn_q"):
            value = unpermute(value, config["num_attention_heads"])
        elif stem.endswith("attn_k"):
            value = unpermute(value, config["num_key_value_heads"])
        yield f"{_name(stem)}.weight", value


def _name(stem: str) -> str:
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    return f"model.layers.{block[1]}.{_TENSORS[block[2]]}" if block else _TENSORS[stem]


def unpermute(weight: mx.array, heads: int) -> mx.array:
    """Undo llama.cpp's row order of q and k ``(rows, columns)``: rotary pairs alternate."""
    rows, columns = weight.shape
    half = rows // heads // 2
    return weight.reshape(heads, half, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _tokenizer_config(metadata: dict[str, Any]) -> dict[str, Any]:
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]

    def token(name: str) -> str:
        return tokens[int(metadata[f"tokenizer.ggml.{name}_token_id"].item())]

    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "pad_token": token("padding"),
        "unk_token": token("unknown"),
        "add_bos_token": bool(metadata["tokenizer.ggml.add_bos_token"].item()),
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(metadata["llama.context_length"].item()),
        "chat_template": metadata["tokenizer.chat_template"],
    }


def _end_with_input() -> None:
    """End this process when the one that started it is gone."""
    os.read(0, 1)  # no buffered reader: its lock would be held when the interpreter ends
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
