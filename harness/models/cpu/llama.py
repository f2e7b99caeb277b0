"""Modules of mlx-lm's llama that compute with ``vector_exp.py``, put in place of the stock ones.

Model (changed in place) -> what was chosen. The class of a module instance is changed, only where
its code is the one known here, so parameters, adapter names and every other model stay as they
are. Known: the feed-forward of llama, Qwen 2 and 3 (``models/llama.py: MLP``) and the attention of
llama (``Attention``), mlx-lm 0.32.2. Quantized caches and other types than float32 take MLX's way.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Hashable
from functools import lru_cache
from typing import Any, cast

from harness.backend import mx, nn
from harness.models.cpu.attention import attention
from harness.models.cpu.vector_exp import swiglu
from harness.models.cpu.vector_gain import VectorExp, measure

_MLP_CODE = "return self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))"
_ATTENTION_CODE = """
B, L, D = x.shape
queries, keys, values = self.q_proj(x), self.k_proj(x), self.v_proj(x)
queries = queries.reshape(B, L, self.n_heads, -1).transpose(0, 2, 1, 3)
keys = keys.reshape(B, L, self.n_kv_heads, -1).transpose(0, 2, 1, 3)
values = values.reshape(B, L, self.n_kv_heads, -1).transpose(0, 2, 1, 3)
if cache is not None:
queries = self.rope(queries, offset=cache.offset)
keys = self.rope(keys, offset=cache.offset)
keys, values = cache.update_and_fetch(keys, values)
else:
queries = self.rope(queries)
keys = self.rope(keys)
output = scaled_dot_product_attention(
queries, keys, values, cache=cache, scale=self.scale, mask=mask
)
output = output.transpose(0, 2, 1, 3).reshape(B, L, -1)
return self.o_proj(output)
"""


class _Replaced(nn.Module):  # type: ignore[misc]  # untyped in mlx
    """A module computing our way from ``_min_elements`` on; plain attributes, not parameters."""

    def configure(self, minimum: int | None, softmax_min: int | None) -> None:
        """Elements from which on to compute our way (None: never)."""
        object.__setattr__(self, "_min_elements", math.inf if minimum is None else minimum)
        object.__setattr__(self, "_softmax_min", softmax_min)


class _Mlp(_Replaced):
    def __call__(self, x: mx.array) -> mx.array:
        gate, up = self.gate_proj(x), self.up_proj(x)
        if gate.dtype != mx.float32 or up.dtype != mx.float32 or gate.size < self._min_elements:
            from mlx_lm.models.activations import swiglu as stock

            return cast(mx.array, self.down_proj(stock(gate, up)))
        return cast(mx.array, self.down_proj(swiglu(gate, up)))


class _Attention(_Replaced):
    def __call__(self, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
        batch, length, _ = x.shape
        span = length
        queries, keys, values = (
            projection(x).reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)
            for projection, heads in (
                (self.q_proj, self.n_heads),
                (self.k_proj, self.n_kv_heads),
                (self.v_proj, self.n_kv_heads),
            )
        )
        rotation = {} if cache is None else {"offset": cache.offset}
        if length == 1:
            # Of one position a call is mostly overhead: one for both instead of two.
            both = self.rope(mx.concatenate([queries, keys], axis=1), **rotation)
            queries, keys = both[:, : self.n_heads], both[:, self.n_heads :]
        else:
            queries, keys = self.rope(queries, **rotation), self.rope(keys, **rotation)
        quantized = hasattr(cache, "bits")
        if cache is not None:
            keys, values = cache.update_and_fetch(keys, values)
        if not quantized:
            span = keys.shape[2]
        few = batch * self.n_heads * length * span < self._min_elements
        if quantized or few or queries.dtype != mx.float32 or keys.dtype != mx.float32:
            from mlx_lm.models.base import scaled_dot_product_attention as stock

            output = stock(queries, keys, values, cache=cache, scale=self.scale, mask=mask)
        else:
            output = attention(queries, keys, values, self.scale, mask, self._softmax_min)
        return cast(mx.array, self.o_proj(output.transpose(0, 2, 1, 3).reshape(batch, length, -1)))


def apply(model: nn.Module, known: VectorExp | None = None) -> VectorExp | None:
    """Change the recognised modules of ``model`` in place; what was chosen, None where none is."""
    found = [(module, kind) for _, module in model.named_modules() if (kind := _kind(module))]
    if not found:
        return None
    chosen = known or measure()
    for module, kind in found:
        minimum = chosen.swiglu_min if kind is _Mlp else chosen.attention_min
        if not isinstance(module, _Replaced):
            if minimum is None:
                continue
            module.__class__ = _subclass(kind, cast(Hashable, type(module)))
        module.configure(minimum, chosen.softmax_min)
    return chosen


@lru_cache(maxsize=32)
def _subclass(kind: type, stock: type) -> type:
    return type(stock.__name__, (kind, stock), {"__module__": stock.__module__})


def _kind(module: Any) -> type | None:
    """Which of the known modules this is, by its code: another version's may differ."""
    for kind in (_Mlp, _Attention):
        if isinstance(module, kind):
            return kind
    return _known_code(cast(Hashable, type(module)))


@lru_cache(maxsize=256)
def _known_code(stock: type) -> type | None:
    if not stock.__module__.startswith("mlx_lm.models."):
        return None
    from mlx_lm.models import activations, base

    try:
        source = inspect.getsource(stock.__call__)
    except (OSError, TypeError):
        return None
    lines = [line.strip() for line in source.splitlines()]
    code = [line for line in lines if line and not line.startswith("#")]
    names = vars(sys.modules[stock.__module__])
    for text, kind, called in (
        (_MLP_CODE, _Mlp, activations.swiglu),
        (_ATTENTION_CODE, _Attention, base.scaled_dot_product_attention),
    ):
        known = text.strip().splitlines()
        same = code[-len(known) :] == known and _header(code[: -len(known)])
        if same and names.get(called.__name__) is called:
            return kind
    return None


def _header(lines: list[str]) -> bool:
    """Whether only the signature precedes the known code."""
    return "".join(lines).startswith("def __call__(") and lines[-1].endswith(":")
