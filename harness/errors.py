"""The two error families, and the wording of the first.

A :class:`UserError` is something the user can put right: it is shown as one message without a
traceback (exit status 2 in the CLI, 4 from pytest). Everything else is a bug and keeps its
traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can fix. The message names the thing, the value, what is allowed and
    what to do next."""


class RemoteError(RuntimeError):
    """The failure of another process, told in its words: what they say of a disk is of its own."""


def unknown(kind: str, value: str, allowed: Iterable[str], hint: str = "") -> UserError:
    """The error for a name that is not one of ``allowed``: nearest names first, then the rest.

    Args:
        kind: what was named, e.g. ``"variant"``.
        value: what the user wrote.
        allowed: every accepted name.
        hint: the next step, e.g. a command to run.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(value, names, n=3, cutoff=0.5)
    listed = ", ".join(near + [name for name in names if name not in near])
    guess = f" Did you mean {near[0]!r}?" if near else ""
    tail = f" {hint}" if hint else ""
    return UserError(f"unknown {kind} {value!r}.{guess} Allowed: {listed}.{tail}")
