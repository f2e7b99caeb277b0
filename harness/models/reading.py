"""A base model's weights through mlx-lm's loader, every failure named.

:class:`~harness.models.resolve.BaseModel` -> the model with lazy parameters. What mlx-lm and MLX
raise becomes a :class:`UserError` that names the file and the remedy. The adapter and the
evaluation of the parameters are `load.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from harness.backend import mx, nn
from harness.errors import UserError, one_line
from harness.models.resolve import BaseModel
from harness.models.weights import model_files
from harness.out_of_memory import is_out_of_memory

UNFIT = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError),
    *(NameError, RecursionError, TypeError, ValueError),
)
"""What mlx-lm raises where a configuration and the weights do not fit each other."""


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
        # The text of other errors means little: `KeyError: 'rope'`.
        plain = isinstance(error, ValueError) and str(error)
        reason = str(error) if plain else f"{type(error).__name__}: {error}"
        raise UserError(
            f"model {base.id!r}: its weights do not fit architecture {base.architecture!r}: "
            f"{reason}"
        ) from error
    return read


def weights_readable(base: BaseModel) -> AbstractContextManager[None]:
    """Within the block, MLX's refusal to read weights is a :class:`UserError` with the file."""
    return readable(f"model {base.id!r}", model_files(base.path))


@contextmanager
def readable(what: str, files: Sequence[Path]) -> Iterator[None]:
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
            f"{what}: MLX cannot read {file}: {one_line(error)}. It is damaged, or of a number "
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
