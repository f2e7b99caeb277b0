"""Greedy decoding of several prompts at once: token rows -> one token per row and step.

Runs on mlx-lm's models and batch caches, as ``mlx_lm.generate.BatchGenerator`` does, but computes
beginnings that prompts share once (``batch_plan.py``), takes no log-probabilities, and drops a row
the moment its caller is done with it. Prompt positions get no vocabulary logits, nor does the last
block run for them: MLX is lazy, and only the caches are evaluated.

Stopping, text and order are the caller's (``generate.py``, ``speed.py``).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Container, Iterator, Sequence
from typing import Any

import numpy as np

from harness.backend import backend_name, mx
from harness.errors import UserError
from harness.measure.batch_plan import Rows, pad, plan
from harness.sharding import SINGLE_RANK, Shard

PREFILL_TOKENS = 2048
"""Positions of each row in one forward pass of a long prompt."""

_WINDOWS_A_RANK = 4
"""With fewer windows a rank, single batches are shared out: else one rank has a window more."""

CACHE_STEP = 64
"""Columns by which caches grow; mlx-lm's 256 would be mostly empty at the length of our prompts."""

_PROBE = (0, 1, 2, 3, 2, 1, 0)
_PROBE_LENGTHS = (3, 7, 5)
_ROUNDING = 0.2
"""Of the spread of a row's logits: more than low precision makes, less than a wrong mask does."""


class BatchDecoder:
    """The rows still decoding, their caches and the token each was fed last.

    On a GPU the next step is under way while the caller reads this one's tokens and the host builds
    the one after it, as in mlx-lm's generators: the device does not wait for the host. The tokens
    are the same; a row that its caller is done with has been fed once more.
    """

    def __init__(self, model: Any, cache: list[Any], last: Sequence[int]) -> None:
        """Continue from one ``cache`` per layer, of all but the ``last`` token of each prompt."""
        self._model = model
        self._cache = cache
        self._inputs = mx.array(list(last))  # (rows,)
        self._ahead = backend_name() != "cpu"
        self._under_way = False
        """Whether :attr:`_inputs` are tokens that :meth:`step` has not returned yet."""

    def step(self) -> list[int]:
        """The most likely next token of each row, which is fed to it next time."""
        tokens = self._inputs if self._under_way else self._feed()
        if self._ahead:
            self._begin()
        return [int(token) for token in np.array(tokens)]

    def _feed(self) -> mx.array:
        """Feed each row its last token; the next ones, not computed yet."""
        logits = self._model(self._inputs[:, None], cache=self._cache)  # (rows, 1, vocabulary)
        self._inputs = mx.argmax(logits[:, -1, :], axis=-1)
        return self._inputs

    def _begin(self) -> None:
        """Have the next step computed without waiting for it."""
        mx.async_eval(self._feed())  # type: ignore[no-untyped-call]
        self._under_way = True

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, in this order; ``rows`` index the last step's tokens."""
        chosen = mx.array(list(rows))
        self._inputs = self._inputs[chosen]
        for layer in self._cache:
            layer.filter(chosen)

    def extend(self, other: BatchDecoder) -> None:
        """Decode the rows of ``other`` too, after this one's; ``other`` is used up."""
        if self._under_way:
            other._begin()
        self._inputs = mx.concatenate([self._inputs, other._inputs])
        for layer, more in zip(self._cache, other._cache, strict=True):
            layer.extend(more)
        other._cache.clear()  # so a reference to `other` keeps no arrays alive


def decoders(
    model: Any,
    prompts: Rows,
    batch_size: int,
    done: Container[int] = (),
    share: Shard = SINGLE_RANK,
) -> Iterator[tuple[tuple[int, ...], BatchDecoder]]:
    """Every prompt in a batch ready to decode, with the prompts' positions.

    A batch of which every row is ``done`` is left out; the others are the same without it.

    Args:
        model: an mlx-lm model in evaluation mode.
        prompts: token ids, each at least one long.
        batch_size: rows decoded together; one, where the architecture's caches hold no batch.
        done: positions that need no decoding.
        share: of several ranks, which batches are this one's: whole windows in turn where there
            are many, so that a window's prefixes are computed once.
    """
    heads = [prompt[:-1] for prompt in prompts]
    if not batchable(model):
        for row, prompt in enumerate(prompts):
            if row not in done and share.takes(row):
                yield (row,), _single(model, prompt)
                mx.clear_cache()
        return
    windows = plan(heads, batch_size)
    by_window = len(windows) >= _WINDOWS_A_RANK * share.size
    numbers = itertools.count()
    for position, window in enumerate(windows):
        wanted = [
            batch
            for batch, number in zip(window.batches, numbers, strict=False)
            if share.takes(position if by_window else number)
            and not all(row in done for row in batch)
        ]
        if not wanted:
            continue
        ahead = _cache_of(model, [heads[row][:length] for row, length in window.prefixes])
        for batch in wanted:
            places = [window.starts[row].place for row in batch]
            cache = _copy(ahead, places) if ahead else _empty_cache(model, len(batch))
            _extend(model, cache, [heads[row][window.starts[row].length :] for row in batch])
            yield batch, BatchDecoder(model, cache, [prompts[row][-1] for row in batch])
            mx.clear_cache()


def decoder_of(model: Any, prompts: Rows) -> BatchDecoder:
    """One batch of exactly these prompts, in order: what a speed trial times, after the prompts.
    Prompts that are all alike are computed once; the steps then have the same work.

    Raises:
        UserError: several prompts, and the architecture's caches hold no batch.
    """
    if not batchable(model):
        if len(prompts) > 1:
            raise UserError(
                f"mlx-lm cannot decode several prompts at once with {type(model).__module__}: its "
                "caches hold one row. Time a single prompt instead."
            )
        return _single(model, prompts[0])
    heads = [prompt[:-1] for prompt in prompts]
    if len(heads) > 1 and all(head == heads[0] for head in heads):
        cache = _copy(_cache_of(model, heads[:1]), [0] * len(heads))
    else:
        cache = _cache_of(model, heads)
    return BatchDecoder(model, cache, [prompt[-1] for prompt in prompts])


def _copy(ahead: list[Any], places: list[int]) -> list[Any]:
    """A cache whose rows are those of ``ahead`` at ``places``, which may repeat."""
    chosen, cache = mx.array(places), copy.deepcopy(ahead)
    for layer in cache:
        layer.filter(chosen)
    return cache


def _single(model: Any, prompt: Sequence[int]) -> BatchDecoder:
    return BatchDecoder(model, _single_cache(model, prompt[:-1]), prompt[-1:])


def _extend(model: Any, cache: list[Any], rows: Rows) -> None:
    """Run ``rows`` (some may be empty) through the model and append them to their caches."""
    lengths = [len(row) for row in rows]
    tokens = pad(rows)
    width = tokens.shape[1]
    if width == 0:
        return
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


def batchable(model: Any) -> bool:
    """Whether the architecture decodes rows of unlike length together, found by trying once."""
    known = getattr(model, "_tunebench_batchable", None)
    if known is None:
        from mlx_lm.models.cache import make_prompt_cache

        merges = all(hasattr(layer, "merge") for layer in make_prompt_cache(model))
        known = merges and _rows_are_independent(model)
        object.__setattr__(model, "_tunebench_batchable", known)
    return bool(known)


def _rows_are_independent(model: Any) -> bool:
    """Whether a row's logits are the same alone and beside longer ones, but for rounding.

    mlx-lm's gemma2 lays the mask of a batch over its heads: an error, or wrong numbers in silence
    where there happen to be as many rows as heads.
    """
    prompts = [row[-length:] for row, length in zip([_PROBE] * 3, _PROBE_LENGTHS, strict=True)]
    try:
        batch = _cache_of(model, [row[:-1] for row in prompts])
        last = mx.array([row[-1:] for row in prompts])
        together = np.array(model(last, cache=batch)[:, -1, :].astype(mx.float32))
    except ValueError:  # shapes that do not broadcast
        return False
    for row, found in zip(prompts, together, strict=True):
        logits = model(mx.array([row[-1:]]), cache=_single_cache(model, row[:-1]))
        alone = np.array(logits[0, -1].astype(mx.float32))
        if not np.abs(alone - found).max() < _ROUNDING * max(float(alone.std()), 1e-6):
            return False
    return True


def _single_cache(model: Any, row: Sequence[int]) -> list[Any]:
    from mlx_lm.models.cache import make_prompt_cache

    cache: list[Any] = make_prompt_cache(model)
    _extend(model, cache, [row])
    return cache


def _cache_of(model: Any, rows: Rows) -> list[Any]:
    """A batch's cache of each layer, holding ``rows``; no layers where there are no rows."""
    cache = _empty_cache(model, len(rows))
    _extend(model, cache, rows)
    return cache


def _empty_cache(model: Any, rows: int) -> list[Any]:
    """One empty cache for each layer, of ``rows`` rows and of the architecture's own kinds."""
    from mlx_lm.models.cache import BatchKVCache, make_prompt_cache

    single = [make_prompt_cache(model) for _ in range(rows)]
    cache = [layers[0].merge(list(layers)) for layers in zip(*single, strict=True)]
    for layer in cache:
        if isinstance(layer, BatchKVCache):
            layer.step = CACHE_STEP
    return cache
