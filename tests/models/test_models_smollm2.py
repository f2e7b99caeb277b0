"""The default model is the real one: rotary order, tokenizer and answers."""

from __future__ import annotations

import json

import pytest

from harness.backend import mx  # isort: skip  (the BLAS first)
from mlx.utils import tree_flatten

from harness.disk.cache import Cache
from harness.models.cpu.quantized import format_of, packed_arrays
from harness.models.embedded import smollm2
from harness.models.embedded.gguf import unpermute
from harness.models.load import LoadedModel, load
from harness.models.quantize import SOURCE, quantized
from harness.models.resolve import resolve
from harness.models.stored_as import Grid, grid_of, stored_as
from harness.runs.upgrades import upgrade


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    """From the user's cache; tests download nothing. The same claims on a model made here:
    test_models_gguf.py."""
    if not smollm2.cached(Cache()):
        pytest.skip("smollm2 was never downloaded here: python -m harness fetch smollm2")
    return load(resolve("smollm2", Cache()))


def test_rotary_pairs_go_back_to_their_halves_head_by_head() -> None:
    # Two heads of width 4; llama.cpp stores rows 0 2 1 3 of each head.
    stored = mx.array([[0], [2], [1], [3], [4], [6], [5], [7]])
    assert unpermute(stored, 2).flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.slow
def test_the_configuration_known_beforehand_is_the_converted_one(loaded: LoadedModel) -> None:
    written = json.loads((loaded.base.path / "config.json").read_text())
    assert written == smollm2.CONFIG


@pytest.mark.slow
def test_quantize_source_keeps_every_value_of_the_file(loaded: LoadedModel) -> None:
    """Bit for bit, in all 210 matrices of the blocks (4 bits) and in the embedding (8 bits)."""
    source = load(quantized(loaded.base, SOURCE, Cache()))
    assert source.base.config == {**smollm2.CONFIG, "quantization": smollm2.PACKING}
    weights = dict(tree_flatten(loaded.model.parameters()))
    packed = [(n, m) for n, m in source.model.named_modules() if "scales" in m]
    assert len(packed) == 211
    for name, layer in packed:
        dense = mx.dequantize(*packed_arrays(layer), **format_of(layer)._asdict())
        assert mx.array_equal(dense, weights[f"{name}.weight"]), name


@pytest.mark.slow
def test_it_is_called_a_4_bit_file_by_its_record_and_by_its_values(loaded: LoadedModel) -> None:
    known = stored_as(loaded.base)
    assert (known.source, known.source_bits, known.group_size) == ("gguf", 4, 32)
    assert known.note == (
        "4-bit values of a GGUF file (Q4_1, model.embed_tokens 8-bit), held as float32"
    )
    old = {"schema_version": 1, "model": {"revision": loaded.base.revision}}
    assert upgrade(old, 1)["model"]["weights"] == known.model_dump()
    assert grid_of(loaded.base.path) == Grid(4, 32)


@pytest.mark.slow
def test_the_capital_of_france_is_paris(loaded: LoadedModel) -> None:
    from mlx_lm import generate

    answer = generate(loaded.model, loaded.tokenizer, "The capital of France is", max_tokens=3)
    assert answer.strip().startswith("Paris")


@pytest.mark.slow
def test_its_tokenizer_splits_digits_and_keeps_any_text(loaded: LoadedModel) -> None:
    tokenizer = loaded.tokenizer
    text = "SELECT COUNT School/Club Team FROM 1-10015132-16 WHERE Player = 'José “Ōta” 😀'\n\t x"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert [tokenizer.decode([token]) for token in tokenizer.encode("1984")] == list("1984")
    assert tokenizer.encode("Hello world") == [19556, 905]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_ids) == (1, {2})
    assert tokenizer.encode("A:")[0] != tokenizer.bos_token_id
    added = json.loads((loaded.base.path / "tokenizer.json").read_text())["added_tokens"]
    assert len(added) == 17


@pytest.mark.slow
def test_its_chat_template_asks_in_chatml(loaded: LoadedModel) -> None:
    rendered = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, tokenize=False
    )
    assert rendered.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
