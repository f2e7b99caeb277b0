"""Models from the hub: `owner/name` or `owner/name@revision` -> a folder in the hub's own cache.

Everything that can go wrong ends in one message with the remedy: no such model, gated, no such
revision or file, offline, no network, a full disk. `huggingface_hub` resumes connections that broke
and compares checksums. Never imports mlx.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UserError, one_line

FILES = (
    *("*.json", "model*.safetensors", "*.py", "*.txt", "*.jsonl", "*.jinja", "*.model"),
    "*.tiktoken",
)
"""What mlx-lm reads of a model."""

_DISK_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def snapshot(name: str, files: Sequence[str]) -> Path:
    """Download ``files`` of a hub model, or find them in the hub's own cache when offline.

    Raises:
        UserError: it cannot be had; one message, with what to do.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import EntryNotFoundError
    from huggingface_hub.errors import HTTPError as Dropped  # type: ignore[attr-defined]

    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=list(files))
        )
    except (Dropped, EntryNotFoundError, OSError, RuntimeError, ValueError) as error:
        reason = _reason(error, revision)
        raise UserError(f"model {repository!r} {reason}. Or use smollm2 or tiny.") from error


def _reason(error: Exception, revision: str) -> str:
    """Why the hub's library failed, the narrower kinds of its errors first, and the remedy."""
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return "is gated. Accept its terms on its page, then run: hf auth login"
        case errors.RevisionNotFoundError():
            return f"has no revision {revision!r}"
        case errors.RepositoryNotFoundError():
            return "does not exist on the hub, or is private (then run: hf auth login)"
        case errors.HFValidationError():
            return f"is no name of the hub ({error})"
        case errors.LocalEntryNotFoundError():  # no connection, and not in the cache either
            return _answered(error.__cause__) or _offline()
        case errors.EntryNotFoundError():
            return f"lacks a file that it lists ({one_line(error)}). Try again, or another revision"
        case errors.HfHubHTTPError():
            return _answered(error) or _offline()
        case OSError() if error.errno is not None or "Consistency check failed" not in str(error):
            return _refused(error)
    # A connection that broke again and again, hf_xet's errors, a file beyond the hub's own limit.
    # huggingface_hub 2.4 keeps no part of a file for a later call.
    return (
        f"was cut off during the download ({one_line(error)}). Run it again: files that are whole "
        "are kept, the one that was cut off starts over"
    )


def _answered(error: BaseException | None) -> str | None:
    """The hub's answer instead of the model; None where it did not answer."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return None if status is None else f"cannot be had: the hub answered {status}. Try again later"


def _offline() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return "is not in the local cache, and HF_HUB_OFFLINE is set. Unset it, or give a directory"
    return (
        "is not in the local cache and the hub cannot be reached. Check the network or "
        "HF_ENDPOINT, or download it elsewhere and give its directory"
    )


def _refused(error: OSError) -> str:
    """The system's refusal: of the disk, else of the network."""
    if error.errno in _DISK_FULL or error.filename is not None:
        what = _DISK_FULL.get(error.errno or 0, f"{error.strerror} ({error.filename})")
        return f"cannot be written to the hub's cache: {what}. Free space, or set HF_HOME"
    return _offline()
