"""From how many elements on SwiGLU, softmax and attention gain by the vectorized exponential.

:func:`measure` times MLX's functions and ours (``vector_exp.py``, ``attention.py``) on few and on
many elements, once a process; the record (:class:`VectorExp`) is kept with a training and reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

from harness.backend import mx
from harness.models.cpu.attention import attention
from harness.models.cpu.timing import shortest
from harness.models.cpu.vector_exp import softmax, swiglu

_ELEMENTS = (2**10, 2**17)  # few and many, both measured


class Timing(NamedTuple):
    """Seconds of MLX's function and ours on as many elements."""

    elements: int
    stock_s: float
    ours_s: float


@dataclass(frozen=True, slots=True)
class VectorExp:
    """From how many elements on each function is ours (None: never), and the times behind it."""

    swiglu_min: int | None
    softmax_min: int | None
    """Inside of our attention; below, it is MLX's softmax."""
    attention_min: int | None
    """Elements of the scores."""
    timings: dict[str, tuple[Timing, Timing]] = field(default_factory=dict)
    """By function, of few and of many elements."""

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> VectorExp:
        """The record that ``dataclasses.asdict`` wrote."""
        timings = {
            name: cast(tuple[Timing, Timing], tuple(Timing(*timing) for timing in pair))
            for name, pair in record["timings"].items()
        }
        return cls(**{**record, "timings": timings})


@lru_cache(maxsize=1)
def measure() -> VectorExp:
    """Time MLX's functions and ours, once a process."""
    from mlx_lm.models.activations import swiglu as stock_swiglu

    def stock_softmax(scores: mx.array) -> mx.array:
        return mx.softmax(scores, axis=-1, precise=True)

    def times(stock: Any, ours: Any, *shapes: Sequence[tuple[int, ...]]) -> tuple[Timing, Timing]:
        found: list[Timing] = []
        for inputs in shapes:
            arrays = [mx.random.normal(s, key=mx.random.key(i)) for i, s in enumerate(inputs)]
            seconds = [
                shortest(partial(function, *arrays), repeats=5) for function in (stock, ours)
            ]
            found.append(Timing(_ELEMENTS[len(found)], *seconds))
        return found[0], found[1]

    rows = [(elements // 128, 128) for elements in _ELEMENTS]
    softmaxes = times(stock_softmax, softmax, *([shape] for shape in rows))
    softmax_min = _crossing(*softmaxes)

    def stock_attention(queries: mx.array, keys: mx.array) -> mx.array:
        mask = None if queries.shape[2] == 1 else "causal"
        result: mx.array = mx.fast.scaled_dot_product_attention(
            queries, keys, keys, scale=0.125, mask=mask
        )
        return result

    def our_attention(queries: mx.array, keys: mx.array) -> mx.array:
        mask = None if queries.shape[2] == 1 else "causal"
        return attention(queries, keys, keys, 0.125, mask, softmax_min)

    timings = {
        "swiglu": times(stock_swiglu, swiglu, *([shape] * 2 for shape in rows)),
        "softmax": softmaxes,
        "attention": times(
            stock_attention,
            our_attention,
            # A token decoded, and a prompt: 8 heads over 2.
            [(1, 8, 1, 64), (1, 2, 128, 64)],
            [(1, 8, 128, 64), (1, 2, 128, 64)],
        ),
    }
    minima = {f"{name}_min": _crossing(*pair) for name, pair in timings.items()}
    return VectorExp(**minima, timings=timings)


def _crossing(few: Timing, many: Timing) -> int | None:
    """Where the straight lines through the measured points cross; None without a clear gain."""
    if many.ours_s > 0.8 * many.stock_s:
        return None
    saved_few, saved_many = few.stock_s - few.ours_s, many.stock_s - many.ours_s
    if saved_few >= 0:
        return 0
    per_element = (saved_many - saved_few) / (many.elements - few.elements)
    return few.elements + math.ceil(-saved_few / per_element)
