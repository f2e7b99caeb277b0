"""One configuration reader for every architecture's keys."""

from __future__ import annotations

import pytest

from harness.models.config import ModelConfig


def test_context_length_is_read_from_the_config() -> None:
    assert ModelConfig({"max_position_embeddings": 2048}).context == 2048
    assert ModelConfig({"text_config": {"max_position_embeddings": 77}}).context == 77
    assert ModelConfig({}).context is None


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layers", "n_layer", "num_layers"])
def test_layers_are_found_under_each_architectures_key(key: str) -> None:
    assert ModelConfig({key: 12}).layers == 12


def test_the_language_part_comes_before_the_whole_which_fills_in() -> None:
    config = ModelConfig({"text_config": {"hidden_size": 8}, "hidden_size": 9, "vocab_size": 5})
    assert (config.hidden, config.vocabulary, config.intermediate) == (8, 5, None)


def test_quantization_of_another_tool_is_not_mlx_lms() -> None:
    other = ModelConfig({"quantization_config": {"quant_method": "awq"}})
    assert other.quantization == {"quant_method": "awq"}
    assert other.mlx_quantization is None
    assert ModelConfig({"quantization": {"bits": 4}}).mlx_quantization == {"bits": 4}
