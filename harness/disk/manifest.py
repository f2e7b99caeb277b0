"""The checksums of a folder's files: written when the folder is made, compared at every use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.disk.files import sha256_file

MANIFEST = ".manifest.json"
"""The file beside the content that holds the checksums."""

ALWAYS_HASHED_BYTES = 64 * 1024 * 1024
"""Files up to this size are hashed at every use. Above it an unchanged size and modification time
stand for the content, since hashing a 500 MB model at each start would cost seconds."""


def describe(folder: Path) -> dict[str, dict[str, Any]]:
    """Size, modification time and SHA-256 of every file below ``folder``, by path."""
    return described(folder, (path for path in sorted(folder.rglob("*")) if path.is_file()))


def described(folder: Path, paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """:func:`describe` of some files."""
    files = {}
    for path in paths:
        if path.name != MANIFEST:
            stat = path.stat()
            files[path.relative_to(folder).as_posix()] = {
                "bytes": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
                "sha256": sha256_file(path),
            }
    return files


def damage_of(folder: Path) -> str | None:
    """How a folder differs from its manifest, in words; None if it does not.

    Raises:
        OSError: it cannot be read, or is removed meanwhile.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return next(filter(None, (_damage(folder, *file) for file in files.items())), None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "has an unreadable manifest"


def _damage(folder: Path, name: str, expected: Mapping[str, Any]) -> str | None:
    """How one file differs from its entry in the manifest."""
    path = folder / name
    if not path.is_file():
        return f"lacks {name}"
    stat = path.stat()
    if stat.st_size != expected["bytes"]:
        return f"is damaged: {name} has {stat.st_size} bytes, not {expected['bytes']}"
    if stat.st_size > ALWAYS_HASHED_BYTES and stat.st_mtime_ns == expected["mtime_ns"]:
        return None
    if sha256_file(path) != expected["sha256"]:
        return f"is damaged: {name} has another checksum"
    return None
