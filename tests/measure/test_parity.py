"""Parity of an adapter, its fused model and the dequantized one."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from measure_models import Loaded, llama, rows

from harness.measure import parity as module
from harness.measure.generate import GenerationProtocol
from harness.measure.parity import flips, parity
from harness.models.backend import mx, nn

SHORT = GenerationProtocol(max_new_tokens=8)


def loader(tiny: Loaded, seed: int = 0) -> Callable[[], Any]:
    return lambda: Loaded(llama(seed, vocab_size=258), tiny.tokenizer, tiny.base)


def test_equal_forms_have_equal_perplexity_and_no_changed_answer(tiny: Loaded) -> None:
    forms = {"adapter": loader(tiny), "fused": loader(tiny)}
    found = parity(forms, rows(6), SHORT)
    assert found.changed == {"fused": 0}
    assert found.forms["fused"].ppl == pytest.approx(found.forms["adapter"].ppl, rel=1e-6)
    assert len(found.forms["adapter"].answers) == 6
    assert "dequantized" not in found.forms


def test_another_model_changes_answers_and_perplexity(tiny: Loaded) -> None:
    forms = {"adapter": loader(tiny), "fused": loader(tiny), "dequantized": loader(tiny, seed=9)}
    found = parity(forms, rows(6), SHORT)
    assert found.changed["fused"] == 0
    assert found.changed["dequantized"] > 0
    assert found.forms["dequantized"].ppl != found.forms["adapter"].ppl


def test_fusing_lora_layers_without_quantization_changes_nothing(tiny: Loaded) -> None:
    from mlx_lm.tuner.utils import linear_to_lora_layers

    def tuned(fused: bool) -> Loaded:
        model = llama(3, vocab_size=258)
        mx.random.seed(1)
        linear_to_lora_layers(model, 2, {"rank": 4, "scale": 20.0, "dropout": 0.0})
        for layer in model.leaf_modules()["model"]["layers"]:
            for lora in _lora(layer):
                lora.lora_b = mx.random.normal(lora.lora_b.shape) * 0.01
        if fused:
            from mlx.utils import tree_unflatten

            pairs = [(n, m.fuse()) for n, m in model.named_modules() if hasattr(m, "fuse")]
            model.update_modules(tree_unflatten(pairs))
        mx.eval(model.parameters())
        return Loaded(model, tiny.tokenizer, tiny.base)

    found = parity({"adapter": lambda: tuned(False), "fused": lambda: tuned(True)}, rows(6), SHORT)
    assert found.changed == {"fused": 0}
    assert found.forms["fused"].ppl == pytest.approx(found.forms["adapter"].ppl, rel=1e-4)


def _lora(tree: Any) -> list[Any]:
    if isinstance(tree, nn.Module):
        return [tree] if hasattr(tree, "lora_b") else []
    values = tree.values() if isinstance(tree, dict) else tree
    return [found for value in values for found in _lora(value)]


def test_one_form_is_in_memory_at_a_time(tiny: Loaded) -> None:
    alive: list[Any] = []

    def load() -> Any:
        gc.collect()
        assert all(reference() is None for reference in alive)
        loaded = loader(tiny)()
        alive.append(weakref.ref(loaded.model))
        return loaded

    parity({"adapter": load, "fused": load, "dequantized": load}, rows(2), SHORT)
    assert len(alive) == 3


def test_forms_without_an_adapter_or_by_other_names_are_a_bug(tiny: Loaded) -> None:
    with pytest.raises(ValueError, match="with 'adapter' among them"):
        parity({"fused": loader(tiny)}, rows(1))
    with pytest.raises(ValueError, match="fuzed"):
        parity({"adapter": loader(tiny), "fuzed": loader(tiny)}, rows(1))


def test_flips_count_positions_that_differ_either_way() -> None:
    assert flips([True, False, True], [False, True, True]) == 2
    assert flips(["a"], ["a"]) == 0
    with pytest.raises(ValueError, match="argument 2 is longer"):
        flips([1], [1, 2])


def test_progress_names_the_form(tiny: Loaded) -> None:
    labels: list[str] = []
    module.parity(
        {"adapter": loader(tiny)}, rows(2), SHORT, progress=lambda *e: labels.append(e[0])
    )
    assert set(labels) == {"adapter loss", "adapter generate"}
