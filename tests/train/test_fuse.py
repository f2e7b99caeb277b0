"""Fused models: equal to base + adapter, mlx-lm's bytes, sizes by number format, its peak."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlx.utils import tree_unflatten
from mlx_lm.utils import dequantize_model, save
from training_rows import make_variant

from harness.backend import mx
from harness.data.tokens import TokenizedExample
from harness.disk.cache import Cache
from harness.measure.memory import MemoryPhase
from harness.models.embedded.tiny import WIDTH
from harness.models.load import LoadedModel, load
from harness.models.resolve import BaseModel, resolve
from harness.train.finetune import finetune
from harness.train.fuse import fuse, weigh
from harness.train.variant import Variant
from tests.rounding import error, in_float64, reordered

Tuned = Callable[[str], LoadedModel]
Loader = Callable[[Variant], LoadedModel]
Rows = list[TokenizedExample]
folders: dict[str, Path] = {}
"""Where the adapter of each tuned variant lies."""
PROMPT = mx.array([[ord(letter) for letter in "table: students"]])


def logits(loaded: LoadedModel) -> np.ndarray:
    return np.array(loaded.model(PROMPT))


@pytest.fixture(scope="module")
def tuned(
    tmp_path_factory: pytest.TempPathFactory, loader: Loader, rows: Rows, valid: Rows
) -> Tuned:
    """A variant of the tiny model after a few strong updates, loaded anew from its adapter: fusing
    uses it up."""
    bases: dict[str, BaseModel] = {}

    def make(name: str) -> LoadedModel:
        if name not in bases:
            variant = make_variant(
                name, iters=2, learning_rate="1e-2", steps_per_eval=50, val_batches=1
            )
            out = tmp_path_factory.mktemp(variant.file_name)
            loaded = loader(variant)
            finetune(loaded, variant, rows, valid, out)
            bases[name], folders[name] = loaded.base, out
        return load(bases[name], folders[name])

    return make


@pytest.mark.parametrize("name", ["article/lora", "dora", "full"])
def test_a_fused_float_model_gives_the_adapter_s_logits(
    name: str, tuned: Tuned, tmp_path: Path, cache: Cache
) -> None:
    loaded = tuned(name)
    before = logits(loaded)
    size = fuse(loaded, tmp_path / "fused", dequantize=False)
    fused = load(resolve(str(tmp_path / "fused"), cache))
    # A fused weight is rounded once itself, as each of its products is: twice the error.
    exact = in_float64(load(loaded.base, folders[name]).model)(PROMPT)
    assert error(logits(fused), exact) <= 2 * reordered(before, exact, WIDTH)
    base = weigh(loaded.base.path)
    assert size.by_dtype == base.by_dtype
    assert list(size.by_dtype) == ["float32"]


def test_dequantizing_keeps_the_adapter_that_4_bits_round_away(
    tuned: Tuned, tmp_path: Path, cache: Cache
) -> None:
    loaded = tuned("article/qlora")
    before = logits(loaded)
    small = fuse(loaded, tmp_path / "fused", dequantize=False)
    large = fuse(tuned("article/qlora"), tmp_path / "plain", dequantize=True)
    fused = logits(load(resolve(str(tmp_path / "fused"), cache)))
    plain = logits(load(resolve(str(tmp_path / "plain"), cache)))
    exact = in_float64(load(loaded.base, folders["article/qlora"]).model)(PROMPT)
    assert error(plain, exact) <= 2 * reordered(before, exact, WIDTH)
    assert np.abs(fused - before).max() > 10 * np.abs(plain - before).max()
    assert set(small.by_dtype) == {"float32", "uint32"}
    assert set(large.by_dtype) == {"float32"}
    assert small.bytes < large.bytes


def test_sizes_count_every_byte_of_the_files(tuned: Tuned, tmp_path: Path) -> None:
    size = fuse(tuned("article/lora"), tmp_path / "fused", dequantize=False)
    files = list((tmp_path / "fused").glob("*.safetensors"))
    assert size.bytes == sum(file.stat().st_size for file in files)
    header = size.bytes - sum(size.by_dtype.values())
    assert 0 < header < 40_000


def test_dora_on_a_half_precision_base_is_wider_than_the_base(
    tuned: Tuned, tmp_path: Path, cache: Cache, rows: Rows, valid: Rows
) -> None:
    from mlx.utils import tree_map
    from mlx_lm.utils import save

    loaded = load(tuned("article/lora").base)
    loaded.model.update(tree_map(lambda a: a.astype(mx.bfloat16), loaded.model.parameters()))
    half = tmp_path / "half"
    save(half, str(loaded.base.path), loaded.model, loaded.tokenizer, dict(loaded.base.config))
    keys = {"lora_parameters.keys": "[self_attn.q_proj]", "num_layers": 2}
    variant = make_variant("dora", iters=1, steps_per_eval=50, val_batches=1, **keys)
    base = load(resolve(str(half), cache))
    finetune(base, variant, rows, valid, tmp_path / "adapter")
    size = fuse(load(base.base, tmp_path / "adapter"), tmp_path / "fused", dequantize=False)
    assert size.by_dtype["float32"] == 2 * 64 * 64 * 4


@pytest.mark.parametrize("dequantize", [False, True])
@pytest.mark.parametrize("name", ["article/lora", "dora", "full", "article/qlora"])
def test_the_files_are_those_of_mlx_lm_byte_for_byte(
    name: str, dequantize: bool, tuned: Tuned, tmp_path: Path
) -> None:
    ours, stock = tmp_path / "ours", tmp_path / "stock"
    fuse(tuned(name), ours, dequantize)
    _as_mlx_lm_fuses(tuned(name), stock, dequantize)
    names = sorted(path.name for path in stock.iterdir())
    assert sorted(path.name for path in ours.iterdir()) == names
    assert [f for f in names if (ours / f).read_bytes() != (stock / f).read_bytes()] == []


def _as_mlx_lm_fuses(loaded: LoadedModel, out: Path, dequantize: bool) -> None:
    """The body of `mlx_lm.fuse` (0.32.2), whose arrays are computed when they are written."""
    model, config = loaded.model, dict(loaded.base.config)
    layers = [
        (name, module.fuse(dequantize=dequantize))
        for name, module in model.named_modules()
        if hasattr(module, "fuse")
    ]
    if layers:
        model.update_modules(tree_unflatten(layers))
    if dequantize:
        model = dequantize_model(model)
        config.pop("quantization", None)
        config.pop("quantization_config", None)
    save(out, str(loaded.base.path), model, loaded.tokenizer, config, donate_model=False)


def test_fusing_holds_one_layer_more_than_the_model(
    tmp_path: Path, cache: Cache, tuned: Tuned
) -> None:
    """A layer's packed weights go when its fused ones are there: at no time are two models held."""
    base, adapter = tuned("article/qlora").base, folders["article/qlora"]
    stored = weigh(base.path).bytes + weigh(adapter).bytes
    gc.collect()
    others = mx.get_active_memory()  # of tests before this one
    loaded = load(base, adapter)
    largest = max(m.weight.size * 4 for _, m in loaded.model.named_modules() if "weight" in m)
    with MemoryPhase() as phase:
        fuse(loaded, tmp_path / "fused", dequantize=False)
    # A float32 copy of the layer, the adapter's share of it and their sum.
    assert phase.measured.mlx_peak_bytes - others <= stored + 4 * largest
