"""Names in the store: of runs, of the row files beside `results.json`, of kept fused models.

Input: a run's or a variant's name -> output: the folder or file it is stored under, or one error
that describes the allowed names. Not covered: what the files hold (``store``).
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from harness.errors import UserError

RESULTS_FILE = "results.json"
REPORT_FILE = "report.md"
PAGE_FILE = "index.html"
FUSED_FOLDER = "fused"
"""The folder beside the runs with the models that `--keep-fused` left, one folder per run."""
TRACKED_FOLDER = "tensorboard"
"""The folder beside the runs with what is written for TensorBoard, one folder per run."""

NAME_BYTES = 200
"""File systems allow 255: temporary names and `-seedN` are made from a run's name."""


def file_name(variant: str) -> str:
    """A variant's name as part of a file name: `article/lora` -> `article__lora`."""
    return variant.replace("/", "__")


def row_file(kind: str, variant: str) -> str:
    """The file of ``kind`` (losses, predictions, trials, checkpoints) for a variant."""
    return f"{kind}.{file_name(variant)}.jsonl"


def check_new(results_dir: Path, name: str) -> Path:
    """The folder a new run will have; meant to be called before anything is loaded.

    Raises:
        UserError: the name is taken, reserved, too long, or not one path component.
    """
    fault = _fault(name)
    if fault:
        shown = name if len(name) <= 60 else f"{name[:60]}…"
        raise UserError(
            f"run name {shown!r} cannot be a folder's name: {fault}. "
            "Choose another with --run-name NAME."
        )
    folder = results_dir / name
    if os.path.lexists(folder):
        raise UserError(
            f"run {name!r} exists already: {folder}. Choose another name with --run-name NAME, "
            "or remove that folder."
        )
    return folder


def check_file_names(variants: Iterable[str]) -> None:
    """Refuse two variants whose rows would share a file, here or on a disk of another kind.

    Raises:
        UserError: naming both.
    """
    seen: dict[str, str] = {}
    for name in variants:
        other = seen.setdefault(_on_any_disk(file_name(name)), name)
        if other == name:
            continue
        shared = f"would both be stored as {file_name(name)!r}"
        if file_name(other) != file_name(name):
            shared = (
                "are one name on a disk that does not tell capitals from small letters (a Mac's)"
            )
        raise UserError(f"variants {other!r} and {name!r} {shared}: rename one of them.")


def _on_any_disk(name: str) -> str:
    """What two names share that some file system takes for one: APFS and NTFS ignore case, APFS
    also how an accented letter is composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _fault(name: str) -> str:
    if not name or name in {".", ".."} or any(sign in name for sign in "/\\:"):
        return "leave out '/', '\\' and ':'"
    if not name.isprintable():
        return "leave out control characters and line separators"
    if _on_any_disk(name) in (FUSED_FOLDER, TRACKED_FOLDER):
        return "it is kept for fused models or for TensorBoard"
    if len(name.encode()) > NAME_BYTES:
        return f"it has {len(name.encode())} bytes, {NAME_BYTES} are allowed"
    return ""
