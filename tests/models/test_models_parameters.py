"""Counts and sizes come from the configuration alone and match the published article."""

from __future__ import annotations

from typing import Any

import pytest
from mlx.utils import tree_flatten

from harness.cli.machine import render_params
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.models.load import load
from harness.models.parameters import predict
from harness.models.quantize import QuantizeSpec, quantized
from harness.models.resolve import BaseModel, read_config

MISTRAL_7B = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
ARTICLE = {
    "rank": 8,
    "scale": 20.0,
    "dropout": 0.0,
    "keys": ["self_attn.q_proj", "self_attn.v_proj"],
}


def test_the_articles_lora_is_1_703936_of_7243_436032_million() -> None:
    counts, sizes = predict(MISTRAL_7B, "lora", 16, ARTICLE)
    assert (counts.trainable, counts.total) == (1_703_936, 7_243_436_032)
    assert counts.packed_total == counts.total
    assert round(counts.per_ten_thousand, 2) == 2.35
    # 7,241,732,096 weights of two bytes; the adapter is float32.
    assert (sizes.base_bytes, sizes.adapter_bytes) == (14_483_464_192, 6_815_744)
    assert sizes.fused_bytes == sizes.base_bytes


def test_the_articles_qlora_is_of_1244_041216_million_packed() -> None:
    spec = QuantizeSpec(bits=4, group_size=64, embeddings=False)
    counts = predict(MISTRAL_7B, "lora", 16, ARTICLE, spec)[0]
    assert (counts.trainable, counts.packed_total) == (1_703_936, 1_244_041_216)
    assert counts.total == 7_243_436_032
    assert round(counts.packed_per_ten_thousand, 2) == 13.70


def test_tiny_by_hand() -> None:
    # Embedding 258*64; per block q 64*64, k and v 32*64, o 64*64, three of 64*64, two norms.
    block = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 64 + 2 * 64
    total = 258 * 64 + 16 * block + 64
    counts, sizes = predict(read_config("tiny"))
    assert (counts.trainable, counts.total, counts.packed_total) == (0, total, total)
    assert (sizes.base_bytes, sizes.adapter_bytes) == (4 * total, 0)
    # Rank 8 on q and v of the last two blocks: 8*(64+64) + 8*(64+32) each.
    lora = predict(read_config("tiny"), "lora", 2, ARTICLE)[0]
    assert lora.trainable == 2 * (8 * 128 + 8 * 96)
    full = predict(read_config("tiny"), "full", 3)[0]
    assert (full.trainable, full.total) == (3 * block, total)


def test_minus_one_is_every_layer() -> None:
    config = read_config("tiny")
    assert predict(config, "lora", -1, ARTICLE)[0] == predict(config, "lora", 16, ARTICLE)[0]


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("spec", [None, QuantizeSpec(), QuantizeSpec(bits=8, embeddings=False)])
def test_predictions_are_what_a_loaded_model_has(
    tiny: BaseModel, cache: Cache, method: str, spec: QuantizeSpec | None
) -> None:
    from mlx_lm.tuner.utils import linear_to_lora_layers

    settings: dict[str, Any] = {"rank": 8, "scale": 20.0, "dropout": 0.0}
    counts, sizes = predict(tiny.config, method, 5, settings, spec)
    model = load(quantized(tiny, spec, cache)).model
    base_bytes = sum(a.nbytes for _, a in tree_flatten(model.parameters()))
    model.freeze()
    linear_to_lora_layers(model, 5, settings, use_dora=method == "dora")
    trainable = [a for _, a in tree_flatten(model.trainable_parameters())]
    assert counts.trainable == sum(a.size for a in trainable)
    assert counts.packed_total == sum(a.size for _, a in tree_flatten(model.parameters()))
    assert sizes.base_bytes == base_bytes
    assert sizes.adapter_bytes == sum(a.nbytes for a in trainable)


def test_fused_dora_of_a_half_precision_base_grows() -> None:
    _, sizes = predict(MISTRAL_7B, "dora", 16, ARTICLE)
    # q (4096*4096) and v (1024*4096) of 16 layers go from two bytes to four.
    assert sizes.fused_bytes - sizes.base_bytes == 16 * 2 * (4096 * 4096 + 1024 * 4096)


def test_impossible_variants_are_refused() -> None:
    with pytest.raises(UserError, match="packed weights have no gradient"):
        predict(read_config("tiny"), "full", quantize=QuantizeSpec())
    with pytest.raises(UserError, match="Did you mean 'lora'"):
        predict(read_config("tiny"), "lorra")
    with pytest.raises(UserError, match="unknown architecture 'mistrall'"):
        predict({**MISTRAL_7B, "model_type": "mistrall"})
    with pytest.raises(UserError, match="does not describe a llama model"):
        predict({"model_type": "llama"})


def test_the_default_model_is_counted_without_downloading_it() -> None:
    assert predict(read_config("smollm2"))[0].total == 134_515_008


def test_the_table_is_in_millions_and_gigabytes() -> None:
    text = render_params("lora on Mistral-7B", *predict(MISTRAL_7B, "lora", 16, ARTICLE))
    text = " ".join(text.split())
    assert text.startswith("lora on Mistral-7B |")
    assert "| trainable, M | 1.704 |" in text
    assert "| total, M | 7243.436 |" in text
    assert "| base, GB | 14.483 |" in text
