"""What the files of a run were when they were written, so that damage is noticed on reading.

A run's folder -> `checksums.json` in it: size, lines and SHA-256 of `results.json` and of the row
files. A file of the old size with other bytes is refused, and so are rows with lines missing: that
is a disk's work (a cut `results.json` is no JSON). One that was edited by hand is used, and said
to be changed. Reports and charts, which can be made again, are not covered, nor are runs of
versions that wrote no checksums.
"""

from __future__ import annotations

import hashlib
import json
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


def check(file: Path) -> None:
    """Refuse a damaged file of a run, and name one that was edited.

    Raises:
        UserError: the file, or `checksums.json` beside it, is damaged.
    """
    listed = file.with_name(CHECKSUMS_FILE)
    try:
        told = json.loads(listed.read_text(encoding="utf-8")).get(file.name)
        if told is None:
            return
        bytes_, lines = told["bytes"], told["lines"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{listed} is damaged: {error}. {REMEDY}") from error
    if not file.is_file():
        raise UserError(f"{file} is missing, and {CHECKSUMS_FILE} lists it. {REMEDY}")
    try:
        found = _describe(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    if found == told:
        return
    shorter = file.suffix == ".jsonl" and found["lines"] < lines
    damaged = found["bytes"] == bytes_ or shorter
    if damaged:
        raise UserError(
            f"{file} is damaged: its checksum differs from {CHECKSUMS_FILE}. {REMEDY} If you "
            f"changed it yourself, remove {CHECKSUMS_FILE}."
        )
    print_message(f"tunebench: {file} was changed after the run was written")


def _describe(content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"bytes": len(content), "lines": content.count(b"\n"), "sha256": digest}
