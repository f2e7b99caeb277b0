"""Loading applies an adapter that fits and refuses one that does not, before MLX reads weights."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlx.utils import tree_flatten

from harness.backend import mx, nn
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.models.adapter import check_adapter
from harness.models.load import load
from harness.models.quantize import QuantizeSpec, quantized
from harness.models.resolve import BaseModel, resolve

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


class Payload:
    """Runs a command where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_folder_of_checkpoints_alone_says_what_to_do(tiny: BaseModel, adapter: Writer) -> None:
    folder = adapter()
    (folder / "adapters.safetensors").rename(folder / "0000002_adapters.safetensors")
    said = "It holds the checkpoints 0000002_adapters.safetensors: copy one of them, named adapters"
    assert said in _refusal(tiny, folder)


@pytest.mark.parametrize(
    "name", ["adapters.npz", "adapter_model.bin", "adapters.pt", "adapters.pkl"]
)
def test_pickled_adapters_are_refused_by_name_and_never_opened(
    tiny: BaseModel, adapter: Writer, tmp_path: Path, name: str
) -> None:
    folder, trace = adapter(), tmp_path / "executed"
    (folder / "adapters.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Payload(trace)))
    assert f"{name}; only safetensors are read" in _refusal(tiny, folder)
    assert not trace.exists()


def test_a_pickle_under_the_name_of_safetensors_is_damage_and_not_executed(
    tiny: BaseModel, adapter: Writer, tmp_path: Path
) -> None:
    folder, trace = adapter(), tmp_path / "executed"
    (folder / "adapters.safetensors").write_bytes(pickle.dumps(Payload(trace)))
    (folder / "adapter.py").write_text(f"open({str(trace)!r}, 'w')")
    assert "is not a readable safetensors file" in _refusal(tiny, folder)
    assert not trace.exists()


@pytest.mark.parametrize(
    "settings",
    [
        [4],
        {"rank": 10**9, "scale": 20.0, "dropout": 0.0},
        {"rank": 10**12, "scale": 20.0, "dropout": 0.0},
    ],
)
def test_settings_that_fit_no_layer_are_reported_without_a_traceback(
    tiny: BaseModel, adapter: Writer, settings: Any
) -> None:
    folder = adapter()
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_parameters": settings}))
    assert "does not fit model 'tiny'" in _refusal(tiny, folder)


def test_an_adapter_without_its_scale_is_refused(tiny: BaseModel, adapter: Writer) -> None:
    file = adapter() / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "lora_parameters": {"rank": 4}}))
    assert _refusal(tiny, file.parent).endswith(f"{file} lacks lora_parameters.scale.")


def test_a_rank_that_is_no_number_is_named(tiny: BaseModel, adapter: Writer) -> None:
    folder = adapter()
    config = json.loads((folder / "adapter_config.json").read_text())
    settings = {"rank": "four", "scale": 20.0, "dropout": 0.0}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_parameters": settings}))
    assert "lora_parameters.rank must be a number, got 'four'" in _refusal(tiny, folder)


def test_tensors_that_the_configuration_promises_and_the_file_lacks_are_all_named(
    tiny: BaseModel, adapter: Writer
) -> None:
    """mlx-lm would evaluate those layers without an adapter and say nothing."""
    folder = adapter()
    path = folder / "adapters.safetensors"
    weights = mx.load(str(path))
    kept = {name: w for name, w in weights.items() if "q_proj" not in name or "lora_b" in name}
    mx.save_safetensors(str(path), kept)
    message = _refusal(tiny, folder)
    assert "(4 mismatches)" in message
    line = "model.layers.{12,13,14,15}.self_attn.q_proj.lora_a: missing in adapters.safetensors"
    assert line in message


def test_a_truncated_adapter_is_named(tiny: BaseModel, adapter: Writer) -> None:
    folder = adapter()
    weights = folder / "adapters.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert "is truncated" in _refusal(tiny, folder)


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
    message = _refusal(tiny, folder)
    # Three tensors, the number of layers, and 7 matrices by 2 in each of the 12 blocks before.
    assert f"does not fit model 'tiny' ({4 + 7 * 2 * 12} mismatches)" in message
    assert "it adapts 41 layers, the model has 16" in message
    assert "layers.15.mlp.up_proj.lora_a: 96x4, model 64x4" in message
    assert "layers.15.mlp.up_proj.lora_b: 4x256, model 4x64" in message
    assert "layers.40.mlp.up_proj.lora_a: the model has no place for it" in message
    blocks = ",".join(map(str, range(12)))
    missing = f"model.layers.{{{blocks}}}.mlp.up_proj.lora_a: missing in adapters.safetensors"
    assert missing in message
    assert len(message.splitlines()) == 1 + 4 + 7 * 2 + 1
    assert "its adapter_config.json names 'tiny'" in message


def test_every_kind_of_mismatch_is_reported_together_before_the_model_is_loaded(
    tiny: BaseModel, adapter: Writer
) -> None:
    folder = adapter()
    path = folder / "adapters.safetensors"
    weights = mx.load(str(path))
    block = "model.layers.15.self_attn"
    del weights[f"{block}.q_proj.lora_b"]
    weights[f"{block}.k_proj.lora_a"] = mx.zeros((64, 7))
    weights[f"{block}.v_proj.lora_a"] = mx.zeros((64, 4), mx.int32)
    weights[f"{block}.nothing.lora_a"] = mx.zeros((64, 4))
    mx.save_safetensors(str(path), weights)
    with pytest.raises(UserError) as caught:
        check_adapter(tiny, folder)
    lines = str(caught.value).splitlines()[1:-1]
    assert lines == [
        f"  {block}.k_proj.lora_a: 64x7, model 64x4",
        f"  {block}.nothing.lora_a: the model has no place for it",
        f"  {block}.q_proj.lora_b: missing in adapters.safetensors",
        f"  {block}.v_proj.lora_a: I32, allowed are F32, F16, BF16",
    ]


def test_a_configuration_that_is_not_the_files_is_refused_before_anything_is_measured(
    tiny: BaseModel, adapter: Writer
) -> None:
    folder = adapter()
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "num_layers": 1}))
    with pytest.raises(UserError, match=r"it adapts layers from 15 on, and holds layer 1[0-4]"):
        check_adapter(tiny, folder)
    del config["lora_parameters"]["scale"]
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"lacks lora_parameters\.scale"):
        check_adapter(tiny, folder)


def test_a_full_adapter_that_lacks_a_tensor_of_its_blocks_is_refused(
    tiny: BaseModel, tmp_path: Path
) -> None:
    model = load(tiny).model
    weights = dict(tree_flatten(model.parameters()))
    kept = {
        n: w for n, w in weights.items() if n.startswith(("model.layers.14", "model.layers.15"))
    }
    kept["model.norm.weight"] = weights["model.norm.weight"]
    folder = tmp_path / "full"
    folder.mkdir()
    config = {"fine_tune_type": "full", "num_layers": 2}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(folder / "adapters.safetensors"), kept)
    assert load(tiny, folder).base is tiny
    del kept["model.layers.14.mlp.up_proj.weight"]
    mx.save_safetensors(str(folder / "adapters.safetensors"), kept)
    message = _refusal(tiny, folder)
    assert "(1 mismatches)" in message
    assert "model.layers.14.mlp.up_proj.weight: missing in adapters.safetensors" in message


def with_header(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite a safetensors file's header, its data as they are."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


NORM = "model.norm.weight"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dtype", "BF16", "tensor 'model.norm.weight' of BF16 (64,) in 256 bytes, not 128"),
        ("shape", [63], "tensor 'model.norm.weight' of F32 (63,) in 256 bytes, not 252"),
        ("shape", [-64], "tensor 'model.norm.weight' has shape (-64,)"),
        ("dtype", "F8_E5M2_OF_TOMORROW", "MLX cannot read"),
        ("data_offsets", ["a", "b"], "tensor 'model.norm.weight' has shape (64,) at a to b"),
    ],
)
def test_a_header_that_lies_is_one_line_with_the_file_and_the_remedy(
    copy: Path, cache: Cache, field: str, value: Any, message: str
) -> None:
    file = copy / "model.safetensors"
    with_header(file, lambda header: header[NORM].update({field: value}))
    with pytest.raises(UserError) as caught:
        load(resolve(str(copy), cache))
    text = str(caught.value)
    assert message in text
    assert str(file) in text
    assert "ownload or write it again" in text
    assert "\n" not in text


def test_a_base_that_mlx_cannot_read_is_not_quantized_with_a_traceback(
    copy: Path, cache: Cache
) -> None:
    file = copy / "model.safetensors"
    with_header(file, lambda header: header[NORM].update({"dtype": "F99"}))
    with pytest.raises(UserError, match=r"MLX cannot read .*model\.safetensors"):
        quantized(resolve(str(copy), cache), QuantizeSpec(bits=4), cache)


def test_an_adapter_of_a_type_that_mlx_does_not_know_is_named(
    tiny: BaseModel, adapter: Writer
) -> None:
    folder = adapter()
    name = "model.layers.15.mlp.up_proj.lora_a"
    with_header(folder / "adapters.safetensors", lambda h: h[name].update({"dtype": "F99"}))
    message = _refusal(tiny, folder)
    assert f"{name}: F99, allowed are F32, F16, BF16" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_attention_heads", 0),
        ("num_attention_heads", "two"),
        ("hidden_size", None),
        ("rope_scaling", {"type": 7}),
        ("num_hidden_layers", 17),
        ("vocab_size", 0),
        ("quantization_config", {"quant_method": "awq"}),
    ],
)
def test_a_configuration_that_fits_no_weights_is_reported_without_a_traceback(
    copy: Path, cache: Cache, field: str, value: Any
) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, field: value}))
    with pytest.raises(UserError, match="its weights do not fit architecture 'llama'"):
        load(resolve(str(copy), cache))


@pytest.mark.parametrize(
    ("field", "value"),
    [("mlp_bias", None), ("eos_token_id", "x"), ("torch_dtype", [1]), ("hidden_act", 7)],
)
def test_a_configuration_that_transformers_refuses_is_quoted_on_one_line(
    copy: Path, cache: Cache, field: str, value: Any
) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, field: value}))
    with pytest.raises(UserError) as caught:
        load(resolve(str(copy), cache))
    assert "its tokenizer cannot be read" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inner", [None, "x", [1], 3])
def test_a_text_config_that_is_no_object_is_passed_over(
    copy: Path, cache: Cache, inner: Any
) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "text_config": inner}))
    assert resolve(str(copy), cache).layers == 16


JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
JSON_FILES += ("special_tokens_map.json", "model.safetensors.index.json")


@pytest.mark.parametrize("name", JSON_FILES)
def test_no_json_file_of_a_model_ends_in_a_traceback(copy: Path, cache: Cache, name: str) -> None:
    texts = ["", "{", "[]", "null", "3", '"x"', "{}", "\0", "[" * 5000, '{"a":' * 5000]
    for text in texts:
        (copy / name).write_text(text)
        # Some say nothing, and are as good as absent.
        with contextlib.suppress(UserError):
            load(resolve(str(copy), cache))


def test_a_tokenizer_that_only_python_reads_is_reported_without_a_traceback(
    copy: Path, cache: Cache
) -> None:
    """The package `tokenizers` raises bare exceptions."""
    file = copy / "tokenizer.json"
    text = file.read_text()
    file.write_text(text.replace('"truncation": null', '"truncation": NaN'))
    assert file.read_text() != text
    with pytest.raises(UserError, match="its tokenizer cannot be read: expected value"):
        load(resolve(str(copy), cache))
