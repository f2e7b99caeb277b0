"""Fine-tuning: every shipped variant, the curve, what is left on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from training_rows import make_variant

import harness.train.loop as training_loop
from harness.backend import mx
from harness.data.tokens import TokenizedExample
from harness.errors import UserError
from harness.models.cpu.accelerate import Acceleration, accelerate
from harness.models.embedded.tiny import VOCABULARY
from harness.models.load import LoadedModel, load
from harness.train.finetune import FinetuneResult, finetune, read_result
from harness.train.loss_function import mean_loss, validation_rows
from harness.train.resume_state import checkpoints_in
from harness.train.trainable import apply_variant, build_optimizer, trainable
from harness.train.variant import OPTIMIZER_OPTIONS, Variant
from harness.train.variants import shipped
from tests.rounding import SAME_LOSS, gamma, in_float64, names_of, reordered
from tests.rounding import wide as wide_array

Loader = Callable[[Variant], LoadedModel]
Rows = list[TokenizedExample]


def run(
    loader: Loader, variant: Variant, rows: Sequence[TokenizedExample], valid: Rows, out: Path
) -> tuple[LoadedModel, FinetuneResult]:
    loaded = loader(variant)
    return loaded, finetune(loaded, variant, rows, valid, out)


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_variant_trains_and_reloads(
    name: str, loader: Loader, rows: Rows, valid: Rows, out: Path
) -> None:
    variant = make_variant(name, learning_rate="1e-3")
    loaded, result = run(loader, variant, rows, valid, out)
    losses = [p.val_loss for p in result.curve if p.val_loss is not None]
    if not variant.trains:
        assert [p.iteration for p in result.curve] == [0]
        assert (result.adapter, result.checkpoints) == (None, [])
        return
    assert losses[-1] < losses[0]
    assert [p.iteration for p in result.curve] == [0, 1, 2, 4]
    assert result.checkpoints == [2, 4]
    assert result.adapter is not None
    again = load(loaded.base, result.adapter)
    subset = validation_rows(valid, 8)
    assert mean_loss(again.model, subset, 4) == pytest.approx(losses[-1], rel=SAME_LOSS)
    halfway = load(loaded.base, checkpoints_in(out)[2])
    assert mean_loss(halfway.model, subset, 4) == pytest.approx(
        result.curve[2].val_loss, rel=SAME_LOSS
    )


def test_the_base_is_validated_at_0_and_nothing_is_compiled_into_the_rates(
    loader: Loader, rows: Rows, valid: Rows, out: Path
) -> None:
    variant = make_variant("article/lora")
    _, result = run(loader, variant, rows, valid, out)
    plain = loader(variant).model
    accelerate(plain, hold=False)
    base = mean_loss(plain, validation_rows(valid, 8), 4)
    first, second, *rest = result.curve
    assert (first.iteration, first.train_loss) == (0, None)
    # An adapter of zeros adds a rounding in some kernels.
    assert first.val_loss == pytest.approx(base, rel=SAME_LOSS)
    assert first.tokens_per_s is None
    assert second.iteration == 1
    assert second.train_loss is not None
    assert second.val_loss is not None  # the article reports iteration 1
    assert second.tokens_per_s is None  # its only step compiled
    assert all(p.tokens_per_s and p.supervised_tokens_per_s for p in rest)
    assert [p.updates for p in result.curve] == [p.iteration for p in result.curve]


def test_train_loss_is_token_weighted_since_the_previous_row(
    loader: Loader, rows: Rows, valid: Rows, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, int]] = []
    add = training_loop.Curve.add

    def spy(self, nats, targets, tokens, seconds):  # type: ignore[no-untyped-def]
        seen.append((nats, targets))
        add(self, nats, targets, tokens, seconds)

    monkeypatch.setattr(training_loop.Curve, "add", spy)
    _, result = run(loader, make_variant("article/lora"), rows, valid, out)
    nats, targets = sum(n for n, _ in seen[2:]), sum(t for _, t in seen[2:])
    assert result.curve[-1].train_loss == nats / targets
    assert len({t for _, t in seen}) > 1


def test_an_update_equals_adam_on_the_mean_over_its_targets(
    loader: Loader, rows: Rows, valid: Rows, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One accumulated update against plain gradients of all its rows at once.

    On MLX's own kernels: ours take over from some size on, so they may differ between the batch
    sizes, and Adam makes much of a last digit where a gradient is nearly zero.
    """
    monkeypatch.setattr("harness.models.load.accelerate", lambda model, hold: Acceleration("cpu"))
    from mlx.utils import tree_unflatten

    from harness.backend import nn
    from harness.measure.batch_plan import pad
    from harness.train.batches import Schedule
    from harness.train.loss_function import training_loss

    variant = make_variant("article/lora", iters=2, grad_accumulation_steps=2, batch_size=2)
    tuned, result = run(loader, variant, rows, valid, out)
    assert [p.updates for p in result.curve] == [0, 0, 1]

    plain = loader(variant)
    apply_variant(plain.model, variant)
    schedule = Schedule(tuple(len(row.tokens) for row in rows), 2, 0)
    batch = [rows[at] for number in (0, 1) for at in schedule.epoch(0)[number]]
    tokens = mx.array(pad([row.tokens for row in batch]))
    spans = mx.array([(0, len(row.tokens)) for row in batch])
    targets = mx.array(float(sum(len(row.tokens) - 1 for row in batch)))
    plain.model.train()
    arguments = (tokens, spans, targets)
    _, gradient = nn.value_and_grad(plain.model, training_loss)(plain.model, *arguments)
    wide = loader(variant).model
    apply_variant(wide, variant)
    in_float64(wide).train()
    _, exact = nn.value_and_grad(wide, training_loss)(wide, *arguments)
    start, true = trainable(plain.model), names_of(exact)
    slopes = names_of(gradient)
    off = {name: reordered(slopes[name], true[name], VOCABULARY) for name in slopes}

    def updated(sign: int) -> dict[str, mx.array]:
        """The weights after Adam's step on a gradient that is off as far as rounding goes."""
        moved = [(name, slope + sign * off[name]) for name, slope in slopes.items()]
        adam = build_optimizer(variant, plain.model)
        weights = tree_unflatten(list(start.items()))
        return names_of(adam.apply_gradients(tree_unflatten(moved), weights))

    # Adam's first step is a rising function of the gradient, so the true step lies between those of
    # the gradient's two ends: where a gradient is nearly zero it may go either way. The step itself
    # takes eight roundings (two moments, root, quotient, rate), the sum with the weight one.
    low, high = updated(1), updated(-1)
    for name, array in trainable(tuned.model).items():
        first, found = wide_array(start[name]), wide_array(array)
        slack = gamma(8) * np.abs(found - first) + gamma(1) * np.abs(first)
        assert np.all(wide_array(low[name]) - slack <= found), name
        assert np.all(found <= wide_array(high[name]) + slack), name


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    loader: Loader, rows: Rows, valid: Rows, tmp_path: Path
) -> None:
    files = []
    for number, seed in enumerate((0, 0, 1)):
        variant = make_variant("article/lora", iters=2).model_copy(update={"seed": seed})
        out = tmp_path / str(number)
        finetune(loader(variant), variant, rows, valid, out)
        files.append((out / "adapters.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


def test_validation_and_saving_do_not_change_the_training(
    loader: Loader, rows: Rows, valid: Rows, tmp_path: Path
) -> None:
    files = []
    for number, cadence in enumerate((1, 50)):
        variant = make_variant(
            "article/lora",
            steps_per_eval=cadence,
            save_every=cadence,
            **{"lora_parameters.dropout": 0.1},
        )
        out = tmp_path / str(number)
        finetune(loader(variant), variant, rows, valid, out)
        files.append((out / "adapters.safetensors").read_bytes())
    assert files[0] == files[1]


def test_checkpoints_carry_mlx_lm_s_file_names_too(
    loader: Loader, rows: Rows, valid: Rows, out: Path, two_layers: Path
) -> None:
    _, result = run(loader, make_variant("article/lora"), rows, valid, out)
    assert result.checkpoints == [2, 4]
    for folder in checkpoints_in(out).values():
        alias = out / f"{folder.name}_adapters.safetensors"
        assert alias.read_bytes() == (folder / "adapters.safetensors").read_bytes()
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["lora_parameters"]["keys"] == ["self_attn.q_proj", "self_attn.v_proj"]
    assert (config["fine_tune_type"], config["num_layers"], config["model"]) == (
        "lora",
        2,
        str(two_layers),
    )
    assert not (out / "state").exists()


def test_a_finished_training_is_not_repeated(
    loader: Loader, rows: Rows, valid: Rows, out: Path
) -> None:
    variant = make_variant("article/lora")
    tuned, first = run(loader, variant, rows, valid, out)
    loaded, second = run(loader, variant, rows, valid, out)
    assert second == first
    for name, array in trainable(tuned.model).items():
        assert mx.array_equal(array, trainable(loaded.model)[name])
    moved = out.rename(out.with_name("moved"))
    found, _ = read_result(moved)
    assert found is not None
    assert (found.adapter, found.checkpoints) == (moved, [2, 4])


def test_progress_is_reported_after_every_iteration(
    loader: Loader, rows: Rows, valid: Rows, out: Path
) -> None:
    calls: list[tuple[str, float, float]] = []
    variant = make_variant("article/lora", iters=3)
    finetune(loader(variant), variant, rows, valid, out, lambda *update: calls.append(update))
    assert [(done, of) for label, done, of in calls if label.startswith("fine-tune")] == [
        (1, 3),
        (2, 3),
        (3, 3),
    ]


def test_nothing_is_printed_by_mlx_lm(
    loader: Loader, rows: Rows, valid: Rows, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(loader, make_variant("article/lora", iters=2), rows, valid, out)
    assert capsys.readouterr().out == ""


def test_a_loss_that_becomes_nan_stops_and_keeps_nothing(
    loader: Loader, rows: Rows, valid: Rows, out: Path
) -> None:
    variant = make_variant("full", optimizer="sgd", learning_rate="1e30", save_every=1, iters=8)
    with pytest.raises(UserError, match=r"diverged: the loss is \S+ at iteration \d") as caught:
        run(loader, variant, rows, valid, out)
    assert "learning_rate=1e+29" in str(caught.value)
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_a_base_whose_loss_is_nan_is_distinguished(
    loader: Loader, rows: Rows, valid: Rows, out: Path
) -> None:
    variant = make_variant("article/lora")
    loaded = loader(variant)
    loaded.model.model.norm.weight = mx.full((64,), float("nan"))
    with pytest.raises(UserError, match="before any training"):
        finetune(loaded, variant, rows, valid, out)


def test_empty_splits_are_refused(loader: Loader, rows: Rows, valid: Rows, out: Path) -> None:
    variant = make_variant("article/lora")
    for train, held_out, name in (([], valid, "train"), (rows, [], "valid")):
        with pytest.raises(UserError, match=f"the {name} split is empty"):
            finetune(loader(variant), variant, train, held_out, out)


@pytest.mark.parametrize("keys", ["[attention.wq]", "[self_attn.q_proj, attention.wq]"])
def test_keys_that_match_no_layer_are_refused_with_what_there_is(
    keys: str, loader: Loader, rows: Rows, valid: Rows, out: Path
) -> None:
    variant = make_variant("lora", **{"lora_parameters.keys": keys})
    with pytest.raises(UserError, match=r"keys attention\.wq match no layer.*self_attn\.q_proj"):
        run(loader, variant, rows, valid, out)


def test_training_can_start_from_another_adapter(
    loader: Loader, rows: Rows, valid: Rows, tmp_path: Path
) -> None:
    variant = make_variant("article/lora")
    _, first = run(loader, variant, rows, valid, tmp_path / "a")
    again = variant.model_copy(
        update={"resume_adapter_file": str(tmp_path / "a" / "adapters.safetensors")}
    )
    _, second = run(loader, again, rows, valid, tmp_path / "b")
    assert second.curve[0].val_loss == first.curve[-1].val_loss
    wider = make_variant("article/lora", **{"lora_parameters.rank": 4}).model_copy(
        update={"resume_adapter_file": again.resume_adapter_file}
    )
    with pytest.raises(UserError, match="does not fit"):
        run(loader, wider, rows, valid, tmp_path / "c")


def test_gradient_checkpointing_gives_the_same_losses_and_is_undone(
    loader: Loader, rows: Rows, valid: Rows, tmp_path: Path
) -> None:
    plain = make_variant("article/lora", iters=2)
    loaded, first = run(loader, plain, rows, valid, tmp_path / "a")
    kind = type(loaded.model.layers[0])
    call = kind.__call__
    saving = make_variant("article/lora", iters=2, grad_checkpoint="true")
    _, second = run(loader, saving, rows, valid, tmp_path / "b")
    assert kind.__call__ is call
    assert second.curve[-1].val_loss == pytest.approx(first.curve[-1].val_loss, rel=SAME_LOSS)


def test_optimizer_options_are_those_of_the_installed_mlx() -> None:
    import inspect

    from harness.train.trainable import _OPTIMIZERS

    for name, options in OPTIMIZER_OPTIONS.items():
        signature = set(inspect.signature(_OPTIMIZERS[name]).parameters)
        assert signature - {"learning_rate"} == options


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZER_OPTIONS))
def test_every_optimizer_trains(
    optimizer: str, loader: Loader, rows: Rows, valid: Rows, out: Path
) -> None:
    # A step that shows in a float32 loss with plain gradients too.
    variant = make_variant("article/lora", iters=1, optimizer=optimizer, learning_rate="1e-2")
    _, result = run(loader, variant, rows, valid, out)
    assert result.curve[-1].val_loss != result.curve[0].val_loss


def test_a_schedule_takes_the_place_of_the_learning_rate(loader: Loader) -> None:
    variant = make_variant(
        "article/lora", lr_schedule="{name: cosine_decay, arguments: [1e-3, 10], warmup: 2}"
    )
    loaded = loader(variant)
    apply_variant(loaded.model, variant)
    optimizer = build_optimizer(variant, loaded.model)
    assert float(optimizer.learning_rate) == 0.0
