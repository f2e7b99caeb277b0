"""Records and small models that the tests of `measure` share."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from harness.backend import mx, nn
from harness.data.tokens import TokenizedExample
from harness.models.embedded import tiny as tiny_model
from harness.models.load import LoadedModel


class Loaded(LoadedModel):
    """A LoadedModel of any model, and of a base that is only a configuration."""

    base: Any


@dataclass(frozen=True)
class Base:
    config: dict[str, Any]


class Bigram(nn.Module):
    """A model of known logits: row ``t`` of ``table`` follows token ``t``."""

    def __init__(self, table: list[list[float]]) -> None:
        super().__init__()
        self.table = mx.array(table)

    def __call__(self, tokens: Any, cache: Any = None) -> Any:
        return self.table[tokens]


Row = TokenizedExample

TEXT = "".join(map(chr, range(32, 127)))


def rows(count: int, seed: int = 0, low: int = 2, high: int = 70) -> list[Row]:
    """Random byte texts of mixed lengths that end in tiny's stop token."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        length = rng.randint(low, high)
        tokens = tuple(ord(rng.choice(TEXT)) for _ in range(length - 1))
        found.append(
            Row(number, f"t{number % 3}", (*tokens, tiny_model.END_ID), rng.randint(1, length - 1))
        )
    return found


def llama(seed: int = 0, **changes: Any) -> Any:
    """A random one- or two-layer llama, for what tiny is not (untied, low precision, wide)."""
    from mlx_lm.models import llama as module

    settings = {
        "model_type": "llama",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "vocab_size": 300,
        **changes,
    }
    mx.random.seed(seed)
    model = module.Model(module.ModelArgs.from_dict(settings))
    mx.eval(model.parameters())
    return model
