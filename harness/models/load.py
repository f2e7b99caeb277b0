"""From a resolved base model, and perhaps an adapter, to a model in memory.

:class:`~harness.models.resolve.BaseModel` -> :class:`LoadedModel`, through mlx-lm's own loaders,
with every parameter evaluated (MLX loads lazily). Half-precision weights stay as they are here;
``accelerate.py`` widens them where the backend needs it. Reads nothing but local files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.backend import mx, nn
from harness.errors import UserError
from harness.models.adapted import apply_adapter
from harness.models.adapter import UNFIT, WEIGHTS, check_adapter
from harness.models.resolve import BaseModel
from harness.out_of_memory import is_out_of_memory


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
    model, _ = read_model(base)
    if adapter_path is not None:
        with _readable(f"adapter {adapter_path}", [adapter_path / WEIGHTS]):
            model = apply_adapter(model, base, adapter_path, adapter)
    model.eval()
    with weights_readable(base):
        mx.eval(model.parameters())
    return LoadedModel(model, load_tokenizer(base), base)


def read_model(base: BaseModel) -> tuple[nn.Module, dict[str, Any]]:
    """The model of ``base`` without an adapter, its parameters not yet evaluated, and the
    configuration as mlx-lm reads it.

    Raises:
        UserError: its weights cannot be read, or do not fit the architecture.
    """
    from mlx_lm.utils import load_model

    try:
        with weights_readable(base):
            read: tuple[nn.Module, dict[str, Any]] = load_model(
                base.path, lazy=True, trust_remote_code=base.trusted
            )
    except UNFIT as error:
        raise UserError(
            f"model {base.id!r}: its weights do not fit architecture {base.architecture!r}: "
            f"{_told(error)}"
        ) from error
    return read


def weights_readable(base: BaseModel) -> AbstractContextManager[None]:
    """Within the block, MLX's refusal to read weights is a :class:`UserError` with the file."""
    return _readable(f"model {base.id!r}", sorted(base.path.glob("model*.safetensors")))


@contextmanager
def _readable(what: str, files: Sequence[Path]) -> Iterator[None]:
    """Name the file that MLX refuses to read in the block."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) or isinstance(error, NotImplementedError):
            raise
        file = next(filter(_refused, files), None)
        if file is None:
            raise
        raise UserError(
            f"{what}: MLX cannot read {file}: {_one_line(error)}. It is damaged, or of a number "
            "format that MLX does not have: download or write it again, or convert the model with "
            "mlx_lm.convert."
        ) from error


def _refused(file: Path) -> bool:
    """Whether MLX fails on the header of ``file`` or on one of its tensors."""
    try:
        arrays: dict[str, mx.array] = mx.load(str(file))  # type: ignore[assignment]
        while arrays:  # one at a time: all of them may not fit in memory twice
            mx.eval(arrays.popitem()[1])
    except RuntimeError:
        return True
    return False


def load_tokenizer(base: BaseModel) -> Any:
    """mlx-lm's tokenizer of ``base`` alone, its stop tokens as the model's configuration has."""
    from mlx_lm.utils import load_config
    from mlx_lm.utils import load_tokenizer as from_folder

    try:
        # mlx-lm's reader: generation_config.json may name more stop tokens than config.json.
        stops = load_config(base.path).get("eos_token_id")
        # Said outright, for transformers asks on standard input when it is left open.
        return from_folder(base.path, {"trust_remote_code": base.trusted}, eos_token_ids=stops)
    except Exception as error:  # the package `tokenizers` raises no narrower kind
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"model {base.id!r}: its tokenizer cannot be read: {_one_line(error)}. Copy "
            "config.json and the tokenizer files of the original model beside its weights."
        ) from error


def _told(error: Exception) -> str:
    """An error's words, with its kind where they would say little: `KeyError: 'rope'`."""
    plain = isinstance(error, ValueError) and str(error)
    return str(error) if plain else f"{type(error).__name__}: {error}"


def _one_line(error: Exception) -> str:
    """An error's first line, and what follows a heading (`Validation error for field 'x':`)."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    told = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return " ".join(told.split()).rstrip(".")
