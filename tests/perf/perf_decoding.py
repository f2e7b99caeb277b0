"""Where a decoding step's time goes: its parts, each run alone over all layers of smollm2."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

REPEATS = 9


def decoding_step(rows: str) -> dict[str, float]:
    """Milliseconds of a whole step of ``rows`` prompts without an adapter, and of its parts."""
    from child import model_state

    count, held = int(rows), model_state("base")
    from harness.backend import mx
    from harness.measure import decode
    from harness.models.cpu.vector_exp import attention

    loaded = held.model(None)
    model, layers = loaded.model, loaded.model.model.layers
    prompts = held.prompts(held.examples(range(128)), loaded)
    # Around the median, so that steps of another number of rows have prompts of the same length.
    first = (len(prompts) - count) // 2
    decoder = decode.decoder_of(model, sorted(prompts, key=len)[first : first + count])
    decoder.step()
    whole = _milliseconds(decoder.step)

    caches = decoder._cache
    first = layers[0].self_attn
    heads, shared, scale = first.n_heads, first.n_kv_heads, first.scale
    width = first.q_proj.weight.shape[0] // heads
    softmax_min = getattr(first, "_softmax_min", None)  # of our attention, where it is chosen

    def random(*shape: int) -> Any:
        return mx.random.normal(shape, key=mx.random.key(0))

    hidden, inner = (
        random(count, 1, heads * width),
        random(count, 1, layers[0].mlp.down_proj.weight.shape[1]),
    )
    query, key = random(count, heads, 1, width), random(count, shared, 1, width)
    seen = [cache.keys_and_values() for cache in caches]
    logits = model.model.embed_tokens.as_linear(hidden)
    mx.eval(hidden, inner, query, key, seen, logits)

    def products() -> list[Any]:
        found = [
            getattr(layer.self_attn, name)(hidden)
            for layer in layers
            for name in ("q_proj", "k_proj", "v_proj", "o_proj")
        ]
        found += [
            getattr(layer.mlp, name)(hidden)
            for layer in layers
            for name in ("gate_proj", "up_proj")
        ]
        found += [layer.mlp.down_proj(inner) for layer in layers]
        return [*found, model.model.embed_tokens.as_linear(hidden)]

    parts: dict[str, Callable[[], list[Any]]] = {
        "matrix products with weights": products,
        "attention over the cache": lambda: [
            attention(query, *pair, scale, None, softmax_min) for pair in seen
        ],
        "rotary positions": lambda: [
            layer.self_attn.rope(mx.concatenate([query, key], axis=1), offset=cache.offset)
            for layer, cache in zip(layers, caches, strict=True)
        ],
        "norms": lambda: [
            norm(hidden)
            for layer in layers
            for norm in (layer.input_layernorm, layer.post_attention_layernorm)
        ],
        "most likely token": lambda: [mx.argmax(logits[:, -1, :], axis=-1)],
    }
    found = {name: _milliseconds(lambda f=f: mx.eval(f())) for name, f in parts.items()}  # type: ignore[misc]
    rest = whole - sum(found.values())
    return {"whole": whole, **found, "SwiGLU, sums, caches, building the graph": rest}


def _milliseconds(compute: Callable[[], Any]) -> float:
    """The median."""
    compute()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        compute()
        times.append(1e3 * (time.perf_counter() - started))
    return sorted(times)[REPEATS // 2]
