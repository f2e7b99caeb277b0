"""Models of many families, random and tiny: measured, trained and fused as mlx-lm itself would."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from family_models import FAMILIES, OTHERS, Family
from mlx.utils import tree_flatten

import harness.backend  # noqa: F401  (the BLAS before mlx)
from harness.backend import mx
from harness.data.prompts import style
from harness.data.records import Condition, Example, LogicalForm, Table
from harness.data.tokens import TokenizedExample, tokenize
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.measure.decode import batchable
from harness.measure.generate import GenerationProtocol, generate
from harness.measure.loss import evaluate, full_text
from harness.measure.speed import batched_trial
from harness.models import parameters
from harness.models.cpu.accelerate import accelerate
from harness.models.cpu.rule import Rule, VectorExp
from harness.models.load import LoadedModel, load
from harness.models.quantize import QuantizeSpec, quantized
from harness.models.resolve import BaseModel, resolve
from harness.train.finetune import finetune
from harness.train.fuse import fuse
from harness.train.variants import load_variants
from tests.rounding import SAME_LOSS

TABLES = {
    "1-10-2": Table("1-10-2", ("Player", "No.", "Team"), ("text", "real", "text"), ()),
    "1-11-7": Table("1-11-7", ("Año", 'Title "TV"'), ("real", "text"), ()),
}
ASKED = [
    ("1-10-2", "What is the No. of José?", 1, "José"),
    ("1-10-2", "Which team does O'Neal play for", 2, "O'Neal"),
    ("1-10-2", "team of Ann?", 2, "Ann"),
    ("1-11-7", "In which año was «Ёлки» on?", 0, "Ёлки"),
    ("1-11-7", "Title of 1999", 1, "x"),
]
EXAMPLES = [
    Example(at, table, text, LogicalForm(sel, 0, (Condition(min(sel, 1), 0, value),)))
    for at, (table, text, sel, value) in enumerate(ASKED)
]
SHORT = GenerationProtocol(max_new_tokens=6, batch_size=3, stop_at_newline=False)

Resolver = Callable[[Family], BaseModel]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, cache: Cache) -> Resolver:
    made: dict[str, BaseModel] = {}

    def find(family: Family) -> BaseModel:
        if family.name not in made:
            folder = tmp_path_factory.mktemp("families") / family.name
            made[family.name] = resolve(str(family.write(folder)), cache)
        return made[family.name]

    return find


def rows_of(loaded: LoadedModel, chat: bool = False) -> tuple[TokenizedExample, ...]:
    chosen = style("chat" if chat else "dialect")
    return tokenize(EXAMPLES, TABLES, chosen, loaded.tokenizer, 512).examples


def stock_nll(model: Any, tokens: tuple[int, ...]) -> float:
    logits = model(mx.array([tokens[:-1]])).astype(mx.float32)
    scores = mx.take_along_axis(logits, mx.array([tokens[1:]])[..., None], axis=-1)[..., 0]
    return float((mx.logsumexp(logits, axis=-1) - scores).sum().item())


def stock_answer(stock: LoadedModel, prompt: tuple[int, ...]) -> str:
    from mlx_lm.generate import generate_step

    tokens = []
    for step, _ in generate_step(mx.array(prompt), stock.model, max_tokens=SHORT.max_new_tokens):
        if int(step) in stock.tokenizer.eos_token_ids:
            break
        tokens.append(int(step))
    return str(stock.tokenizer.decode(tokens, clean_up_tokenization_spaces=False))


def check_measures(base: BaseModel) -> None:
    stock, fast = load(base), load(base)
    # Our own kernels at every size, where they know the architecture: a model this small is below
    # the rule's sizes.
    everywhere = VectorExp(swiglu_min=1, softmax_min=1, attention_min=1)
    accelerate(fast.model, rule=Rule(exponential=everywhere))
    rows = rows_of(stock)
    for row, found in zip(rows, evaluate(fast.model, rows, 3), strict=True):
        assert found.full_nll == pytest.approx(stock_nll(stock.model, row.tokens), rel=SAME_LOSS)
    prompts = [row.tokens[: row.prompt_length] for row in rows]
    answers = [answer.text for answer in generate(fast, prompts, SHORT)]
    assert answers == [stock_answer(stock, prompt) for prompt in prompts]
    counted = parameters.predict(dict(base.config))[0].total
    assert counted == sum(array.size for _, array in tree_flatten(stock.model.parameters()))


def check_trains(base: BaseModel, name: str, cache: Cache, out: Path) -> None:
    changes = {"iters": 2, "num_layers": 2, "batch_size": 3, "save_every": 2, "val_batches": 1}
    changes |= {"steps_per_eval": 2, "learning_rate": "1e-3"}
    (variant,) = load_variants([name], {key: str(value) for key, value in changes.items()})
    packed = quantized(base, variant.quantize, cache)
    loaded = load(packed)
    rows = rows_of(loaded)
    before = full_text(evaluate(loaded.model, rows)).loss
    result = finetune(loaded, variant, rows, rows[:3], out)
    assert result.adapter is not None
    assert result.curve[-1].val_loss is not None
    tuned = full_text(evaluate(loaded.model, rows)).loss
    assert tuned < before
    again = load(packed, result.adapter)
    accelerate(again.model)
    assert full_text(evaluate(again.model, rows)).loss == pytest.approx(tuned, rel=SAME_LOSS)
    counted = parameters.predict(
        dict(packed.config),
        variant.fine_tune_type,
        2,
        variant.lora_parameters.model_dump(exclude_none=True),
    )[0]
    weights: Any = mx.load(str(result.adapter / "adapters.safetensors"))
    assert counted.trainable == sum(array.size for array in weights.values())
    fuse(load(packed, result.adapter), out / "fused", dequantize=variant.quantize is not None)
    fused = load(resolve(str(out / "fused"), cache))
    # A fused weight is rounded once itself, as each of its products is: twice the error.
    assert full_text(evaluate(fused.model, rows)).loss == pytest.approx(tuned, rel=2 * SAME_LOSS)


def check_packed(base: BaseModel, cache: Cache) -> None:
    """Four-bit weights: unpacked for every row, float32 copies kept, and MLX's own product."""
    packed = quantized(base, QuantizeSpec(), cache)
    stock, held, unpacked = load(packed), load(packed), load(packed)
    rows = rows_of(stock)
    expected = [stock_nll(stock.model, row.tokens) for row in rows]
    accelerate(held.model)
    every_row = Rule(bytes_min_rows=1, mlx_min_rows=1)
    accelerate(unpacked.model, hold=False, rule=every_row)
    for model in (held.model, unpacked.model):
        found = [loss.full_nll for loss in evaluate(model, rows, 3)]
        # An unpacked weight is rounded once itself, as each of its products is.
        assert found == pytest.approx(expected, rel=2 * SAME_LOSS)


def ids(families: list[Family]) -> list[str]:
    return [family.name for family in families]


@pytest.mark.parametrize("family", FAMILIES, ids=ids(FAMILIES))
def test_loss_answers_and_counts_are_the_stock_model_s(family: Family, bases: Resolver) -> None:
    check_measures(bases(family))


@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILIES, *OTHERS], ids=ids([*FAMILIES, *OTHERS]))
def test_packed_weights_give_the_stock_model_s_loss(
    family: Family, bases: Resolver, cache: Cache
) -> None:
    check_packed(bases(family), cache)


@pytest.mark.parametrize("family", FAMILIES, ids=ids(FAMILIES))
def test_a_family_is_trained_reloaded_and_fused(
    family: Family, bases: Resolver, cache: Cache, tmp_path: Path
) -> None:
    check_trains(bases(family), "lora", cache, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qlora", "dora"])
@pytest.mark.parametrize("family", FAMILIES, ids=ids(FAMILIES))
def test_a_family_is_trained_by_the_other_methods_too(
    family: Family, name: str, bases: Resolver, cache: Cache, tmp_path: Path
) -> None:
    check_trains(bases(family), name, cache, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("family", OTHERS, ids=ids(OTHERS))
def test_other_layouts_are_measured_as_the_stock_model(family: Family, bases: Resolver) -> None:
    check_measures(bases(family))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lora", "qlora"])
@pytest.mark.parametrize("family", OTHERS, ids=ids(OTHERS))
def test_other_layouts_are_trained_reloaded_and_fused(
    family: Family, name: str, bases: Resolver, cache: Cache, tmp_path: Path
) -> None:
    check_trains(bases(family), name, cache, tmp_path / "out")


@pytest.mark.parametrize(
    "family", [f for f in FAMILIES if f.name != "llama-spm"], ids=lambda f: f.name
)
def test_a_chat_prompt_has_one_bos_and_the_answer_one_stop(family: Family, bases: Resolver) -> None:
    from harness.models.load import load_tokenizer

    tokenizer = load_tokenizer(bases(family))
    found = tokenize(EXAMPLES, TABLES, style("chat"), tokenizer, 512)
    for row in found.examples:
        answer = row.tokens[row.prompt_length :]
        assert sum(token in tokenizer.eos_token_ids for token in answer) == 1
        if tokenizer.bos_token_id is not None:
            assert row.tokens.count(tokenizer.bos_token_id) == 1


def test_a_batch_that_would_be_wrong_is_decoded_row_by_row(bases: Resolver) -> None:
    """Of mlx-lm's gemma2: an error for most batches, wrong numbers where rows equal heads."""
    gemma2 = next(f for f in OTHERS if f.name == "gemma2")
    loaded = load(bases(gemma2))
    assert not batchable(loaded.model)
    prompts = [list(row.tokens[: row.prompt_length]) for row in rows_of(loaded)]
    assert len(generate(loaded, prompts[:2], SHORT)) == 2
    assert math.isfinite(batched_trial(loaded, prompts, 3))


def test_an_adapter_that_a_kind_of_layer_cannot_have_is_refused_in_words(
    bases: Resolver, cache: Cache, tmp_path: Path
) -> None:
    mixtral = next(f for f in OTHERS if f.name == "mixtral")
    with pytest.raises(
        UserError, match=r"SwitchLinear doesn't support DoRA yet. Use fine_tune_type"
    ):
        check_trains(bases(mixtral), "dora", cache, tmp_path / "out")


@pytest.mark.slow
def test_a_family_runs_through_every_suite(bases: Resolver, tmp_path: Path) -> None:
    """The command of the README on gemma3: sliding window, SentencePiece, scaled embedding."""
    gemma3 = next(f for f in FAMILIES if f.name == "gemma3")
    command = [
        *(sys.executable, "-m", "pytest", "suites/", "-p", "no:cacheprovider"),
        *(f"--model={bases(gemma3).path}", "--variant=qlora", "--limit=8"),
        *("--set", "iters=2", "--set", "num_layers=-1", "--set", "val_batches=1"),
        *(f"--results-dir={tmp_path}", "--run-name=gemma3"),
    ]
    done = subprocess.run(
        command,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "gemma3" / "results.json").read_text("utf-8"))
    assert results["model"]["architecture"] == "gemma3_text"
    assert results["run"]["partial"] == []
    assert "one BOS each, one stop token each, every prompt a token prefix" in done.stderr
