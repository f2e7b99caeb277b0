"""A causal model in two halves, backbone and output layer, where it may be cut there.

Model -> :class:`SplitModel` or None. Cut, vocabulary logits need exist only for the positions
that are scored and a chunk at a time: batch x length x vocabulary is the largest array of training
and evaluation. Whether a model may be cut is found by trying: both ways must give the same logits
on a probe. One that may not (an architecture that scales its logits) is called whole.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from harness.backend import mx

_PROBE = (0, 1, 2, 3, 2, 1)


@dataclass(frozen=True, slots=True)
class SplitModel:
    """A causal model in two halves: ``head(backbone(tokens))`` equals ``model(tokens)``."""

    backbone: Callable[[mx.array], mx.array]
    head: Callable[[mx.array], mx.array]


def split_model(model: Any) -> SplitModel | None:
    """The two halves of an mlx-lm model in evaluation mode, or None if cutting changes it."""
    backbone = getattr(model, "model", None)
    if backbone is None or not callable(backbone):
        return None
    head = getattr(model, "lm_head", None)
    if head is None:
        head = getattr(getattr(backbone, "embed_tokens", None), "as_linear", None)
    if head is None:
        return None
    probe = mx.array([_PROBE])
    backbone = _of_tokens_alone(backbone)
    hidden = backbone(probe)
    if not isinstance(hidden, mx.array):
        return None
    whole, halves = model(probe), head(hidden)
    same = whole.shape == halves.shape and mx.allclose(whole, halves, rtol=1e-5, atol=1e-5).item()
    return SplitModel(backbone, head) if same else None


def _of_tokens_alone(backbone: Any) -> Callable[[mx.array], Any]:
    """``backbone`` without a cache; phi, stablelm and others require the argument."""
    cache = inspect.signature(backbone).parameters.get("cache")
    if cache is not None and cache.default is inspect.Parameter.empty:
        return partial(backbone, cache=None)
    return cast(Callable[[mx.array], Any], backbone)
