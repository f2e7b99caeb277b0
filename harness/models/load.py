"""From a resolved base model, and perhaps an adapter, to a model in memory.

:class:`~harness.models.resolve.BaseModel` -> :class:`LoadedModel`, through mlx-lm's own loaders,
with every parameter evaluated (MLX loads lazily). Half-precision weights stay as they are here;
`cpu/accelerate.py` widens them where the backend needs it. Reads nothing but local files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.backend import mx, nn
from harness.errors import UserError, one_line
from harness.models.adapter import adapter_weights, apply_adapter, check_adapter
from harness.models.cpu.accelerate import MLX_ANSWERING, Acceleration, Answering, accelerate
from harness.models.reading import read_model, readable, weights_readable
from harness.models.resolve import BaseModel
from harness.out_of_memory import is_out_of_memory


@dataclass(slots=True)
class LoadedModel:
    """A model in memory. ``model`` may be changed in place (adapter layers, training)."""

    model: nn.Module
    tokenizer: Any
    """mlx-lm's ``TokenizerWrapper``."""
    base: BaseModel
    acceleration: Acceleration | None = None
    """What :meth:`accelerate` did to ``model``; None before."""

    def accelerate(self, hold: bool = True) -> Acceleration:
        """Make the model as fast as this backend allows; ``hold`` as of
        :func:`~harness.models.cpu.accelerate.accelerate`."""
        self.acceleration = accelerate(self.model, hold)
        return self.acceleration

    @property
    def chunked_loss(self) -> bool:
        """Whether training's cross-entropy is that of `chunked_loss.py`."""
        return self.acceleration is not None and self.acceleration.rule.chunked_loss

    @property
    def answering(self) -> Answering:
        """How it answers faster; as mlx-lm does before :meth:`accelerate`."""
        return MLX_ANSWERING if self.acceleration is None else self.acceleration.answering


def load(base: BaseModel, adapter_path: Path | None = None) -> LoadedModel:
    """Load ``base`` and apply the adapter in ``adapter_path``, evaluation mode, evaluated.

    Raises:
        UserError: the adapter is missing, damaged or made for another base (every mismatch at
            once), or the weights do not fit the architecture.
    """
    if adapter_path is not None:
        adapter = check_adapter(base, adapter_path)
    model, _ = read_model(base)
    if adapter_path is not None:
        with readable(f"adapter {adapter_path}", [adapter_weights(adapter_path)]):
            model = apply_adapter(model, base, adapter_path, adapter)
    model.eval()
    with weights_readable(base):
        mx.eval(model.parameters())
    return LoadedModel(model, load_tokenizer(base), base)


def load_tokenizer(base: BaseModel) -> Any:
    """mlx-lm's tokenizer of ``base`` alone, its stop tokens as the model's configuration has."""
    from mlx_lm.utils import load_config
    from mlx_lm.utils import load_tokenizer as from_folder

    try:
        # mlx-lm's reader: generation_config.json may name more stop tokens than config.json.
        stops = load_config(base.path).get("eos_token_id")
        # Always given: without it transformers asks on standard input.
        return from_folder(base.path, {"trust_remote_code": base.trusted}, eos_token_ids=stops)
    except Exception as error:  # the package `tokenizers` raises no narrower kind
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"model {base.id!r}: its tokenizer cannot be read: {one_line(error)}. Copy "
            "config.json and the tokenizer files of the original model beside its weights."
        ) from error
