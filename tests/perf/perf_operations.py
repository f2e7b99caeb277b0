"""Where a training step's processor time goes, to the operation: for `make perf`.

One thread, so that a product's share is what its own speed makes it, on a busy machine too. Each
operation runs alone over all layers, with its gradient where the step needs one: in the layers that
are adapted, and not in what the first of them reads. The rest is a difference.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

REPEATS = 3
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def operations(variant: str) -> dict[str, float]:
    """Processor seconds of a whole step of 4 x 83 tokens, and of its operations."""
    from child import ROWS, TOKENS, model_state

    held = model_state(variant)
    from harness.backend import blas_threads, mx, nn
    from harness.models.chunked_loss import split_for_loss, trained_losses
    from harness.models.cpu.vector_exp import attention, swiglu
    from harness.models.load import load
    from harness.train.loss_function import scored_positions, training_loss
    from harness.train.trainable import apply_variant, build_optimizer

    loaded = load(held.base)
    loaded.accelerate(hold=False)
    apply_variant(loaded.model, held.variant)
    model = loaded.model
    model.train()
    split, optimizer = split_for_loss(model, True), build_optimizer(held.variant, model)
    assert split is not None
    length, layers = TOKENS - 1, model.model.layers
    tokens = mx.random.randint(0, 1000, (ROWS, TOKENS), key=mx.random.key(0))
    spans = [(0, TOKENS)] * ROWS
    batch = tokens, mx.array(spans), mx.array(1.0), mx.array(scored_positions(spans, length))
    compute = nn.value_and_grad(model, lambda m, *b: training_loss(m, *b, split))
    first = layers[0].self_attn
    hidden, inner_width = model.model.norm.weight.size, _shape(layers[0].mlp.gate_proj)[0]

    def random(*shape: int) -> Any:
        return mx.random.normal(shape, key=mx.random.key(1)) * 0.1

    inputs = {n: random(ROWS, length, n) for n in (hidden, inner_width)}
    size = hidden // first.n_heads
    queries = random(ROWS, first.n_heads, length, size)
    keys = random(ROWS, first.n_kv_heads, length, size)
    states, gate = inputs[hidden], inputs[inner_width]
    outputs = {n: random(ROWS, length, n) for n in {_shape(p)[0] for _, p in _layers(model)}}
    mx.eval(inputs, outputs, queries, keys, batch)
    adapted = [layer for layer in layers if hasattr(layer.self_attn.q_proj, "lora_a")]

    def each(function: Callable[..., Any], *values: Any, times: int = 1) -> list[Any]:
        """The function in all layers, and its gradients in those that need one."""
        plain = [function(*values) for _ in range(times * (len(layers) - len(adapted)))]
        found = [
            mx.vjp(function, list(values), [mx.zeros_like(values[0])])
            for _ in range(times * len(adapted))
        ]
        return [plain, found]

    def adapter(layer: Any) -> Any:
        def added(x: Any, a: Any, b: Any) -> Any:
            return layer.scale * ((x @ a) @ b)

        rows, columns = _shape(layer)
        return mx.vjp(added, [inputs[columns], layer.lora_a, layer.lora_b], [outputs[rows]])

    def forward() -> list[Any]:
        return [_base(p)(inputs[_shape(p)[1]]) for _, p in _layers(model)]

    def backward() -> list[Any]:
        return [
            mx.vjp(_base(p), [inputs[_shape(p)[1]]], [outputs[_shape(p)[0]]])[1]
            for layer, p in _layers(model)
            if hasattr(p, "lora_a") and not (layer is adapted[0] and _reads(layer, p))
        ]

    flat, targets = states.reshape(-1, hidden), tokens[:, 1:].reshape(-1)
    logits = mx.zeros((flat.shape[0], split.head(flat[:1]).shape[-1]))

    def output() -> list[Any]:
        return [split.head(flat), mx.vjp(split.head, [flat], [logits])[1]]

    norm = layers[0].input_layernorm
    parts: dict[str, Callable[[], Any]] = {
        "products with weights, forward": forward,
        "products with weights, backward": backward,
        "output layer, both products": output,
        "adapters, with their gradients": lambda: [
            adapter(p) for _, p in _layers(model) if hasattr(p, "lora_a")
        ],
        "attention: scores, softmax, sums": lambda: each(
            lambda q, k, v: attention(q, k, v, first.scale, "causal"), queries, keys, keys
        ),
        "rotary positions": lambda: [each(first.rope, queries), each(first.rope, keys)],
        "norms": lambda: each(norm, states, times=2),
        "SwiGLU": lambda: each(swiglu, gate, gate),
        "residual sums": lambda: each(lambda x, y: x + y, states, states, times=2),
    }
    with blas_threads(1):
        found = {name: _seconds(lambda f=f: mx.eval(f())) for name, f in parts.items()}  # type: ignore[misc]
        loss = _seconds(
            lambda: mx.eval(
                mx.value_and_grad(lambda x: trained_losses(split.head, x, targets).sum())(flat)
            )
        )
        found["cross-entropy and its gradient"] = loss - found["output layer, both products"]
        _, gradients = compute(model, *batch)
        mx.eval(gradients)
        found["optimizer"] = _seconds(lambda: _update(optimizer, model, gradients, mx))
        found["building the graph"] = _seconds(lambda: compute(model, *batch))
        whole = _seconds(lambda: mx.eval(compute(model, *batch))) + found["optimizer"]
    rest = whole - sum(found.values())
    return {"whole": whole, **found, "rest: copies, sums of gradients, memory": rest}


def _base(layer: Any) -> Any:
    return getattr(layer, "linear", layer)


def _shape(layer: Any) -> tuple[int, int]:
    """Rows and columns of the weight, however packed."""
    weight = _base(layer).weight
    bits = getattr(_base(layer), "bits", 32)
    return weight.shape[0], weight.shape[1] * 32 // bits


def _layers(model: Any) -> list[tuple[Any, Any]]:
    """Every block with each of its projections."""
    return [
        (block, part[name])
        for block in model.model.layers
        for part in (block.self_attn, block.mlp)
        for name in PROJECTIONS
        if name in part
    ]


def _reads(block: Any, layer: Any) -> bool:
    """Whether nothing trained has touched its input, in the first adapted block."""
    return any(layer is block.self_attn[name] for name in PROJECTIONS[:3])


def _update(optimizer: Any, model: Any, gradients: Any, mx: Any) -> None:
    optimizer.update(model, gradients)
    mx.eval(model.trainable_parameters(), optimizer.state)


def _seconds(compute: Callable[[], Any]) -> float:
    """The least processor time of a few, the first left out."""
    compute()
    found = []
    for _ in range(REPEATS):
        started = time.process_time()
        compute()
        found.append(time.process_time() - started)
    return min(found)
