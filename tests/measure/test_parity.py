"""One form of a tuned model on the parity subset."""

from __future__ import annotations

import math
from typing import Any

import pytest
from measure_models import Loaded, llama, rows

from harness.backend import mx, nn
from harness.measure.generate import GenerationProtocol
from harness.worker.fused import measure_form
from tests.rounding import same_ppl

SHORT = GenerationProtocol(max_new_tokens=8)


def test_the_same_model_twice_has_equal_perplexity_and_answers(tiny: Loaded) -> None:
    one, two = (
        measure_form(Loaded(llama(0, vocab_size=258), tiny.tokenizer, tiny.base), rows(6), SHORT)
        for _ in range(2)
    )
    assert two.ppl == pytest.approx(one.ppl, rel=same_ppl(math.log(one.ppl)))
    assert one.texts == two.texts
    assert len(one.texts) == 6


def test_another_model_changes_answers_and_perplexity(tiny: Loaded) -> None:
    one, two = (
        measure_form(Loaded(llama(seed, vocab_size=258), tiny.tokenizer, tiny.base), rows(6), SHORT)
        for seed in (0, 9)
    )
    assert one.texts != two.texts
    assert one.ppl != two.ppl


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

    adapter, fused = (measure_form(tuned(form), rows(6), SHORT) for form in (False, True))
    assert adapter.texts == fused.texts
    # A fused weight is rounded once itself, as each of its products is: twice the error.
    tolerance = same_ppl(math.log(adapter.ppl), ways=2)
    assert fused.ppl == pytest.approx(adapter.ppl, rel=tolerance)


def _lora(tree: Any) -> list[Any]:
    if isinstance(tree, nn.Module):
        return [tree] if hasattr(tree, "lora_b") else []
    values = tree.values() if isinstance(tree, dict) else tree
    return [found for value in values for found in _lora(value)]
