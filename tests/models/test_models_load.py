"""Loading applies an adapter that fits and refuses one that does not, before MLX reads weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlx.utils import tree_flatten

from harness.cache import Cache
from harness.errors import UserError
from harness.models.backend import mx, nn
from harness.models.load import load
from harness.models.quantize import QuantizeSpec, quantized
from harness.models.resolve import BaseModel

Writer = Callable[..., Path]


@pytest.fixture
def adapter(tiny: BaseModel, tmp_path: Path) -> Writer:
    """Write an mlx-lm adapter of random LoRA or DoRA weights for a base."""

    def write(base: BaseModel = tiny, method: str = "lora", layers: int = 4) -> Path:
        from mlx_lm.tuner.utils import linear_to_lora_layers

        model = load(base).model
        model.freeze()
        settings = {"rank": 4, "scale": 20.0, "dropout": 0.0}
        linear_to_lora_layers(model, layers, settings, use_dora=method == "dora")
        weights = {
            name: mx.random.normal(array.shape, key=mx.random.key(len(name))) * 0.01
            if name.endswith(("lora_a", "lora_b"))
            else array
            for name, array in tree_flatten(model.trainable_parameters())
        }
        folder = tmp_path / "adapter"
        folder.mkdir(exist_ok=True)
        mx.save_safetensors(str(folder / "adapters.safetensors"), weights)
        config = {"fine_tune_type": method, "num_layers": layers, "lora_parameters": settings}
        (folder / "adapter_config.json").write_text(json.dumps({**config, "model": "tiny"}))
        return folder

    return write


def _refusal(base: BaseModel, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(base, folder)
    return str(caught.value)


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("bits", [None, 4, 8])
def test_an_adapter_of_either_kind_loads_on_plain_and_packed_bases(
    tiny: BaseModel, cache: Cache, adapter: Writer, method: str, bits: int | None
) -> None:
    base = quantized(tiny, None if bits is None else QuantizeSpec(bits=bits), cache)
    folder = adapter(base, method)
    tokens = mx.array([[65, 58, 32]])
    plain, tuned = load(base).model(tokens), load(base, folder).model(tokens)
    assert not mx.allclose(plain, tuned)


def test_a_loaded_model_is_evaluated_and_in_evaluation_mode(tiny: BaseModel) -> None:
    loaded = load(tiny)
    assert not loaded.model.training
    assert isinstance(loaded.model, nn.Module)
    assert loaded.base is tiny


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapters.safetensors"])
def test_each_missing_adapter_file_is_named(tiny: BaseModel, adapter: Writer, missing: str) -> None:
    folder = adapter()
    (folder / missing).unlink()
    assert f"has no {missing}" in _refusal(tiny, folder)


def test_a_missing_adapter_folder_is_named(tiny: BaseModel, tmp_path: Path) -> None:
    assert "is not a directory" in _refusal(tiny, tmp_path / "nowhere")


def test_pickled_adapters_are_not_read(tiny: BaseModel, adapter: Writer) -> None:
    folder = adapter()
    (folder / "adapters.safetensors").rename(folder / "adapters.npz")
    assert "adapters.npz; only safetensors are read" in _refusal(tiny, folder)


def test_a_truncated_adapter_is_named(tiny: BaseModel, adapter: Writer) -> None:
    folder = adapter()
    weights = folder / "adapters.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert "is truncated" in _refusal(tiny, folder)


def test_a_peft_adapter_is_recognised(tiny: BaseModel, adapter: Writer) -> None:
    folder = adapter()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    assert "PEFT adapter, which mlx-lm does not read" in _refusal(tiny, folder)


@pytest.mark.parametrize("method", ["prefix", 3])
def test_an_unknown_method_lists_the_known_ones(
    tiny: BaseModel, adapter: Writer, method: Any
) -> None:
    folder = adapter()
    (folder / "adapter_config.json").write_text(json.dumps({"fine_tune_type": method}))
    assert "Allowed: lora, dora, full" in _refusal(tiny, folder)


def test_an_adapter_of_another_base_lists_all_mismatches_at_once(
    tiny: BaseModel, adapter: Writer
) -> None:
    folder = adapter()
    path = folder / "adapters.safetensors"
    weights = mx.load(str(path))
    weights["model.layers.15.mlp.up_proj.lora_a"] = mx.zeros((96, 4))
    weights["model.layers.15.mlp.up_proj.lora_b"] = mx.zeros((4, 256))
    weights["model.layers.40.mlp.up_proj.lora_a"] = mx.zeros((64, 4))
    mx.save_safetensors(str(path), weights)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "num_layers": 41}))
    told = _refusal(tiny, folder)
    assert "made for another base than 'tiny' (4 mismatches)" in told
    assert "it adapts 41 layers, the model has 16" in told
    assert "up_proj.lora_a: width 96, the model has 64" in told
    assert "up_proj.lora_b: width 256, the model has 64" in told
    assert "the model has no model.layers.40.mlp.up_proj" in told
    assert "the base named in its adapter_config.json ('tiny')" in told
