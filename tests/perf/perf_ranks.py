"""What each rank spends on a sum over all ranks and on its share of answers: docs/machines.md.

`mlx.launch -n 2 -- python tests/perf/perf_ranks.py` prints a line for each rank.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).parent)]

from child import model_state  # noqa: E402

from harness.backend import mx  # noqa: E402
from harness.measure.generate import GenerationProtocol, generate  # noqa: E402
from harness.sharding import Shard  # noqa: E402

NUMBERS = 1_308_000
"""Gradients of smollm2's LoRA of rank 8 in float32: 5.2 MB."""
SUMS, PROMPTS, NEW_TOKENS = 40, 128, 16


def main() -> None:
    share = Shard.of_the_group()
    gradients = mx.ones((NUMBERS,))
    mx.eval(gradients)
    walls, started = [], time.process_time()
    for _ in range(SUMS):
        began = time.perf_counter()
        mx.eval(mx.distributed.all_sum(gradients))
        walls.append(time.perf_counter() - began)
    summing = (time.process_time() - started) / SUMS
    held = model_state("base", model="tiny")
    loaded = held.model(None)
    prompts = held.prompts(held.dataset.test.examples[:PROMPTS], loaded)
    protocol = GenerationProtocol(max_new_tokens=NEW_TOKENS, stop_at_newline=False)
    generate(loaded, prompts[:2], protocol)
    started = time.process_time()
    generate(loaded, prompts, protocol, share=share)
    print(
        f"rank {share.rank} of {share.size}: a sum of {NUMBERS * 4 / 1e6:.1f} MB takes "
        f"{1e3 * median(walls):.1f} ms, {1e3 * summing:.1f} ms of processor time; its share of "
        f"{PROMPTS} answers {time.process_time() - started:.2f} s of processor time",
        flush=True,
    )


if __name__ == "__main__":
    main()
