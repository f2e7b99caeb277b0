"""Modules of mlx-lm's llama that compute with ``vector_exp.py``, put in place of the stock ones.

Model (changed in place) -> :class:`VectorExp`: from how many elements on SwiGLU, softmax and
attention take the vectorized exponential, by timing MLX's functions and ours on few and on many
elements, once a process. The class of a module instance is changed, only where its code is the one
known here, so parameters, adapter names and every other model stay as they are. Known: the
feed-forward of llama, Qwen 2 and 3 (``models/llama.py: MLP``) and the attention of llama
(``Attention``), mlx-lm 0.32.2. Quantized caches and other types than float32 take MLX's way.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

from harness.backend import mx, nn
from harness.models.cpu.probes import shortest_s
from harness.models.cpu.vector_exp import attention, softmax, swiglu

# The code of `__call__` in mlx-lm 0.32.2's models/llama.py, as `_call_digest` takes it.
_MLP_SHA256 = "7e15b540f8731ce7b090887d88d136808a660e568ba8f9d2aeacdd776a4c42f0"
_ATTENTION_SHA256 = "8a9043f806298b74dd1f4e3d04da98d6afd1d344dfdd80a7bed2b34417f12143"

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


@lru_cache(maxsize=1)
def choose_exponential() -> VectorExp:
    """Time MLX's functions and ours, once a process."""
    from mlx_lm.models.activations import swiglu as stock_swiglu

    def times(stock: Any, ours: Any, *shapes: Sequence[tuple[int, ...]]) -> tuple[Timing, Timing]:
        def timing(elements: int, inputs: Sequence[tuple[int, ...]]) -> Timing:
            arrays = [mx.random.normal(s, key=mx.random.key(i)) for i, s in enumerate(inputs)]
            seconds = [shortest_s(partial(f, *arrays), repeats=5) for f in (stock, ours)]
            return Timing(elements, *seconds)

        few, many = map(timing, _ELEMENTS, shapes)
        return few, many

    rows = [(elements // 128, 128) for elements in _ELEMENTS]
    softmaxes = times(
        partial(mx.softmax, axis=-1, precise=True), softmax, *([shape] for shape in rows)
    )
    softmax_min = _crossing(*softmaxes)

    def attending(attend: Callable[..., Any]) -> Callable[..., Any]:
        def attended(queries: mx.array, keys: mx.array) -> Any:
            mask = None if queries.shape[2] == 1 else "causal"
            return attend(queries, keys, keys, scale=0.125, mask=mask)

        return attended

    timings = {
        "swiglu": times(stock_swiglu, swiglu, *([shape] * 2 for shape in rows)),
        "softmax": softmaxes,
        "attention": times(
            attending(mx.fast.scaled_dot_product_attention),
            attending(partial(attention, softmax_min=softmax_min)),
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


class _Replaced(nn.Module):  # type: ignore[misc]  # untyped in mlx
    """A module that computes our way from some number of elements on.

    Both attributes are numbers, so mlx does not take them for parameters.
    """

    _min_elements: float
    _softmax_min: int | None

    def use(self, minimum: int | None, softmax_min: int | None) -> None:
        """Compute our way from so many elements on; None is never."""
        self._min_elements = math.inf if minimum is None else minimum
        self._softmax_min = softmax_min


class _Mlp(_Replaced):
    def __call__(self, x: mx.array) -> mx.array:
        gate, up = self.gate_proj(x), self.up_proj(x)
        if gate.dtype != mx.float32 or up.dtype != mx.float32 or gate.size < self._min_elements:
            from mlx_lm.models.activations import swiglu as stock

            return cast(mx.array, self.down_proj(stock(gate, up)))
        return cast(mx.array, self.down_proj(swiglu(gate, up)))


class _Attention(_Replaced):
    def __call__(self, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
        batch, length, _ = x.shape  # (batch, length, hidden)

        def by_head(projected: mx.array, heads: int) -> Any:
            return projected.reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)

        queries = by_head(self.q_proj(x), self.n_heads)
        keys = by_head(self.k_proj(x), self.n_kv_heads)
        values = by_head(self.v_proj(x), self.n_kv_heads)
        rotation = {} if cache is None else {"offset": cache.offset}
        if length == 1:
            # Of one position a call is mostly overhead: one for both instead of two.
            both = self.rope(mx.concatenate([queries, keys], axis=1), **rotation)
            queries, keys = both[:, : self.n_heads], both[:, self.n_heads :]
        else:
            queries, keys = self.rope(queries, **rotation), self.rope(keys, **rotation)
        if cache is not None:
            keys, values = cache.update_and_fetch(keys, values)
        if (
            hasattr(cache, "bits")  # keys and values are quantized
            or batch * self.n_heads * length * keys.shape[2] < self._min_elements
            or {queries.dtype, keys.dtype} != {mx.float32}
        ):
            from mlx_lm.models.base import scaled_dot_product_attention as stock

            output = stock(queries, keys, values, cache=cache, scale=self.scale, mask=mask)
        else:
            output = attention(queries, keys, values, self.scale, mask, self._softmax_min)
        return cast(mx.array, self.o_proj(output.transpose(0, 2, 1, 3).reshape(batch, length, -1)))


def use_vector_exp(model: nn.Module, known: VectorExp | None = None) -> VectorExp | None:
    """Change the recognised modules of ``model`` in place; what was chosen, None where none is."""
    found = [(module, kind) for _, module in model.named_modules() if (kind := _kind(module))]
    if not found:
        return None
    chosen = known or choose_exponential()
    for module, kind in found:
        minimum = chosen.swiglu_min if kind is _Mlp else chosen.attention_min
        if not isinstance(module, _Replaced):
            if minimum is None:
                continue
            module.__class__ = _subclass(kind, cast(Hashable, type(module)))
        module.use(minimum, chosen.softmax_min)
    return chosen


@lru_cache(maxsize=32)
def _subclass(kind: type, stock: type) -> type:
    return type(stock.__name__, (kind, stock), {"__module__": stock.__module__})


def _kind(module: Any) -> type | None:
    """Which of the known modules this is, by its code: that of another version may differ."""
    ours = next((kind for kind in (_Mlp, _Attention) if isinstance(module, kind)), None)
    return ours or _known_code(cast(Hashable, type(module)))


@lru_cache(maxsize=256)
def _known_code(stock: type) -> type | None:
    """Which of the known modules a class of mlx-lm is: the code of its call is the one known."""
    if not stock.__module__.startswith("mlx_lm.models."):
        return None
    from mlx_lm.models import activations, base

    digest, names = _call_digest(stock), vars(sys.modules[stock.__module__])
    if digest == _MLP_SHA256 and names.get("swiglu") is activations.swiglu:
        return _Mlp
    name = "scaled_dot_product_attention"
    if digest == _ATTENTION_SHA256 and names.get(name) is base.scaled_dot_product_attention:
        return _Attention
    return None


def _call_digest(stock: type) -> str | None:
    """SHA-256 of the lines of ``stock.__call__`` after its signature, without blanks, indentation
    and comment lines; None where the source cannot be read."""
    try:
        source = inspect.getsource(stock.__call__)
    except (OSError, TypeError):
        return None
    lines = [line.strip() for line in source.splitlines()]
    code = [line for line in lines if line and not line.startswith("#")]
    end = next((at for at, line in enumerate(code) if line.endswith(":")), None)
    if end is None or not code[0].startswith("def __call__("):
        return None
    return hashlib.sha256("\n".join(code[end + 1 :]).encode()).hexdigest()
