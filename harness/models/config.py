"""What a model's ``config.json`` holds on its architecture, each key looked up in one place.

Architectures name the same thing differently (``num_hidden_layers``, ``n_layer``), and a model
that also sees images keeps its language part under ``text_config``, which is read first. A
property is None where the file has no such key. Never imports mlx.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError


def read_object(path: Path, prefix: str = "") -> dict[str, Any]:
    """The JSON object in the file ``path``.

    Raises:
        UserError: it cannot be read, or is something else; the message begins with ``prefix``.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{prefix}{path} is not readable JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{prefix}{path} is not a JSON object.")
    return found


_LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The parsed ``config.json`` of a model."""

    raw: Mapping[str, Any]

    @property
    def layers(self) -> int | None:
        """Number of transformer blocks.

        Raises:
            UserError: there is none.
        """
        found = self._number(*_LAYERS)
        if found is not None and found < 1:
            raise UserError(
                f"the model's config.json is damaged: {_LAYERS[0]} is {found}, and a model has at "
                "least one layer. Get the file again."
            )
        return found

    @property
    def hidden(self) -> int | None:
        """Width of the hidden states."""
        return self._number("hidden_size")

    @property
    def intermediate(self) -> int | None:
        """Width inside of a block's feed-forward network."""
        return self._number("intermediate_size")

    @property
    def architecture(self) -> str | None:
        """``model_type``, of the language part where there is one."""
        text = self.raw.get("text_config")
        found = text.get("model_type") if isinstance(text, Mapping) else None
        found = found or self.raw.get("model_type")
        return found if isinstance(found, str) else None

    @property
    def experts(self) -> int:
        """Feed-forward networks to choose from in a block, those for every token not counted; 0
        where there is one network for all tokens."""
        return self._number("num_local_experts", "num_experts", "n_routed_experts") or 0

    @property
    def experts_per_token(self) -> int:
        """How many of them compute each token."""
        return (self._number("num_experts_per_tok") or 0) if self.experts else 0

    @property
    def expert_width(self) -> int:
        """Width inside of one of them."""
        return self._number("moe_intermediate_size", "intermediate_size") or 0

    @property
    def shared_width(self) -> int:
        """Width inside of a network for every token that stands beside the chosen ones."""
        own = self._number("shared_expert_intermediate_size")
        return own or (self._number("n_shared_experts") or 0) * self.expert_width

    @property
    def heads(self) -> int | None:
        """Attention heads."""
        return self._number("num_attention_heads", "n_heads", "n_head")

    @property
    def key_heads(self) -> int | None:
        """Heads of keys and values, fewer where several queries share one."""
        return self._number("num_key_value_heads")

    @property
    def head_size(self) -> int | None:
        """Width of a head, where it is not ``hidden / heads``."""
        return self._number("head_dim")

    @property
    def vocabulary(self) -> int | None:
        """Number of tokens in the vocabulary of the output layer."""
        return self._number("vocab_size")

    @property
    def context(self) -> int | None:
        """Number of positions that the model was made for."""
        return self._number("max_position_embeddings", "max_sequence_length", "n_positions")

    @property
    def dtype(self) -> str | None:
        """Number type of unquantized weights, e.g. ``bfloat16``."""
        found = self.raw.get("torch_dtype") or self.raw.get("dtype")
        return found if isinstance(found, str) else None

    @property
    def mlx_quantization(self) -> Mapping[str, Any] | None:
        """How mlx-lm quantized the weights: ``bits``, ``group_size``, ``mode``, layers by name."""
        found = self.raw.get("quantization")
        return found if isinstance(found, Mapping) else None

    @property
    def quantization(self) -> Mapping[str, Any] | None:
        """How mlx-lm, or else another tool (``quantization_config``), quantized the weights."""
        found = self.raw.get("quantization") or self.raw.get("quantization_config")
        return found if isinstance(found, Mapping) else None

    def _number(self, *keys: str) -> int | None:
        """The first whole number under one of ``keys``, of the language part first."""
        for section in (self.raw.get("text_config"), self.raw):
            for key in keys:
                if isinstance(section, Mapping) and isinstance(section.get(key), int):
                    return int(section[key])
        return None
