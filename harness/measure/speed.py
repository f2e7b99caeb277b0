"""Generation speed by our own clock: a prompt -> one trial.

A trial ignores the stop token and generates a fixed number of tokens, so that every variant does
the same work. Rate is ``(n - 1) / (t_last - t_first)``: mlx-lm's own figure counts the first
token but not its time (5% at 20 tokens). Time to first token stands apart and gives the prompt
rate. A trial that is over in an instant is repeated, and counts as one. Interleaving and medians
are the pipeline's part. Whether the machine was busy meanwhile is found by ``contention.py``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from harness.backend import backend_name, mx
from harness.errors import UserError
from harness.measure.decode import batchable, decoder_of
from harness.models.config import ModelConfig
from harness.models.load import LoadedModel
from harness.schema.stage_results import Trial

CPU_WARM_UP_TOKENS = 4


def trial(
    loaded: LoadedModel, prompt: Sequence[int], new_tokens: int, least_s: float = 0.0
) -> Trial:
    """Answer one prompt with exactly ``new_tokens`` tokens, greedily, through mlx-lm; again until
    ``least_s`` seconds have passed. Rates are over all repetitions, the first token's time is their
    mean.

    Raises:
        UserError: fewer than two new tokens, or prompt and answer exceed the model's context.
    """
    _check(loaded, [prompt], new_tokens)
    from mlx_lm.generate import generate_step, generation_stream, wired_limit

    loaded.model.eval()
    tokens = mx.array(list(prompt))
    mx.eval(tokens)
    firsts: list[float] = []
    gaps: list[float] = []
    begin = time.perf_counter()
    with wired_limit(loaded.model, [generation_stream]):
        while not firsts or time.perf_counter() - begin < least_s:
            start = time.perf_counter()
            steps = generate_step(tokens, loaded.model, max_tokens=new_tokens)
            stamps = [time.perf_counter() for _ in steps]
            # It has started one token too many: let it end before anything else is timed.
            mx.synchronize(generation_stream)
            firsts.append(stamps[0] - start)
            gaps += [later - one for one, later in itertools.pairwise(stamps)]
    ttft = sum(firsts) / len(firsts)
    return Trial(
        prompt_tokens=len(prompt),
        prompt_tokens_per_s=len(prompt) / ttft,
        ttft_s=ttft,
        generation_tokens_per_s=len(gaps) / sum(gaps),
        inter_token_s=gaps,
        wall_s=(time.perf_counter() - begin) / len(firsts),
    )


def batched_trial(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], new_tokens: int, least_s: float = 0.0
) -> float:
    """Answer all prompts at once with exactly ``new_tokens`` tokens each; again until the steps
    that count have taken ``least_s`` seconds.

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
    rest_s, times = 0.0, 0
    with wired_limit(loaded.model):
        while not times or rest_s < least_s:
            times += 1
            for group in groups:
                decoder = decoder_of(loaded.model, group)
                decoder.step()
                start = time.perf_counter()
                for _ in range(new_tokens - 1):
                    decoder.step()
                rest_s += time.perf_counter() - start
                mx.synchronize()  # on a GPU one step more is under way
    return times * len(prompts) * (new_tokens - 1) / rest_s


def warm_up(loaded: LoadedModel, prompt: Sequence[int], batch: int, new_tokens: int) -> None:
    """One round that is not timed: whole on a GPU, whose kernels are compiled and whose clocks rise
    meanwhile; on a CPU, which has neither to do, a few tokens of each."""
    few = new_tokens if backend_name() != "cpu" else min(new_tokens, CPU_WARM_UP_TOKENS)
    trial(loaded, prompt, few)
    batched_trial(loaded, [prompt] * batch, few)


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
