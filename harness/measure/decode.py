"""Greedy decoding of several prompts at once: token rows -> one token a row a step.

Runs on mlx-lm's models and batch caches, as ``mlx_lm.generate.BatchGenerator`` does, but fills
each row's cache once, never touches the log-probabilities that nobody asked for, and drops a row
the moment its caller is done with it. Prompt positions get no vocabulary logits, nor does the
last block compute them: MLX is lazy, and only the caches are evaluated.

Stopping, text and order are the caller's (``generate.py``, ``speed.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.measure.prefixes import shared_prefixes
from harness.models.backend import mx

PREFILL_TOKENS = 2048
"""Positions of each row in one forward pass of a long prompt."""


class BatchDecoder:
    """The rows still decoding, their caches and the token each was fed last."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]]) -> None:
        """Fill the caches with all but the last token of every prompt.

        Args:
            model: an mlx-lm model in evaluation mode.
            prompts: token ids, each at least one long.
        """
        self._model = model
        self._inputs = mx.array([prompt[-1] for prompt in prompts])
        self._cache = filled_cache(model, [prompt[:-1] for prompt in prompts])

    def step(self) -> list[int]:
        """The most likely next token of each row, which is fed to it next time."""
        logits = self._model(self._inputs[:, None], cache=self._cache)
        self._inputs = mx.argmax(logits[:, -1, :], axis=-1)
        mx.eval(self._inputs)
        return [int(token) for token in np.array(self._inputs)]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, in this order; ``rows`` index the last step's tokens."""
        chosen = mx.array(list(rows))
        self._inputs = self._inputs[chosen]
        for cache in self._cache:
            cache.filter(chosen)


def filled_cache(model: Any, rows: Sequence[Sequence[int]]) -> list[Any]:
    """A cache a layer that holds ``rows``, in order; what rows begin with in common runs once."""
    groups = shared_prefixes(rows)
    if all(group.length == 0 for group in groups):
        cache = _empty_cache(model, len(rows))
        _extend(model, cache, rows)
        return cache
    cache = _empty_cache(model, len(groups))
    _extend(model, cache, [rows[group.rows[0]][: group.length] for group in groups])
    source = {
        row: (place, group.length) for place, group in enumerate(groups) for row in group.rows
    }
    copies = mx.array([source[row][0] for row in range(len(rows))])
    for layer in cache:
        layer.filter(copies)
    _extend(model, cache, [row[source[place][1] :] for place, row in enumerate(rows)])
    return cache


def _extend(model: Any, cache: list[Any], rows: Sequence[Sequence[int]]) -> None:
    """Run ``rows`` (some may be empty) through the model and append them to their caches."""
    lengths = [len(row) for row in rows]
    width = max(lengths)
    if width == 0:
        return
    tokens = np.zeros((len(rows), width), np.int32)
    for position, row in enumerate(rows):
        tokens[position, : len(row)] = row
    padded = min(lengths) < width
    if padded:
        for layer in cache:
            layer.prepare(lengths=lengths, right_padding=[width - length for length in lengths])
    for start in range(0, width, PREFILL_TOKENS):
        model(mx.array(tokens[:, start : start + PREFILL_TOKENS]), cache=cache)
        mx.eval([layer.state for layer in cache])
    if padded:
        for layer in cache:
            layer.finalize()
        mx.eval([layer.state for layer in cache])


def _empty_cache(model: Any, rows: int) -> list[Any]:
    """An empty cache a layer for ``rows`` rows, of whatever kinds the architecture uses."""
    from mlx_lm.models.cache import make_prompt_cache

    single = [make_prompt_cache(model) for _ in range(rows)]
    return [layers[0].merge(list(layers)) for layers in zip(*single, strict=True)]
