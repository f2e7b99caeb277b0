"""From a llama-type GGUF file to a Hugging Face / MLX model directory.

GGUF (weights, hyperparameters and tokenizer in one file, read by ``mx.load``) -> config.json,
model.safetensors in float32, tokenizer.json and tokenizer_config.json. As a program:
``python -m harness.models.gguf FILE FOLDER``. Covers what ``smollm2`` needs: the llama
architecture, Q4_0, Q4_1, Q8_0 and unquantized tensors, a byte-level BPE of pre-tokenizer type
``smollm``; not a general converter. Sources: llama.cpp's ``convert_hf_to_gguf.py``
(``LlamaModel.permute``), ``gguf-py`` (tensor names) and ``llama-vocab.cpp`` (``smollm``).
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.backend import mx
from harness.disk.files import write_json
from harness.errors import UserError

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
    """Write the model directory of ``gguf`` into ``folder``.

    Raises:
        UserError: the architecture or the tokenizer is not the kind this module reads.
    """
    loaded: Any = mx.load(str(gguf), return_metadata=True)
    tensors, metadata = loaded
    kinds = (metadata["general.architecture"], metadata.get("tokenizer.ggml.pre"))
    if kinds != ("llama", "smollm"):
        raise UserError(
            f"{gguf.name}: architecture {kinds[0]!r} with pre-tokenizer {kinds[1]!r} is not read "
            "here. Allowed: 'llama' with 'smollm'. Convert the model with mlx_lm.convert."
        )
    config = _config(metadata, tied="output.weight" not in tensors)
    weights = dict(_weights(tensors, config))
    folder.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer.json", _tokenizer(metadata))
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
            group = 32  # GGUF's block length for Q4_0, Q4_1 and Q8_0
            bits = value.shape[-1] * 32 // (scales.shape[-1] * group)
            value = mx.dequantize(
                value,
                scales.astype(mx.float32),
                biases.astype(mx.float32),
                group_size=group,
                bits=bits,
            )
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
    """Undo llama.cpp's row order for q and k (rotary pairs interleaved) head by head."""
    rows, columns = weight.shape
    half = rows // heads // 2
    return weight.reshape(heads, half, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _config(metadata: dict[str, Any], tied: bool) -> dict[str, Any]:
    def number(key: str) -> int:
        return int(metadata[key].item())

    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": number("llama.embedding_length"),
        "intermediate_size": number("llama.feed_forward_length"),
        "num_hidden_layers": number("llama.block_count"),
        "num_attention_heads": number("llama.attention.head_count"),
        "num_key_value_heads": number("llama.attention.head_count_kv"),
        "vocab_size": number("llama.vocab_size"),
        "max_position_embeddings": number("llama.context_length"),
        "rope_theta": float(metadata["llama.rope.freq_base"].item()),
        # The metadata holds it as a float32; 1e-05 is what was meant.
        "rms_norm_eps": float(f"{metadata['llama.attention.layer_norm_rms_epsilon'].item():.6g}"),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": number("tokenizer.ggml.bos_token_id"),
        "eos_token_id": number("tokenizer.ggml.eos_token_id"),
        "pad_token_id": number("tokenizer.ggml.padding_token_id"),
        "torch_dtype": "float32",
    }


def _tokenizer(metadata: dict[str, Any]) -> dict[str, Any]:
    """``tokenizer.json``: byte-level BPE after splitting digits (pre-tokenizer ``smollm``)."""
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    types = metadata["tokenizer.ggml.token_type"].tolist()
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": tokens[number],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for number, kind in enumerate(types)
            if kind == _CONTROL_TOKEN
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {**byte_level, "use_regex": True},
            ],
        },
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]],
        },
    }


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
