"""The measures on models as the pipeline has them: resolved, quantized, accelerated, tuned."""

from __future__ import annotations

from pathlib import Path

import pytest
from measure_models import rows

from harness.disk.cache import Cache
from harness.measure.generate import GenerationProtocol, generate
from harness.measure.loss import CompatSettings, evaluate, full_text, mlx_lm_compat
from harness.models.load import LoadedModel, load
from harness.models.quantize import QuantizeSpec, quantized
from harness.models.resolve import resolve
from tests.rounding import SAME_LOSS

EXAMPLES = rows(10, seed=11, high=40)
PROMPTS = [list(row.tokens[: row.prompt_length]) for row in EXAMPLES]


@pytest.fixture(scope="module")
def four_bits(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    cache = Cache(tmp_path_factory.mktemp("cache"))
    return load(quantized(resolve("tiny", cache), QuantizeSpec(bits=4, group_size=64), cache))


@pytest.mark.parametrize("hold", [False, True], ids=["packed", "float32 copies"])
def test_acceleration_changes_no_loss_and_no_answer(four_bits: LoadedModel, hold: bool) -> None:
    stock = load(four_bits.base)
    four_bits.accelerate(hold=hold)
    for ours, theirs in zip(
        evaluate(four_bits.model, EXAMPLES), evaluate(stock.model, EXAMPLES), strict=True
    ):
        assert ours.full_nll == pytest.approx(theirs.full_nll, rel=SAME_LOSS)
        assert ours.completion_nll == pytest.approx(theirs.completion_nll, rel=SAME_LOSS)
    protocol = GenerationProtocol(max_new_tokens=6)
    assert generate(four_bits, PROMPTS, protocol) == generate(stock, PROMPTS, protocol)


def test_compat_of_a_quantized_model_equals_mlx_lm(four_bits: LoadedModel) -> None:
    from test_compat import theirs

    settings = CompatSettings(batch_size=3)
    value = mlx_lm_compat(evaluate(four_bits.model, EXAMPLES), settings)
    assert value is not None
    assert value.loss == pytest.approx(theirs(four_bits.model, EXAMPLES, settings), rel=SAME_LOSS)


def test_measuring_a_model_in_training_leaves_its_adapter_trainable(tmp_path: Path) -> None:
    from mlx_lm.tuner.utils import linear_to_lora_layers

    loaded = load(resolve("tiny", Cache(tmp_path)))
    loaded.model.freeze()
    linear_to_lora_layers(loaded.model, 4, {"rank": 2, "scale": 20.0, "dropout": 0.5})
    loaded.model.train()
    first, again = (full_text(evaluate(loaded.model, EXAMPLES)) for _ in range(2))
    # Dropout would make the two differ.
    assert first == again
    assert loaded.model.training
    assert len(loaded.model.trainable_parameters()) > 0
