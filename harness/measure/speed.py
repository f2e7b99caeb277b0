"""Generation speed by our own clock: a prompt -> one trial.

A trial ignores the stop token and generates a fixed number of tokens, so that every variant does
the same work. Rate is ``(n - 1) / (t_last - t_first)``: mlx-lm's own figure counts the first
token but not its time (5% at 20 tokens). Time to first token stands apart and gives the prompt
rate. Warm-up, interleaving and medians are the pipeline's part. Whether the machine was busy
meanwhile is found by ``contention.py``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from harness.backend import mx
from harness.errors import UserError
from harness.measure.decode import batchable, decoder_of
from harness.models.config import ModelConfig
from harness.models.load import LoadedModel
from harness.schema.stage_results import Trial


def trial(loaded: LoadedModel, prompt: Sequence[int], new_tokens: int) -> Trial:
    """Answer one prompt with exactly ``new_tokens`` tokens, greedily, through mlx-lm.

    Raises:
        UserError: fewer than two new tokens, or prompt and answer exceed the model's context.
    """
    _check(loaded, [prompt], new_tokens)
    from mlx_lm.generate import generate_step, generation_stream, wired_limit

    loaded.model.eval()
    tokens = mx.array(list(prompt))
    mx.eval(tokens)
    with wired_limit(loaded.model, [generation_stream]):
        start = time.perf_counter()
        stamps = [
            time.perf_counter() for _ in generate_step(tokens, loaded.model, max_tokens=new_tokens)
        ]
    # generate_step has started one token too many: let it end before anything else is timed.
    mx.synchronize(generation_stream)
    ttft = stamps[0] - start
    return Trial(
        prompt_tokens=len(prompt),
        prompt_tokens_per_s=len(prompt) / ttft,
        ttft_s=ttft,
        generation_tokens_per_s=(new_tokens - 1) / (stamps[-1] - stamps[0]),
        inter_token_s=[later - one for one, later in itertools.pairwise(stamps)],
        wall_s=time.perf_counter() - start,
    )


def batched_trial(loaded: LoadedModel, prompts: Sequence[Sequence[int]], new_tokens: int) -> float:
    """Answer all prompts at once with exactly ``new_tokens`` tokens each.

    One prompt after the other, as the evaluation answers them, where the architecture decodes no
    batch.

    Returns:
        Tokens of all rows a second, after the first step.

    Raises:
        UserError: as :func:`trial`, or there are no prompts.
    """
    _check(loaded, prompts, new_tokens)
    from mlx_lm.generate import wired_limit

    loaded.model.eval()
    groups = [prompts] if batchable(loaded.model) else [[prompt] for prompt in prompts]
    rest_s = 0.0
    with wired_limit(loaded.model):
        for group in groups:
            decoder = decoder_of(loaded.model, group)
            decoder.step()
            start = time.perf_counter()
            for _ in range(new_tokens - 1):
                decoder.step()
            rest_s += time.perf_counter() - start
    return len(prompts) * (new_tokens - 1) / rest_s


def _check(loaded: LoadedModel, prompts: Sequence[Sequence[int]], new_tokens: int) -> None:
    if new_tokens < 2:
        raise UserError(
            f"a speed trial needs at least 2 new tokens to have a rate, got {new_tokens}"
        )
    if not prompts or not all(prompts):
        raise UserError("a speed trial needs prompts of at least one token")
    context = ModelConfig(loaded.base.config).context
    longest = max(len(prompt) for prompt in prompts)
    if context is not None and longest + new_tokens > context:
        raise UserError(
            f"a prompt of {longest} tokens and {new_tokens} new ones exceed the model's context of "
            f"{context}. Generate fewer tokens or use a shorter prompt."
        )
