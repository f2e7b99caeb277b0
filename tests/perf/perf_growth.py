"""How time and memory grow with examples, length and model size: one point a process."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path
from typing import Any


def prompts(count: str) -> dict[str, Any]:
    """Answer ``count`` test prompts with `tiny`, 32 new tokens at most."""
    from child import model_state

    held = model_state("base", model="tiny")
    from harness.measure.generate import GenerationProtocol, generate
    from harness.measure.memory import MemoryPhase

    loaded = held.model(None)
    have = held.prompts(held.dataset.test.examples, loaded)
    rows = [have[at % len(have)] for at in range(int(count))]
    protocol = GenerationProtocol(max_new_tokens=32, stop_at_newline=False)
    generate(loaded, rows[:16], protocol)
    with MemoryPhase() as phase:
        started = time.perf_counter()
        generate(loaded, rows, protocol)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "bytes": phase.measured.mlx_peak_bytes}


def length(tokens: str) -> dict[str, Any]:
    """Test loss of 8 rows of ``tokens`` tokens with the default model."""
    from child import model_state

    held = model_state("base")
    loaded = held.model(None)
    return _losses(loaded.model, 8, int(tokens))


def size(width: str) -> dict[str, Any]:
    """Test loss of 16 rows of 64 tokens with a random llama of ``width``."""
    from harness.backend import mx, nn  # isort: skip  (the BLAS before mlx_lm)
    from mlx.utils import tree_flatten
    from mlx_lm.models import llama

    from harness.models.cpu.accelerate import accelerate

    wide = int(width)
    model = llama.Model(
        llama.ModelArgs(
            model_type="llama",
            hidden_size=wide,
            num_hidden_layers=12,
            intermediate_size=wide * 8 // 3,
            num_attention_heads=wide // 64,
            rms_norm_eps=1e-5,
            vocab_size=32_000,
            tie_word_embeddings=True,
        )
    )
    model.eval()
    mx.eval(model.parameters())
    accelerate(model)
    count = sum(array.size for _, array in tree_flatten(model.parameters()))
    assert isinstance(model, nn.Module)
    return {**_losses(model, 16, 64), "parameters": count}


def _losses(model: Any, rows: int, tokens: int) -> dict[str, Any]:
    import numpy as np

    from harness.data.tokens import TokenizedExample
    from harness.measure.loss import evaluate
    from harness.measure.memory import MemoryPhase

    generator = np.random.default_rng(0)
    examples = [
        TokenizedExample(
            at, "t", tuple(int(t) for t in generator.integers(5, 30_000, tokens)), tokens // 2
        )
        for at in range(rows)
    ]
    evaluate(model, examples[:1])
    with MemoryPhase() as phase:
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            evaluate(model, examples)
            seconds.append(time.perf_counter() - started)
    return {"seconds": min(seconds), "bytes": phase.measured.mlx_peak_bytes}


def scored(count: str) -> dict[str, Any]:
    """Score ``count`` predictions; seconds with gold results at hand, and the peak of memory."""
    from perf_scoring import enlarged

    from harness.cli.scoring import run_score
    from harness.disk.cache import Cache

    with tempfile.TemporaryDirectory() as root:
        folder, cache = enlarged(Path(root) / "data", int(count)), Cache(Path(root) / "cache")
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            run_score(folder, "test", folder / "predictions.jsonl", "wikisql", cache=cache)
            seconds.append(time.perf_counter() - started)
    return {
        "cold": seconds[0],
        "warm": seconds[1],
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
