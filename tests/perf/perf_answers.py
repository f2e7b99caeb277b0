"""A trained adapter at work beside mlx-lm: answering test prompts, and test loss."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from child import model_state


def adapter(folder: str) -> dict[str, Any]:
    """LoRA as shipped, trained once into ``folder``: what the next two measure."""
    from harness.train.finetune import finetune, read_result

    out = Path(folder)
    if read_result(out)[0] is None:
        held = model_state("lora")
        from harness.models.load import load

        loaded = load(held.base)
        rows, valid = held.training_rows(loaded)
        finetune(loaded, held.variant, rows.examples, valid.examples, out)
    return {"adapter": folder}


def _both_models(folder: str) -> tuple[Any, Any, Any]:
    """The model state, the accelerated model and the same model as mlx-lm loads it."""
    held = model_state("lora")  # before mlx_lm: the BLAS must be loaded before MLX
    from harness.models.load import load

    return held, held.model(folder), load(held.base, Path(folder))


def generation(folder: str, count: str) -> dict[str, Any]:
    """Seconds a prompt of our batches and of a loop over `mlx_lm.generate`.

    Ours answers the whole test split before and after the loop answers ``count`` of it, evenly
    spaced: a loop's prompts know nothing of each other, and all of them would take it ten minutes.
    """
    held, fast, stock = _both_models(folder)
    from mlx_lm import generate as one_by_one

    from harness.measure.generate import generate

    prompts = held.prompts(held.dataset.test.examples, fast)
    sampled = [at * len(prompts) // int(count) for at in range(int(count))]
    generate(fast, prompts[:2])
    one_by_one(stock.model, stock.tokenizer, prompts[0], max_tokens=4)
    ours: list[float] = []
    loop: list[float] = []
    texts: list[str] = []
    by_batch: list[float] = []

    def batches(into: list[float]) -> list[Any]:
        started = time.perf_counter()
        answers = generate(fast, prompts)
        into.append((time.perf_counter() - started) / len(prompts))
        return answers

    answers = batches(ours)
    for at in sampled:
        started = time.perf_counter()
        texts.append(one_by_one(stock.model, stock.tokenizer, prompts[at], max_tokens=128))
        loop.append(time.perf_counter() - started)
    batches(ours)
    chosen = fast.answering.batches
    alone = replace(fast.answering, batches=1)
    fast.acceleration = replace(fast.acceleration, answering=alone)
    one_at_a_time = batches(by_batch)
    # mlx-lm's detokenizer takes the leading space away.
    lines = [text.strip().split("\n", 1)[0] for text in texts]
    same = sum(
        answers[at].text.strip() == line.strip() for at, line in zip(sampled, lines, strict=True)
    )
    # The loop's mean: its total is what is compared, its prompts differ in length.
    return {
        "ours": ours,
        "loop": [sum(loop) / len(loop)],
        "same": same,
        "of": len(sampled),
        "all": len(prompts),
        "joined": chosen,
        "by_batch": by_batch[0],
        "same_by_batch": sum(
            one.text == other.text for one, other in zip(answers, one_at_a_time, strict=True)
        ),
        "tokens": sum(answer.tokens for answer in answers) / len(answers),
    }


def test_loss(folder: str, count: str) -> dict[str, Any]:
    """Seconds a test row of our evaluation and of mlx-lm's, interleaved; both losses."""
    held, fast, stock = _both_models(folder)
    from mlx_lm.tuner.trainer import evaluate as theirs

    from harness.backend import mx
    from harness.measure.loss import CompatSettings, evaluate, mlx_lm_compat
    from harness.protocols import BATCH_ROWS

    rows = held.rows(held.examples(range(int(count))), fast)
    dataset = [(row.tokens, 0) for row in rows]
    ours: list[float] = []
    mlx_lm: list[float] = []
    for _ in range(4):
        started = time.perf_counter()
        found = evaluate(fast.model, rows, BATCH_ROWS)
        ours.append((time.perf_counter() - started) / len(rows))
        import numpy as np

        np.random.seed(0)
        started = time.perf_counter()
        loss = theirs(stock.model, dataset, batch_size=4, num_batches=-1, max_seq_length=2048)
        mlx_lm.append((time.perf_counter() - started) / len(rows))
        mx.clear_cache()
    compat = mlx_lm_compat(found, CompatSettings(test_batches=-1))
    assert compat is not None
    return {"ours": ours[1:], "mlx_lm": mlx_lm[1:], "loss": compat.loss, "their_loss": float(loss)}
