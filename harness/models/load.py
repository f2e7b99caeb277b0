"""From a resolved base model, and perhaps an adapter, to a model in memory.

:class:`~harness.models.resolve.BaseModel` -> :class:`LoadedModel`, through mlx-lm's own loaders,
with every parameter evaluated (MLX loads lazily). Half-precision weights stay as they are here;
``accelerate.py`` widens them where the backend needs it. Reads nothing but local files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.models.adapter import check_adapter, check_applied
from harness.models.backend import mx, nn
from harness.models.resolve import BaseModel


@dataclass(slots=True)
class LoadedModel:
    """A model in memory. ``model`` may be changed in place (adapter layers, training)."""

    model: nn.Module
    tokenizer: Any
    """mlx-lm's ``TokenizerWrapper``."""
    base: BaseModel


def load(base: BaseModel, adapter_path: Path | None = None) -> LoadedModel:
    """Load ``base`` and apply the adapter in ``adapter_path``, evaluation mode, evaluated.

    Raises:
        UserError: the adapter is missing, damaged or made for another base (every mismatch at
            once), or the weights do not fit the architecture.
    """
    if adapter_path is not None:
        adapter = check_adapter(base, adapter_path)
    from mlx_lm.utils import load_model

    try:
        model, _ = load_model(base.path, lazy=True, trust_remote_code=base.trusted)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"model {base.id!r}: its weights do not fit architecture {base.architecture!r}: {error}"
        ) from error
    if adapter_path is not None:
        from mlx_lm.tuner.utils import load_adapters

        try:
            model = load_adapters(model, str(adapter_path))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UserError(
                f"adapter {adapter_path} does not fit model {base.id!r}: {error}"
            ) from error
        check_applied(base, adapter_path, adapter, _adapter_tensors(model))
    model.eval()
    mx.eval(model.parameters())
    return LoadedModel(model, load_tokenizer(base), base)


def _adapter_tensors(model: nn.Module) -> dict[str, mx.array]:
    """Every LoRA or DoRA tensor of a model by name; none where whole blocks were tuned."""
    from mlx.utils import tree_flatten

    leaves = ("lora_a", "lora_b", "m")
    found: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    return {name: array for name, array in found.items() if name.rsplit(".", 1)[-1] in leaves}


def load_tokenizer(base: BaseModel) -> Any:
    """mlx-lm's tokenizer of ``base`` alone, its stop tokens as the model's configuration has."""
    from mlx_lm.utils import load_config
    from mlx_lm.utils import load_tokenizer as from_folder

    # mlx-lm's reader: generation_config.json may name more stop tokens than config.json.
    stops = load_config(base.path).get("eos_token_id")
    try:
        # Said outright, for transformers asks on standard input when it is left open.
        return from_folder(base.path, {"trust_remote_code": base.trusted}, eos_token_ids=stops)
    except (ValueError, OSError, ImportError, KeyError, TypeError) as error:
        raise UserError(
            f"model {base.id!r}: its tokenizer cannot be read: {_first_line(error)}. Copy the "
            "tokenizer files of the original model beside its weights."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
