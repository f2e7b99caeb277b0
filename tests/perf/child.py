"""Measurements that need MLX, one process each: prints one JSON object on its last line.

Arguments: what to measure, then its own. "ours" is what a run of the harness does; "mlx_lm" is
mlx-lm's own code on this project's BLAS; "stock" is mlx-lm as pip installs it.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROWS, TOKENS = 4, 83  # of the single step
WARM_UP = 1  # iterations left out: compilation, first touches
VALIDATED = 24


def model_state(variant: str, model: str = "smollm2", **changes: Any) -> Any:
    """``model`` and the default data with ``variant``, its fields changed."""
    from harness.disk.cache import Cache
    from harness.progress import silent
    from harness.schema.stage_results import OpenRequest
    from harness.train.variants import load_variants
    from harness.worker.state import ModelState

    chosen = load_variants([variant])[0].model_copy(update=changes)
    request = OpenRequest(
        model=model,
        variant=chosen.config(),
        dataset="mini",
        prompt_style="dialect",
        cache_root=str(Cache().root),
    )
    return ModelState(request, silent, lambda _: None)


def train(side: str, iterations: str, model: str = "smollm2") -> dict[str, Any]:
    """Fine-tune LoRA on the mini corpus; tokens a second and the loss it ends with."""
    count = int(iterations)
    held = model_state("lora", model, iters=count, steps_per_eval=count, steps_per_report=count)
    from harness.models.load import load

    loaded = load(held.base)
    rows, valid = held.training_rows(loaded)
    run = _train_ours if side == "ours" else _train_mlx_lm
    return run(held.variant, loaded, rows.examples, valid.examples)


def _train_ours(variant: Any, loaded: Any, rows: Any, valid: Any) -> dict[str, Any]:
    from harness.train.finetune import finetune

    with tempfile.TemporaryDirectory() as folder:
        found = finetune(loaded, variant, rows, valid, Path(folder))
    # The last row's window begins after the first iteration, which compiles.
    rate = found.curve[-1].tokens_per_s
    assert rate is not None
    overhead = found.overhead_s / (found.step_s + found.overhead_s)
    return {
        "seconds_per_token": 1 / rate / (1 - overhead),
        "overhead": overhead,
        "val_loss": found.curve[-1].val_loss,
        "peak_rss": _peak_rss(),
    }


def _train_mlx_lm(variant: Any, loaded: Any, rows: Any, valid: Any) -> dict[str, Any]:
    """mlx-lm's trainer, batches, loss and optimizer, as ``mlx_lm.lora`` puts them together."""
    import mlx.optimizers as optim
    from mlx_lm.tuner import trainer
    from mlx_lm.tuner.utils import linear_to_lora_layers

    from harness.train.loss_function import mean_loss, validation_rows

    model = loaded.model
    model.freeze()
    parameters = variant.lora_parameters.model_dump(exclude_none=True)
    linear_to_lora_layers(model, variant.num_layers, parameters)
    marks: list[float] = []
    tokens: list[int] = []

    def batches(**settings: Any) -> Any:
        for batch, lengths in trainer.iterate_batches(**settings):
            marks.append(time.perf_counter())
            tokens.append(int(lengths[:, 1].sum().item()))
            yield batch, lengths

    with tempfile.TemporaryDirectory() as folder:
        arguments = trainer.TrainingArgs(
            batch_size=variant.batch_size,
            iters=variant.iters,
            steps_per_report=10,
            steps_per_save=variant.iters + 1,
            max_seq_length=variant.max_seq_length,
            adapter_file=str(Path(folder) / "adapters.safetensors"),
        )
        trainer.train(
            model=model,
            optimizer=optim.Adam(learning_rate=variant.learning_rate),
            train_dataset=[(row.tokens, 0) for row in rows],
            val_dataset=None,
            args=arguments,
            iterate_batches=batches,
        )
    marks.append(time.perf_counter())
    spent = [after - before for before, after in itertools.pairwise(marks)]
    pairs = list(zip(spent, tokens, strict=True))[WARM_UP:]
    subset = validation_rows(valid, VALIDATED)
    return {
        "seconds_per_token": sum(s for s, _ in pairs) / sum(n for _, n in pairs),
        "val_loss": mean_loss(model, subset, 4),
        "peak_rss": _peak_rss(),
    }


def step(side: str, variant: str, repeats: str) -> dict[str, Any]:
    """One forward and backward of 4 x 83 tokens, no pad among them: seconds, loss, peak memory."""
    if side == "stock":
        os.environ["TUNEBENCH_BLAS"] = "off"
    held = model_state(variant)
    from harness.backend import blas, mx, nn
    from harness.models.chunked_loss import split_for_loss
    from harness.models.load import load
    from harness.train.loss_function import scored_positions, training_loss
    from harness.train.trainable import apply_variant

    loaded = load(held.base)
    train, _ = held.training_rows(loaded)
    rows = [row.tokens[:TOKENS] for row in train.examples if len(row.tokens) >= TOKENS][:ROWS]
    if side == "ours":
        loaded.accelerate(hold=False)
    apply_variant(loaded.model, held.variant)
    split = split_for_loss(loaded.model, loaded.chunked_loss)
    loaded.model.train()
    spans = [(0, TOKENS)] * ROWS
    scored = mx.array(spans), mx.array(float(ROWS * (TOKENS - 1)))
    positions = mx.array(scored_positions(spans, TOKENS - 1))

    def mlx_loss(model: Any, tokens: Any) -> Any:
        return nn.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:]).mean()

    def our_loss(model: Any, tokens: Any) -> Any:
        return training_loss(model, tokens, *scored, positions, split)[0]

    compute = nn.value_and_grad(loaded.model, our_loss if side == "ours" else mlx_loss)
    batch, seconds = mx.array(rows), []
    start = mx.get_active_memory()
    mx.reset_peak_memory()
    for _ in range(int(repeats)):
        started = time.perf_counter()
        loss, gradients = compute(loaded.model, batch)
        mx.eval(loss, gradients)
        seconds.append(time.perf_counter() - started)
    return {
        # The first touch is a percent of the minute a stock step takes, but not of ours.
        "seconds": seconds[1:] or seconds,
        "loss": loss.item(),
        "blas": blas.name,
        "active_bytes": start,
        "mlx_peak_bytes": mx.get_peak_memory(),
        "peak_rss": _peak_rss(),
    }


def _peak_rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    from perf_answers import adapter, generation, test_loss
    from perf_decoding import decoding_step
    from perf_growth import length, prompts, scored, size
    from perf_operations import operations
    from perf_projection import projection
    from perf_stages import decoding, training

    known = (train, step, adapter, generation, test_loss, prompts, length, size, scored)
    known += (training, operations, decoding, decoding_step, projection)
    chosen = {function.__name__: function for function in known}[sys.argv[1]]
    print(json.dumps(chosen(*sys.argv[2:])))
