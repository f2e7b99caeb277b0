"""Models from the hub: `owner/name` or `owner/name@revision` -> a folder in the hub's own cache.

Everything that can go wrong ends in one message with the remedy: no such model, gated, no such
revision or file, offline, no network, no room. Resuming a connection that broke, and checksums,
are `huggingface_hub`'s.
Never imports mlx.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UserError

FILES = (
    *("*.json", "model*.safetensors", "*.py", "*.txt", "*.jsonl", "*.jinja", "*.model"),
    "*.tiktoken",
)
"""What mlx-lm reads of a model."""

_NO_ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def snapshot(name: str, files: Sequence[str] = FILES) -> Path:
    """Download a hub model, or find it in the hub's own cache when offline.

    Raises:
        UserError: it cannot be had; one message, with what to do.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.errors import HTTPError as Dropped  # type: ignore[attr-defined]

    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=list(files))
        )
    except GatedRepoError as error:
        why = "is gated. Accept its terms on its page, then run: hf auth login"
        cause: Exception = error
    except RevisionNotFoundError as error:
        why, cause = f"has no revision {revision!r}", error
    except RepositoryNotFoundError as error:
        why = "does not exist on the hub, or is private (then run: hf auth login)"
        cause = error
    except HFValidationError as error:
        why, cause = f"is no name of the hub ({error})", error
    except LocalEntryNotFoundError as error:  # no connection, and not in the cache either
        why, cause = _answered(error.__cause__) or _offline(), error
    except EntryNotFoundError as error:
        why = f"lacks a file that it lists ({_one_line(error)}). Try again, or another revision"
        cause = error
    except HfHubHTTPError as error:
        why, cause = _answered(error) or _offline(), error
    except Dropped as error:  # a connection that broke again and again during the download
        why, cause = _cut_off(error), error
    except OSError as error:
        inconsistent = error.errno is None and "Consistency check failed" in str(error)
        why, cause = _cut_off(error) if inconsistent else _refused(error), error
    except (RuntimeError, ValueError) as error:  # hf_xet's, and a file beyond the hub's own limit
        why, cause = _cut_off(error), error
    raise UserError(f"model {repository!r} {why}. Or use smollm2 or tiny.") from cause


def _answered(error: BaseException | None) -> str | None:
    """What the hub said instead of the model; None where it said nothing."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return None if status is None else f"cannot be had: the hub answered {status}. Try again later"


def _cut_off(error: Exception) -> str:
    # huggingface_hub 2.4 keeps no part of a file for a later call.
    return (
        f"was cut off during the download ({_one_line(error)}). Run it again: files that are whole "
        "are kept, the one that was cut off starts over"
    )


def _offline() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return "is not in the local cache, and HF_HUB_OFFLINE is set. Unset it, or give a directory"
    return (
        "is not in the local cache and the hub cannot be reached. Check the network or "
        "HF_ENDPOINT, or download it elsewhere and give its directory"
    )


def _refused(error: OSError) -> str:
    """The system's refusal: of the disk, else of the network."""
    if error.errno in _NO_ROOM or error.filename is not None:
        what = _NO_ROOM.get(error.errno or 0, f"{error.strerror} ({error.filename})")
        return f"cannot be written to the hub's cache: {what}. Free space, or set HF_HOME"
    return _offline()


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
