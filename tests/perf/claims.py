"""The timings behind the README's ratios, one process each: prints one JSON object.

``stock-step`` is one forward and backward of a QLoRA model exactly as pip installs mlx-lm (its
reference BLAS, its kernels); ``our-step`` is the same with this project's BLAS and kernels;
``generation`` sets our batched generation beside a loop over ``mlx_lm.generate``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

ROWS = 4
TOKENS = 83
PROMPTS = 16
NEW_TOKENS = 32


def main(what: str) -> dict[str, Any]:
    """Measure ``what``."""
    if what == "stock-step":
        os.environ["TUNEBENCH_BLAS"] = "off"
    return generation() if what == "generation" else step(accelerated=what == "our-step")


def _model_state(variant: str) -> Any:
    from harness.disk.cache import Cache
    from harness.progress import silent
    from harness.schema.stage_results import OpenRequest
    from harness.train.variants import load_variants
    from harness.worker.state import ModelState

    chosen = load_variants([variant])[0]
    request = OpenRequest(
        model="smollm2",
        variant=chosen.config(),
        dataset="mini",
        prompt_style="dialect",
        cache_root=str(Cache().root),
    )
    return ModelState(request, silent, lambda _: None)


def step(accelerated: bool) -> dict[str, Any]:
    """Seconds and loss of one QLoRA forward and backward of 4 x 83 tokens, no pad among them."""
    from harness.backend import blas, mx, nn
    from harness.models.cpu.accelerate import accelerate
    from harness.models.load import load
    from harness.train.trainable import apply_variant

    model_state = _model_state("qlora")
    loaded = load(model_state.base)
    train, _ = model_state.training_rows(loaded)
    rows = [row.tokens[:TOKENS] for row in train.examples if len(row.tokens) >= TOKENS][:ROWS]
    batch = mx.array(rows)
    if accelerated:
        accelerate(loaded.model, hold=False)
    apply_variant(loaded.model, model_state.variant)
    loaded.model.train()

    def mean_loss(model: Any, tokens: Any) -> Any:
        logits = model(tokens[:, :-1])
        return nn.losses.cross_entropy(logits, tokens[:, 1:]).mean()

    value_and_grad = nn.value_and_grad(loaded.model, mean_loss)
    seconds = []
    # The stock step takes more than a minute: once is enough, its first touch is a percent.
    for _ in range(4 if accelerated else 1):
        started = time.perf_counter()
        loss, gradients = value_and_grad(loaded.model, batch)
        mx.eval(loss, gradients)
        seconds.append(time.perf_counter() - started)
    kept = seconds[1:] or seconds
    return {"seconds": sorted(kept)[len(kept) // 2], "loss": loss.item(), "blas": blas.name}


def generation() -> dict[str, Any]:
    """Tokens per second of our batches and of a loop over `mlx_lm.generate`, same prompts."""
    from harness.backend import blas
    from harness.measure.generate import GenerationProtocol, generate

    model_state = _model_state("lora")  # before mlx_lm: the BLAS must be loaded before MLX
    from mlx_lm import generate as one_by_one

    loaded = model_state.model(None)
    prompts = model_state.prompts(model_state.examples(range(PROMPTS)), loaded)
    protocol = GenerationProtocol(max_new_tokens=NEW_TOKENS, stop_at_newline=False)
    generate(loaded, prompts[:2], protocol)  # warm-up
    started = time.perf_counter()
    answers = generate(loaded, prompts, protocol)
    ours_s = time.perf_counter() - started
    started = time.perf_counter()
    texts = [
        one_by_one(loaded.model, loaded.tokenizer, prompt, max_tokens=NEW_TOKENS)
        for prompt in prompts
    ]
    loop_s = time.perf_counter() - started
    same = sum(a.text.strip() == t.strip() for a, t in zip(answers, texts, strict=True))
    return {"ours_s": ours_s, "loop_s": loop_s, "same": same, "of": len(prompts), "blas": blas.name}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
