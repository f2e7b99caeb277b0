"""Errors that are not bugs, and their wording.

A :class:`UserError` is a mistake that the user can correct: it is shown as one message without a
traceback (exit status 2 in the CLI, 4 from pytest). A :class:`RemoteError` quotes another process.
Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from harness.markdown import visible


class UserError(Exception):
    """A mistake the user can fix. The message names the thing, the value, what is allowed and
    what to do next."""

    def __str__(self) -> str:
        return visible(super().__str__())


class RemoteError(RuntimeError):
    """The failure of another process in its own words. Where they report a disk, it is the disk of
    that process."""

    def __str__(self) -> str:
        return visible(super().__str__())


def one_line(error: Exception) -> str:
    """An error's first line, and what follows a heading (`Validation error for field 'x':`)."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    shown = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return " ".join(shown.split()).rstrip(".")


def unknown(kind: str, value: str, allowed: Iterable[str], hint: str = "") -> UserError:
    """The error for ``value``, which is not one of the ``allowed`` names of a ``kind``, e.g.
    ``"variant"``: it lists them, the nearest first, and ends with ``hint``, the next step."""
    names = sorted(allowed)
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(value.casefold(), folded, n=3, cutoff=0.5)
    near = [folded[name] for name in close]
    listed = ", ".join(near + [name for name in names if name not in near])
    guess = f" Did you mean {near[0]!r}?" if near else ""
    tail = f" {hint}" if hint else ""
    return UserError(f"unknown {kind} {value!r}.{guess} Allowed: {listed}.{tail}")
