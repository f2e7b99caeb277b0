"""The tiny model is the same everywhere, complete, and able to learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.backend import mx, nn, optim
from harness.disk.files import sha256_file
from harness.models.embedded import tiny as tiny_model
from harness.models.load import LoadedModel, load
from harness.models.resolve import BaseModel


@pytest.fixture(scope="module")
def loaded(tiny: BaseModel) -> LoadedModel:
    return load(tiny)


def test_its_bytes_are_the_same_on_every_machine(tmp_path: Path) -> None:
    tiny_model.write(tmp_path)
    assert sha256_file(tmp_path / "model.safetensors") == (
        "d818a57b12410dcad9c778a7c38e11e0e2e6fda06fa1b823c86fe8e24fb184b9"
    )


def test_it_has_the_size_that_every_shipped_variant_fits(tiny: BaseModel) -> None:
    assert (tiny.layers, tiny.config["hidden_size"]) == (16, 64)
    assert tiny.config["max_position_embeddings"] >= 2048
    assert tiny.config["tie_word_embeddings"]


@settings(max_examples=60)
@given(text=st.text(max_size=80))
def test_any_text_survives_its_tokenizer(loaded: LoadedModel, text: str) -> None:
    ids = loaded.tokenizer.encode(text)
    assert loaded.tokenizer.decode(ids) == text
    special = sum(text.count(word) for word in (tiny_model.START, tiny_model.END))
    assert special or ids == list(text.encode("utf-8"))


def test_it_has_one_stop_token_and_no_bos(loaded: LoadedModel) -> None:
    assert loaded.tokenizer.eos_token_ids == {tiny_model.END_ID}
    assert loaded.tokenizer.bos_token_id is None
    assert loaded.tokenizer.encode("A:")[:1] == [ord("A")]


def test_its_chat_template_ends_where_the_answer_begins(loaded: LoadedModel) -> None:
    rendered = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, tokenize=False
    )
    assert rendered == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_a_few_updates_at_the_shipped_learning_rate_lower_its_loss(tiny: BaseModel) -> None:
    from mlx_lm.tuner.utils import linear_to_lora_layers

    model = load(tiny).model
    model.freeze()
    mx.random.seed(0)
    linear_to_lora_layers(model, 16, {"rank": 8, "scale": 20.0, "dropout": 0.0})
    tokens = mx.array(np.frombuffer(b"A: SELECT Player FROM 1-2 WHERE No. = '7'", np.uint8)[None])

    def loss(model: Any) -> mx.array:
        logits = model(tokens[:, :-1])
        return nn.losses.cross_entropy(logits, tokens[:, 1:], reduction="mean")

    step = nn.value_and_grad(model, loss)
    adam = optim.Adam(1e-4)
    losses = []
    for _ in range(6):
        value, gradient = step(model)
        adam.update(model, gradient)
        losses.append(value.item())
    assert losses[-1] < losses[0] - 1.0
