"""Which adapter a variant is measured with, and where it came from.

A folder that the user gave -> :class:`AdapterSource`; trained ones are `stages.py`'s. Whether the
weights fit the base is checked when they are loaded (``models/adapter.py``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import UserError
from harness.files import sha256_file
from harness.pipeline.keys import ADAPTER_CONFIG, ADAPTER_FILE


@dataclass(frozen=True)
class AdapterSource:
    """The adapter that is measured: ``path`` None is the base itself."""

    path: Path | None
    sha256: str | None
    iterations: int | None
    source: Literal["trained", "cached", "given"]


def given_adapter(folder: Path) -> AdapterSource:
    """The adapter in ``folder``, as `--adapter-path` names it.

    Raises:
        UserError: the folder holds none.
    """
    file = folder / ADAPTER_FILE
    if not file.is_file():
        raise UserError(
            f"--adapter-path {folder}: no {ADAPTER_FILE} there. Give a folder that "
            "mlx_lm.lora or tunebench wrote."
        )
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
        iterations = config.get("iters")
    except (OSError, ValueError, AttributeError):
        iterations = None  # loading names what is wrong with the configuration
    return AdapterSource(folder, sha256_file(file), iterations, "given")
