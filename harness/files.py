"""Files that are either whole or absent, and content keys.

Every write goes to a temporary neighbour, is flushed to disk and then renamed over the target,
so that a crash, a full disk or Ctrl-C leaves the old file or the new one, never a torn one.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from harness.errors import UserError


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically; parent folders are made.

    Raises:
        UserError: the folder cannot be written (permission, read-only, disk full); the old
            file, if any, is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """:func:`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON that any parser reads: NaN and infinity are refused, keys keep their order."""
    write_text(path, json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    lines = (encode(row) for row in rows)
    write_text(path, "".join(line + "\n" for line in lines))


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_key(*parts: Any) -> str:
    """A 32-digit hex key of JSON-serializable ``parts``; equal contents give equal keys.

    Dictionaries are sorted, so that the order in which a user wrote a YAML file does not matter.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]
