"""The embedded model ``tiny``: random llama weights of 16 layers, width 64, for tests.

Folder -> a Hugging Face / MLX model directory (config, safetensors, byte-level tokenizer) whose
bytes are the same on every machine: weights come from raw integers of a seeded PCG64, whose
stream numpy guarantees. It has the shape of a real model (grouped-query attention, tied output,
an end token, a chat template, context 2048), so that every shipped variant runs on it unchanged;
its answers mean nothing. Needs no MLX. Vocabulary: the 256 bytes and two special tokens, so any
text survives encoding and decoding; :func:`byte_level_tokenizer` writes smollm2's as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.disk.files import write_json

VERSION = "2"
LAYERS = 16
WIDTH = 64
HIDDEN = 64
HEADS = 2
KV_HEADS = 1
CONTEXT = 2048
VOCABULARY = 258
START_ID, END_ID = 256, 257
START, END = "<|im_start|>", "<|im_end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# The residual stream starts small against what an adapter adds to it, so that a few updates at
# the shipped learning rates move the loss; with a common 1/sqrt(width) scale they hardly do.
_EMBEDDING_SCALE = 0.5
_RESIDUAL_GAIN = 0.1


def config() -> dict[str, Any]:
    """The model's ``config.json``."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "eos_token_id": END_ID,
        "pad_token_id": END_ID,
        "torch_dtype": "float32",
    }


def write(folder: Path) -> None:
    """Write the model directory into ``folder`` (made if absent)."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config())
    tokens = [*byte_alphabet(), START, END]
    write_json(folder / "tokenizer.json", byte_level_tokenizer(tokens, (START_ID, END_ID)))
    write_json(folder / "tokenizer_config.json", _tokenizer_config())
    save_file(weights(), folder / "model.safetensors", metadata={"format": "mlx"})


def weights(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Every tensor by its llama name, float32."""
    bits = np.random.PCG64(seed)

    def uniform(rows: int, columns: int, scale: float) -> NDArray[np.float32]:
        # 24 high bits are exact in float32: no platform rounds them differently.
        raw = (bits.random_raw(rows * columns) >> np.uint64(40)).astype(np.float64)
        values = (raw / 2**23 - 1.0) * (scale * math.sqrt(3.0))
        return values.astype(np.float32).reshape(rows, columns)

    kv_width = WIDTH // HEADS * KV_HEADS
    narrow = 1 / math.sqrt(WIDTH)
    tensors = {"model.embed_tokens.weight": uniform(VOCABULARY, WIDTH, _EMBEDDING_SCALE)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for name, rows, columns, scale in (
            ("self_attn.q_proj", WIDTH, WIDTH, narrow),
            ("self_attn.k_proj", kv_width, WIDTH, narrow),
            ("self_attn.v_proj", kv_width, WIDTH, narrow),
            ("self_attn.o_proj", WIDTH, WIDTH, narrow * _RESIDUAL_GAIN),
            ("mlp.gate_proj", HIDDEN, WIDTH, narrow),
            ("mlp.up_proj", HIDDEN, WIDTH, narrow),
            ("mlp.down_proj", WIDTH, HIDDEN, _RESIDUAL_GAIN / math.sqrt(HIDDEN)),
        ):
            tensors[f"{prefix}.{name}.weight"] = uniform(rows, columns, scale)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}.{name}.weight"] = np.ones(WIDTH, np.float32)
    tensors["model.norm.weight"] = np.full(WIDTH, 0.25, np.float32)
    return tensors


def byte_alphabet() -> list[str]:
    """GPT-2's printable stand-in character for each of the 256 bytes, by byte value."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unused = iter(range(256, 512))
    return [chr(byte if byte in printable else next(unused)) for byte in range(256)]


def byte_level_tokenizer(
    tokens: Sequence[str], special: Sequence[int], merges: Sequence[str] = (), words: bool = False
) -> dict[str, Any]:
    """The ``tokenizer.json`` of a byte-level BPE without BOS.

    Args:
        tokens: by id.
        special: ids of the special tokens.
        merges: pairs of tokens, each pair joined by a space, the first to be merged first.
        words: split words and single digits first (llama.cpp's pre-tokenizer type ``smollm``).
    """
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": words,
    }
    digits = {"type": "Digits", "individual_digits": True}
    split = {"type": "Sequence", "pretokenizers": [digits, byte_level]}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": tokens[number], **flags, "special": True}
            for number in special
        ],
        "normalizer": None,
        "pre_tokenizer": split if words else byte_level,
        "post_processor": None,
        "decoder": byte_level,
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
            "merges": [merge.split(" ") for merge in merges],
        },
    }


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "additional_special_tokens": [START],
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": CHAT_TEMPLATE,
    }
