"""Adapters of PEFT: converted, they give PEFT's own logits; what cannot be converted is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.backend import mx
from harness.errors import UserError
from harness.models.adapter import adapter_config, apply_adapter, check_adapter
from harness.models.peft import PEFT_FILE, convert
from harness.models.reading import read_model
from harness.models.resolve import BaseModel
from tests.models import peft_reference
from tests.models.peft_reference import CASES, CONFIG, TOKENS, values

FIXTURE = Path(__file__).with_name("peft_reference.json")
"""What `peft_reference.py` printed; `test_peft_still_gives_these_numbers` prints it again."""

LAYERS = CONFIG["num_hidden_layers"]


def kept() -> dict[str, Any]:
    return json.loads(FIXTURE.read_text("utf-8"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """The tiny random model of the reference."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file(peft_reference.weights(), folder / "model.safetensors")
    return BaseModel("reference", folder, None, "0", "llama", CONFIG)


def written(folder: Path, case: dict[str, Any], **changes: Any) -> tuple[Path, dict[str, Any]]:
    """A case's adapter as PEFT saves it, and its configuration."""
    config = case["config"] | changes
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {name: values(name, tuple(shape)) for name, shape in case["tensors"].items()}
    save_file(tensors, folder / PEFT_FILE)
    return folder, config


def refusal(folder: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        adapter_config(written(folder, kept()["plain"], **changes)[0])
    return str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_a_converted_adapter_gives_pefts_own_logits(
    base: BaseModel, tmp_path: Path, name: str
) -> None:
    case = kept()[name]
    given, config = written(tmp_path / "peft", case)
    out = tmp_path / "mlx"
    out.mkdir()
    convert(given, config, LAYERS, out)
    model = apply_adapter(read_model(base)[0], base, out, check_adapter(base, out))
    model.eval()
    with mx.stream(mx.cpu):
        found = np.array(model(mx.array([TOKENS]))[0])
    # Float32 sums of at most 24 products in another order, logits below 10, six decimals kept.
    np.testing.assert_allclose(found, np.array(case["logits"]), atol=2e-5)
    bare = np.array(read_model(base)[0](mx.array([TOKENS]))[0])
    assert np.abs(bare - found).max() > 0.01  # the adapter changes something


def test_half_precision_is_widened_exactly(base: BaseModel, tmp_path: Path) -> None:
    given, config = written(tmp_path / "peft", kept()["plain"])
    halves = {n: mx.array(w).astype(mx.bfloat16) for n, w in _saved(given).items()}
    mx.save_safetensors(str(given / PEFT_FILE), halves)
    out = tmp_path / "mlx"
    out.mkdir()
    convert(given, config, LAYERS, out)
    held = mx.load(str(out / "adapters.safetensors"))
    module = "model.layers.2.self_attn.q_proj"
    wanted = halves[f"base_model.model.{module}.lora_A.weight"].astype(mx.float32).T
    assert mx.array_equal(held[f"{module}.lora_a"], wanted)  # type: ignore[index]


def _saved(folder: Path) -> dict[str, np.ndarray]:
    return {name: np.array(w) for name, w in mx.load(str(folder / PEFT_FILE)).items()}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "IA3"},
        {"modules_to_save": ["lm_head"]},
        {"bias": "lora_only"},
        {"fan_in_fan_out": True},
        {"lora_bias": True},
        {"init_lora_weights": "pissa"},
        {"trainable_token_indices": [3]},
        {"a_setting_of_tomorrow": 7},
        {"lora_alpha": 0},
        {"lora_alpha": 10**400},
    ],
    ids=str,
)
def test_what_mlx_lm_has_no_equal_of_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    message = refusal(tmp_path / "peft", **change)
    assert "cannot be converted" in message
    assert next(iter(change)) in message


def test_tensors_that_are_no_lora_of_a_layer_are_refused_by_name(tmp_path: Path) -> None:
    case = kept()["plain"]
    name = "base_model.model.model.embed_tokens.lora_embedding_A"
    folder, _ = written(tmp_path / "peft", case | {"tensors": case["tensors"] | {name: [4, 32]}})
    with pytest.raises(UserError, match=r"embed_tokens\.lora_embedding_A"):
        adapter_config(folder)


def test_dora_that_leaves_out_a_layer_is_refused(tmp_path: Path) -> None:
    case = kept()["dora"]
    fewer = {name: shape for name, shape in case["tensors"].items() if ".layers.1." not in name}
    folder, config = written(tmp_path / "peft", case | {"tensors": fewer})
    with pytest.raises(UserError, match=r"use_dora without model\.layers\.1\."):
        convert(folder, config, LAYERS, tmp_path)


TORCH = "torch==2.13.0+cpu"
"""A build without CUDA's gigabytes: pip finds it by its find-links or PIP_EXTRA_INDEX_URL."""


@pytest.mark.slow
def test_peft_still_gives_these_numbers(tmp_path: Path) -> None:
    """In an environment of its own, since torch is large."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = str(tmp_path / "env" / "bin" / "python")
    install = ["nice", "-n", "19", python, "-m", "pip", "install", "-q"]
    had = subprocess.run([*install, TORCH], capture_output=True, text=True)
    if had.returncode:
        pytest.skip(f"{TORCH} cannot be had: {had.stderr.strip().splitlines()[-1]}")
    subprocess.run([*install, "transformers", "peft"], check=True)
    script = str(Path(peft_reference.__file__))
    done = subprocess.run([python, script], capture_output=True, text=True, check=True)
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed.keys() == kept().keys()
    for name, case in kept().items():
        assert printed[name]["tensors"] == case["tensors"]
        np.testing.assert_allclose(printed[name]["logits"], case["logits"], atol=1e-5)
