"""MLX's own limits of memory, as environment variables name them.

``TUNEBENCH_MLX_CACHE_LIMIT_GB=2`` and its like -> bytes by MLX's name of the limit. Every model
process sets them before it loads anything (``models/device.py``); unset, MLX's defaults hold.
"""

from __future__ import annotations

import math
import os
import shlex

from harness.errors import UserError

KINDS = ("cache", "memory", "wired")
"""``mx.set_KIND_limit`` sets each."""


def variable(kind: str) -> str:
    """The environment variable of a limit."""
    return f"TUNEBENCH_MLX_{kind.upper()}_LIMIT_GB"


def memory_limits() -> dict[str, int]:
    """The limits that are set, in bytes (1 GB is 1e9 bytes).

    Raises:
        UserError: one is no number, or below what is allowed.
    """
    return {kind: _bytes(kind, text) for kind in KINDS if (text := os.environ.get(variable(kind)))}


def _bytes(kind: str, text: str) -> int:
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    enough = gigabytes >= 0 if kind == "cache" else gigabytes > 0
    if not (enough and math.isfinite(gigabytes)):
        allowed = "0 or more (0 keeps nothing)" if kind == "cache" else "above 0"
        raise UserError(
            f"{variable(kind)}={text!r} is no limit. Allowed: GB, {allowed}, such as 2 or 0.5. "
            "Set it so, or unset it for MLX's default."
        )
    return int(gigabytes * 1e9)


def assignments() -> list[str]:
    """The variables that are set, as they stand before a command in a shell.

    Raises:
        UserError: one is wrong.
    """
    return [f"{name}={shlex.quote(os.environ[name])}" for name in map(variable, memory_limits())]
