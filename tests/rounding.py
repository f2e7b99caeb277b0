"""Bounds for comparing floating-point results, each derived: what may differ, and by how much.

A test that compares floats takes its bound from here. A bound follows from the arithmetic (the
roundings that were made), from the scale of the values, and from the error that MLX's own code has
against float64 in the same test, on the same machine, with the same BLAS. It never comes from a
number that one machine printed.

Sources: N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., SIAM 2002
("Higham"): 2.2 unit roundoff, 3.1 the constants gamma_n and inner products in any order, 4.2 the
error of a sum by the order of its additions; N. J. Higham and T. Mary, "A new approach to
probabilistic rounding error analysis", SIAM J. Sci. Comput. 41 (2019): sqrt(n) instead of n;
P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and softmax
functions", IMA J. Numer. Anal. 41 (2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from harness.backend import mx, nn

UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Unit roundoff u: rounding to nearest changes a value by at most this share of it (Higham 2.2)."""

U = UNIT["float32"]

EXPONENTIAL = 1e-6
"""The relative error that `harness/models/cpu/vector_exp.py` promises of its exponential."""

LIKELY = 6.0
"""How many standard deviations a random error may reach: by Hoeffding's inequality the chance of
more is below 2 exp(-6**2 / 2) = 3e-8 (Higham and Mary, theorem 2.4)."""


def gamma(roundings: float, unit: float = U) -> float:
    """The relative error that so many roundings in a row can make, in the worst case (Higham 3.1).

    An inner product of n terms has at most gamma(n) times the product of the absolute values, in
    any order of the additions, in blocks or not, fused or not.
    """
    return roundings * unit / (1 - roundings * unit)


def rounded(roundings: float, unit: float = U) -> float:
    """The smaller of the worst case and of what independent roundings make (a random walk)."""
    return min(gamma(roundings, unit), LIKELY * math.sqrt(roundings) * unit)


def mean_of(count: int, unit: float) -> float:
    """The relative error of a mean of ``count`` values of one size, each rounded once by itself."""
    return LIKELY * unit / math.sqrt(count)


SAME_LOSS = rounded(256)
"""Share by which two float32 ways to compute one loss may differ: a loss is a mean of positive
nats, sums of up to 256 of them (a batch's targets, a width, tiny's vocabulary) in another order,
and a mean of positive terms has no larger relative error than its terms."""


ADAM = 0.01
"""Share of an adapter's update, in norm, by which two float32 ways to train it with Adam may
differ. Adam steps by the gradient's sign where it is not nearly zero, so two ways part only where a
gradient lies within rounding of zero, and there by at most twice a step. With rounding of at most
2e-5 of the gradients' spread (a few times :data:`SAME_LOSS`) a share of 2e-5 of them does: the
square root of 4 * 2e-5 is 0.009."""


def same_ppl(loss: float, ways: int = 1) -> float:
    """Share by which two perplexities of about ``exp(loss)`` may then differ."""
    return math.expm1(ways * SAME_LOSS * loss)


def orders(terms: int) -> float:
    """How much more error one order of a sum may have than another.

    The error of a sum is a random walk over as many steps as additions follow one another:
    ``terms`` from left to right, log2(terms) pairwise (Higham 4.2); a BLAS lies in between.
    """
    return math.sqrt(terms / math.log2(terms)) if terms > 2 else 1.0


def wide(array: Any) -> np.ndarray:
    """An array of MLX or numpy in float64."""
    if isinstance(array, mx.array) and array.dtype != mx.float64:
        array = array.astype(mx.float32)
    return np.array(array, dtype=np.float64)


def error(found: Any, exact: Any) -> float:
    """The largest absolute difference."""
    difference = np.abs(wide(found) - wide(exact))
    return float(difference.max(initial=0.0))


def reordered(stock: Any, exact: Any, terms: int, roundings: float = 4) -> float:
    """The error that another float32 way to compute ``exact`` may have, given that of ``stock``.

    That of the stock way times :func:`orders`, and a few roundings of the largest value, which the
    stock way may have been spared by luck (its first and last operations, by default two each).
    """
    scale = float(np.abs(wide(exact)).max(initial=0.0))
    return orders(terms) * error(stock, exact) + rounded(roundings) * scale


def assert_as_exact(
    found: Any, stock: Any, exact: Any, terms: int, roundings: float = 4, name: str = ""
) -> None:
    """``found`` is as near to ``exact`` as another order of the stock way's sums is."""
    got, bound = error(found, exact), reordered(stock, exact, terms, roundings)
    assert got <= bound, f"{name} is off by {got:.3g}; {bound:.3g} is rounding"


@contextmanager
def uncompiled() -> Iterator[None]:
    """Without `mx.compile`, whose kernels would be built for float64 once more: seconds each."""
    mx.disable_compile()
    try:
        yield
    finally:
        mx.enable_compile()


def in_float64(model: nn.Module) -> nn.Module:
    """The model itself with float64 weights, packed ones unpacked: what its float32 form rounds."""
    plain = [(name, _unpacked(module)) for name, module in model.named_modules()]
    model.update_modules(tree_unflatten([(name, made) for name, made in plain if made is not None]))
    model.set_dtype(mx.float64)
    kind: Any = type(model)

    class Wide(kind):  # type: ignore[misc]
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            with uncompiled():
                return super().__call__(*arguments, **options)

    model.__class__ = Wide
    return model


class Experts(nn.Module):
    """mlx-lm's SwitchLinear by plain products: MLX's own gathers float32 only."""

    def __init__(self, weight: mx.array) -> None:
        super().__init__()
        self.weight = weight

    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        return x @ self.weight[indices].swapaxes(-1, -2)


def _unpacked(module: nn.Module) -> nn.Module | None:
    """A layer like ``module`` that float64 can compute, or None where it is one already."""
    kind = type(module).__name__
    if kind not in ("SwitchLinear", *PACKED):
        return None
    weight = module.weight
    if kind in PACKED:
        parts = (weight, module.scales, module.get("biases"), module.group_size, module.bits)
        weight = mx.dequantize(*parts, mode=module.mode)
    if "Switch" in kind:
        return Experts(weight).freeze()
    rows, columns = weight.shape
    embeds = kind == "QuantizedEmbedding"
    made = nn.Embedding(rows, columns) if embeds else nn.Linear(columns, rows, "bias" in module)
    made.weight = weight
    if "bias" in module:
        made.bias = module.bias
    made.freeze()
    return made


PACKED = ("QuantizedLinear", "QuantizedEmbedding", "QuantizedSwitchLinear")


def token_nats(model: Any, tokens: Any) -> np.ndarray:
    """Nats of every token after the first, given those before it, from the model's own logits."""
    tokens = np.atleast_2d(np.array(tokens))
    logits = wide(model(mx.array(tokens[:, :-1])))
    peak = logits.max(-1, keepdims=True)
    total = np.log(np.exp(logits - peak).sum(-1)) + peak[..., 0]
    return total - np.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0]


def paths_apart(model: nn.Module, exact: nn.Module, tokens: Any, terms: int) -> float:
    """Nats by which two float32 ways to compute one token's loss may differ, on average.

    Each is as far from float64 as the stock way here (the mean over ``tokens`` of its absolute
    error) times :func:`orders`, and rounds logits, logarithm, sum and difference: eight roundings.
    """
    truth = token_nats(exact, tokens)
    off = float(np.abs(token_nats(model, tokens) - truth).mean())
    return 2 * (orders(terms) * off + gamma(8) * float(np.abs(truth).mean()))


def names_of(tree: Any) -> dict[str, mx.array]:
    """Arrays of a nested structure by name."""
    return dict(tree_flatten(tree))
