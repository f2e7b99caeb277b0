"""Checksums of a run's files, so that damage is noticed when they are read.

Input: a run's folder -> output: `checksums.json` in it, with the size, lines and SHA-256 of
`results.json` and of the row files. A file of the same size with other bytes is refused, and so is
a row file that lacks lines: both are damage (a cut `results.json` is no JSON). A file that was
edited by hand is used, and a message names it. Not covered: reports and charts, which
can be made again, and runs of versions that wrote no checksums.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.disk.files import write_json
from harness.errors import UserError
from harness.progress import print_message

CHECKSUMS_FILE = "checksums.json"
REMEDY = "Restore the file (git checkout, a backup) or make the run again."


def write_checksums(folder: Path) -> None:
    """Describe the run in ``folder``, once its files are whole."""
    files = [*folder.glob("results.json"), *sorted(folder.glob("*.jsonl"))]
    write_json(folder / CHECKSUMS_FILE, {path.name: _describe(path.read_bytes()) for path in files})


def damaged(place: object, reason: object) -> UserError:
    """The error for a file, or a line of it, that is damaged."""
    return UserError(f"{place} is damaged: {reason}. {REMEDY}")


@contextlib.contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turn the system's refusal to read ``file`` into a message for the user."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error


def check(file: Path) -> None:
    """Refuse a damaged file of a run, and name one that was edited.

    Raises:
        UserError: the file, or `checksums.json` beside it, is damaged.
    """
    listed = file.with_name(CHECKSUMS_FILE)
    try:
        described = json.loads(listed.read_text(encoding="utf-8")).get(file.name)
        if described is None:
            return
        bytes_, lines = described["bytes"], described["lines"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(listed, error) from error
    if not file.is_file():
        raise UserError(f"{file} is missing, and {CHECKSUMS_FILE} lists it. {REMEDY}")
    with reading(file):
        found = _describe(file.read_bytes())
    if found == described:
        return
    if found["bytes"] == bytes_ or (file.suffix == ".jsonl" and found["lines"] < lines):
        reason = f"its checksum differs from {CHECKSUMS_FILE}"
        raise UserError(
            f"{damaged(file, reason)} If you changed it yourself, remove {CHECKSUMS_FILE}."
        )
    print_message(f"tunebench: {file} was changed after the run was written")


def _describe(content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"bytes": len(content), "lines": content.count(b"\n"), "sha256": digest}
