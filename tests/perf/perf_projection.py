"""Answering and scoring the whole of WikiSQL's test split, projected: for `make perf`.

A sample's processor seconds a token, times the tokens of all; checked against 500 answers that were
measured. Mistral-7B's time follows from its own bytes and operations instead (`mistral`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

WIKISQL_TEST = 15_878
MEASURED = 500
BLOCK, EVERY = 16, 3
"""Neighbours of the sample, which share beginnings as all do, and of how many blocks one is in it:
more rows than go through the model as one, so that they are answered as all are."""
ROWS = 64
"""Rows of a decoding step."""

_WEIGHTS = 7.248e9  # Mistral-7B: its products and its vocabulary
_BITS = 4.5  # 4 and, for each 64 weights, a scale and a bias of 16


def projection(folder: str) -> dict[str, Any]:
    """Processor seconds and tokens of a third of the answers of the adapter in ``folder`` to 500
    questions of all splits of mini, and of all 500."""
    from child import model_state

    held = model_state("lora")
    from harness.data.tokens import encode_prompt
    from harness.measure.generate import generate

    loaded = held.model(Path(folder))
    splits = (held.dataset.test, held.dataset.valid, held.dataset.train)
    prompts = [
        encode_prompt(loaded.tokenizer, held.style, e.question, split.tables[e.table_id])
        for split in splits
        for e in split.examples
    ][:MEASURED]
    generate(loaded, prompts[:2])

    def measured(rows: list[list[int]]) -> dict[str, float]:
        started = time.process_time()
        answers = generate(loaded, rows)
        seconds = time.process_time() - started
        return {
            "seconds": seconds,
            "rows": len(rows),
            "prompt_tokens": sum(map(len, rows)),
            "answer_tokens": sum(answer.tokens for answer in answers),
        }

    sample = [prompt for at, prompt in enumerate(prompts) if at // BLOCK % EVERY == 0]
    return {"sample": measured(sample), "all": measured(prompts)}


def projected_s(sample: dict[str, float], rows: int, prompt_tokens: float) -> float:
    """Seconds of ``rows`` prompts of so many tokens in all, answered as long as the sample's."""
    per_token = sample["seconds"] / (sample["prompt_tokens"] + sample["answer_tokens"])
    return per_token * (prompt_tokens + rows * sample["answer_tokens"] / sample["rows"])


def mistral_s(
    rows: int, prompt_tokens: float, answer_tokens: float, gflops: float, gb_per_s: float
) -> float:
    """Seconds of ``rows`` answers of Mistral-7B in 4 bits, of so many tokens each.

    A prompt's token costs two operations a weight; a decoding step of 64 rows the longer of reading
    all weights once and two operations a weight and row. Attention over prompts this short is left
    out: 2 x 32 layers x 4,096 x positions, below a percent of the weights' operations.
    """
    prefill = rows * prompt_tokens * 2 * _WEIGHTS / (gflops * 1e9)
    step = max(_WEIGHTS * _BITS / 8 / (gb_per_s * 1e9), ROWS * 2 * _WEIGHTS / (gflops * 1e9))
    return prefill + rows / ROWS * answer_tokens * step
