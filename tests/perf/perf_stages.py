"""Where the time of a training step and of answering goes: seconds by stage, for `make perf`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

REPEATS = 3
PROMPTS = 64


def training(variant: str) -> dict[str, Any]:
    """Seconds of the parts of one step of 4 x 83 tokens, ours and with MLX's own functions.

    Parts that cannot be run alone are differences: backward is forward and backward less forward.
    """
    from child import ROWS, TOKENS, model_state

    from harness.train.trainable import apply_variant, build_optimizer

    held = model_state(variant)
    from harness.backend import mx, nn
    from harness.models.chunked_loss import token_losses, trained_losses
    from harness.models.cpu.accelerate import accelerate
    from harness.models.load import load

    loaded = load(held.base)
    model = loaded.model
    train, _ = held.training_rows(loaded)
    rows = [row.tokens[:TOKENS] for row in train.examples if len(row.tokens) >= TOKENS][:ROWS]
    batch = mx.array(rows)
    accelerate(model, hold=False)
    apply_variant(model, held.variant)
    model.train()
    inputs, targets = batch[:, :-1], batch[:, 1:].reshape(-1)
    backbone, head = model.model, model.model.embed_tokens.as_linear
    states = backbone(inputs).reshape(targets.size, -1)
    mx.eval(states)
    both = nn.value_and_grad(model, lambda m: m.model(inputs).sum())
    logits = head(states)
    mx.eval(logits)

    def stock_loss(x: Any) -> Any:
        return nn.losses.cross_entropy(x, targets).sum()

    forward = _seconds(lambda: mx.eval(backbone(inputs)))
    whole = _seconds(lambda: mx.eval(both(model)))
    layer = _seconds(lambda: mx.eval(head(states)))
    layer_back = _seconds(lambda: mx.eval(mx.grad(lambda x: head(x).sum())(states)))
    ours = _seconds(
        lambda: mx.eval(mx.grad(lambda x: trained_losses(head, x, targets).sum())(states))
    )
    _, gradients = both(model)
    optimizer = build_optimizer(held.variant, model)
    update = _seconds(lambda: _update(optimizer, model, gradients, mx))
    stock = _seconds(lambda: mx.eval(mx.value_and_grad(stock_loss)(logits)))
    evaluated = _seconds(lambda: mx.eval(token_losses(head, states, targets)))
    products = layer + layer_back
    return {
        "backbone, forward": [forward, forward],
        "backbone, backward": [whole - forward, whole - forward],
        "output layer, both products": [products, products],
        "cross-entropy and its gradient": [max(0.0, ours - products), stock],
        "optimizer": [update, update],
        "evaluation only: output layer and loss": [evaluated, layer + stock / 2],
    }


def _update(optimizer: Any, model: Any, gradients: Any, mx: Any) -> None:
    optimizer.update(model, gradients)
    mx.eval(model.trainable_parameters(), optimizer.state)


def decoding(folder: str) -> dict[str, Any]:
    """Seconds of prefill (shared beginnings, rests), decoding and the rest of answering."""
    from child import model_state

    held = model_state("lora")
    from harness.backend import mx
    from harness.measure import decode, generate

    loaded = held.model(folder)
    prompts = held.prompts(held.examples(range(PROMPTS)), loaded)
    spent = {"prefill": 0.0, "decoding": 0.0, "rows joining and leaving": 0.0}
    steps = {"steps": 0, "rows": 0}

    def timed(owner: Any, name: str, stage: str) -> None:
        inner = getattr(owner, name)

        def outer(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            value = inner(*arguments, **named)
            if stage == "rows joining and leaving":  # else the next step computes it
                mx.eval([layer.state for layer in arguments[0]._cache])
            spent[stage] += time.perf_counter() - started
            if stage == "decoding":
                steps["steps"] += 1
                steps["rows"] += len(value)
            return value

        setattr(owner, name, outer)

    timed(decode, "_extend", "prefill")
    timed(decode.BatchDecoder, "step", "decoding")
    for name in ("keep", "extend"):
        timed(decode.BatchDecoder, name, "rows joining and leaving")
    generate.generate(loaded, prompts[:2])
    for stage in spent:
        spent[stage] = 0.0
    steps.update(steps=0, rows=0)
    started = time.perf_counter()
    answers = generate.generate(loaded, prompts)
    spent["stopping, texts, caches"] = time.perf_counter() - started - sum(spent.values())
    tokens = sum(answer.tokens for answer in answers)
    return {"stages": spent, "prompts": PROMPTS, "tokens": tokens, **steps}


def _seconds(compute: Callable[[], Any]) -> float:
    compute()
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        compute()
        found.append(time.perf_counter() - started)
    return sorted(found)[REPEATS // 2]
