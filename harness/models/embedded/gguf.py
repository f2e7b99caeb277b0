"""From SmolLM2's GGUF file to a Hugging Face / MLX model directory.

GGUF (weights and tokenizer in one file, read by ``mx.load``) and config.json -> model.safetensors
in float32, tokenizer.json and tokenizer_config.json; where the file's weights are packed, its own
bits and groups beside them as a second model directory, ``packed/``: GGUF's Q4_0, Q4_1 and Q8_0
are MLX's affine quantization with groups of 32. Its scales and biases are widened to float32, so
that they give the very values of model.safetensors. As a program: ``python -m
harness.models.embedded.gguf FILE FOLDER``. Covers the llama architecture with Q4_0, Q4_1, Q8_0 and
unquantized tensors; not a general converter. Sources: llama.cpp's ``convert_hf_to_gguf.py``
(``LlamaModel.permute``), ``gguf-py`` (tensor names) and ``llama-vocab.cpp`` (``smollm``).
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.backend import mx
from harness.disk.files import write_json
from harness.models.embedded.tiny import byte_level_tokenizer
from harness.models.weights import PACKED, STORED_AS
from harness.schema.results import Weights

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
WEIGHTS = "model.safetensors"
GROUP = 32
"""Weights that share a scale, in every packing of GGUF that MLX reads."""
_FILE_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0"}
"""Names of llama.cpp's LLAMA_FTYPE: the type of most of the file's tensors."""
Module = Mapping[str, mx.array]
"""A module's ``weight``, and where it is packed its ``scales`` and ``biases``, ``(rows, …)``."""
_CONTROL_TOKEN = 3  # llama.cpp: LLAMA_TOKEN_TYPE_CONTROL


def convert(gguf: Path, folder: Path) -> None:
    """Complete the model directory ``folder``, which holds the ``config.json`` of ``gguf``."""
    loaded: Any = mx.load(str(gguf), return_metadata=True)
    tensors, metadata = loaded
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    stored = dict(_modules(tensors, config))
    save_sorted(folder / WEIGHTS, {f"{name}.weight": plain(one) for name, one in stored.items()})
    folders = [folder]
    packing = quantization_of(stored)
    if packing is not None:
        folders.append(folder / PACKED)
        folders[-1].mkdir()
        write_json(folders[-1] / "config.json", config | {"quantization": packing})
        leaves = {f"{n}.{leaf}": array for n, one in stored.items() for leaf, array in one.items()}
        save_sorted(folders[-1] / WEIGHTS, leaves)
    write_json(folder / STORED_AS, _stored_as(packing, metadata).model_dump(mode="json"))
    types = metadata["tokenizer.ggml.token_type"].tolist()
    tokenizer = byte_level_tokenizer(
        metadata["tokenizer.ggml.tokens"],
        [number for number, kind in enumerate(types) if kind == _CONTROL_TOKEN],
        metadata["tokenizer.ggml.merges"],
        words=True,
    )
    for one in folders:
        write_json(one / "tokenizer.json", tokenizer)
        write_json(one / "tokenizer_config.json", _tokenizer_config(metadata))


def save_sorted(file: Path, arrays: Mapping[str, mx.array]) -> None:
    """Write a safetensors file whose bytes do not depend on the order of ``arrays``.

    MLX's own writer follows the order of a hash table, which is another on each platform; that of
    the package `safetensors` sorts by type, then by name.
    """
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(contiguous, file, metadata={"format": "mlx"})


def _modules(
    tensors: Mapping[str, mx.array], config: Mapping[str, Any]
) -> Iterator[tuple[str, Module]]:
    """The arrays of each module by its Hugging Face name."""
    for name in sorted(tensors):
        stem, _, leaf = name.rpartition(".")
        if leaf != "weight":
            continue
        found = {"weight": tensors[name]}
        if f"{stem}.scales" in tensors:
            found |= {leaf: tensors[f"{stem}.{leaf}"] for leaf in ("scales", "biases")}
        heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
        if key := heads.get(stem.rpartition(".")[2]):
            found = {leaf: unpermute(array, config[key]) for leaf, array in found.items()}
        packed = {"weight": found.pop("weight")} if "scales" in found else {}
        yield _name(stem), packed | {n: array.astype(mx.float32) for n, array in found.items()}


def plain(module: Module) -> mx.array:
    """The weight of a module in float32, dequantized where it is packed."""
    if "scales" not in module:
        return module["weight"]
    weight, scales, biases = (module[leaf] for leaf in ("weight", "scales", "biases"))
    dense: mx.array = mx.dequantize(weight, scales, biases, GROUP, _bits(module))
    return dense


def _bits(module: Module) -> int:
    """Bits of a packed weight: MLX packs into words of 32 bits, a group is 32 weights long."""
    return int(module["weight"].shape[-1]) // int(module["scales"].shape[-1])


def quantization_of(modules: Mapping[str, Module]) -> dict[str, Any] | None:
    """``quantization`` of a config.json, as mlx-lm reads it: the packing of most modules, and of
    each module that is packed otherwise; None where none is packed."""
    bits = {name: _bits(module) for name, module in modules.items() if "scales" in module}
    if not bits:
        return None
    most, _ = Counter(bits.values()).most_common(1)[0]
    form = {"group_size": GROUP, "mode": "affine"}
    others = {name: {**form, "bits": own} for name, own in bits.items() if own != most}
    return {**form, "bits": most, **others}


def _stored_as(packing: Mapping[str, Any] | None, metadata: Mapping[str, Any]) -> Weights:
    """What `results.json` says of the weights."""
    number = metadata.get("general.file_type")
    kind = None if number is None else _FILE_TYPES.get(int(number.item()))
    form = packing or {}
    others = [f"{name} {own['bits']}-bit" for name, own in form.items() if isinstance(own, dict)]
    kinds = ", ".join([*([kind] if kind else []), *others])
    named = f"GGUF file ({kinds})" if kinds else "GGUF file"
    values = f"{form['bits']}-bit values" if form else "values"
    note = f"{values} of a {named}, held as float32"
    bits, size = form.get("bits"), form.get("group_size")
    return Weights(dtype="float32", source="gguf", source_bits=bits, group_size=size, note=note)


def _name(stem: str) -> str:
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    return f"model.layers.{block[1]}.{_TENSORS[block[2]]}" if block else _TENSORS[stem]


def unpermute(weight: mx.array, heads: int) -> mx.array:
    """Undo llama.cpp's row order of q and k ``(rows, columns)``: rotary pairs alternate. The same
    for packed weights, scales and biases, whose rows are those of the weight."""
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
