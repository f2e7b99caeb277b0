"""Modules of mlx-lm's llama that compute with ``vector_exp.py``, put in place of the stock ones.

Model (changed in place), and from how many elements on SwiGLU, softmax and attention take the
vectorized exponential. The class of a module instance is changed, only where its code is the one
known here, so parameters, adapter names and every other model stay as they are. Known: the
feed-forward of llama, Qwen 2 and 3 (``models/llama.py: MLP``) and the attention of llama
(``Attention``), mlx-lm 0.32.2. Quantized caches and other types than float32 take MLX's way.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
from collections.abc import Hashable
from functools import lru_cache
from typing import Any, cast

from harness.backend import mx, nn
from harness.models.cpu.rule import VectorExp
from harness.models.cpu.vector_exp import attention, swiglu

# The code of `__call__` in mlx-lm 0.32.2's models/llama.py, as `_call_digest` takes it.
_MLP_SHA256 = "7e15b540f8731ce7b090887d88d136808a660e568ba8f9d2aeacdd776a4c42f0"
_ATTENTION_SHA256 = "8a9043f806298b74dd1f4e3d04da98d6afd1d344dfdd80a7bed2b34417f12143"


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


def use_vector_exp(model: nn.Module, sizes: VectorExp) -> bool:
    """Change the recognised modules of ``model`` in place; False where none is recognised."""
    found = [(module, kind) for _, module in model.named_modules() if (kind := _kind(module))]
    for module, kind in found:
        minimum = sizes.swiglu_min if kind is _Mlp else sizes.attention_min
        if not isinstance(module, _Replaced):
            if minimum is None:
                continue
            module.__class__ = _subclass(kind, cast(Hashable, type(module)))
        module.use(minimum, sizes.softmax_min)
    return bool(found)


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
