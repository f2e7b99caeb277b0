"""Which adapter a variant is measured with, and where it came from.

A folder that the user gave -> :class:`AdapterSource`; trained ones are `stages.py`'s. Whether the
weights fit the base is checked when they are loaded (``models/adapter.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.disk.files import sha256_file
from harness.errors import UserError
from harness.models.adapter import adapter_config, adapter_weights
from harness.models.weights import ADAPTER_FILE
from harness.schema.variant_result import Adapter


@dataclass(frozen=True)
class AdapterSource:
    """The adapter that is measured: ``path`` None is the base itself."""

    path: Path | None
    sha256: str | None
    iterations: int | None
    source: Literal["trained", "cached", "given"]

    def record(self) -> Adapter | None:
        """As `results.json` holds it; None for the base itself."""
        if self.path is None or self.sha256 is None:
            return None
        return Adapter(
            path=shown_path(self.path),
            sha256=self.sha256,
            iterations=self.iterations,
            source=self.source,
        )


def given_adapter(folder: Path) -> AdapterSource:
    """The adapter in ``folder``, as `--adapter-path` names it.

    Raises:
        UserError: the folder holds none.
    """
    file = adapter_weights(folder)
    try:
        iterations = adapter_config(folder).get("iters")
        iterations = iterations if isinstance(iterations, int) and iterations >= 0 else None
    except UserError:
        iterations = None  # loading names what is wrong with the configuration
    return AdapterSource(folder, sha256_file(file), iterations, "given")


def check_given(source: AdapterSource | None) -> None:
    """Refuse a given adapter that is no longer what it was when it was first looked at.

    Raises:
        UserError: else two adapters' numbers would stand in one record, under the first's SHA-256.
    """
    if source is None or source.path is None:
        return
    if sha256_file(source.path / ADAPTER_FILE) != source.sha256:
        raise UserError(
            f"adapter {source.path} was changed after the command was given. Give it again, and "
            "leave the files alone until it has ended."
        )


def shown_path(path: Path) -> str:
    """A path as a published record may hold it: `~` for the user's home."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def path_text(path: Path | None) -> str | None:
    """A path for JSON."""
    return None if path is None else str(path)
