"""A dataset's name -> its records: `mini`, `wikisql` or a folder -> `Dataset`.

A folder is in WikiSQL's format (`wikisql.py`) or in one of mlx-lm's (`mlx_lm_formats.py`).

Not covered: downloading (`python -m harness fetch wikisql` prepares the folder read here).
"""

from __future__ import annotations

from pathlib import Path

from harness.bundled import FIXTURES
from harness.data.records import Dataset
from harness.data.sources.mlx_lm_formats import format_of, load_texts
from harness.data.sources.wikisql import load_dataset
from harness.disk.cache import Cache, default_root
from harness.disk.files import user_path
from harness.errors import UserError, unknown

NAMES = ("mini", "wikisql")
"""Datasets known by name; anything else is a folder."""

MINI_FOLDER = FIXTURES / "mini"
"""Where the embedded corpus is committed."""


def prepared_wikisql(cache_root: Path | None = None) -> Path:
    """The folder in which `fetch wikisql` leaves the official splits; it may not exist yet."""
    return (cache_root or default_root()) / "datasets" / "wikisql"


def resolve_dataset(name: str, cache_root: Path | None = None) -> Dataset:
    """Read the dataset called ``name``: `mini`, `wikisql`, or the path of a folder.

    Args:
        name: the value of `--dataset`.
        cache_root: the root of the cache that holds `wikisql`; None stands for the user's own.

    Raises:
        UserError: an unknown name, a missing folder, or damaged files (`file:line` of each).
    """
    if name == "mini":
        return load_dataset(MINI_FOLDER, "mini")
    if name == "wikisql":
        return _wikisql(cache_root)
    folder = user_path(name)
    if folder.is_file():
        raise UserError(
            f"dataset {name!r} is a file; give the folder that holds it: {folder.parent}"
        )
    if not folder.is_dir() and not _looks_like_path(name):
        raise unknown("dataset", name, NAMES, "Or give a folder in WikiSQL's or mlx-lm's layout.")
    if format_of(folder) is not None:
        return load_texts(folder, folder.resolve().name)
    return load_dataset(folder, folder.resolve().name)


def _wikisql(cache_root: Path | None) -> Dataset:
    expected = prepared_wikisql(cache_root)
    # The cache compares checksums and moves a damaged copy aside.
    folder = Cache(cache_root).find(expected.parent.name, expected.name)
    if folder is None:
        raise UserError(
            f"dataset 'wikisql' is not prepared ({expected} does not hold it). "
            "Run: python -m harness fetch wikisql"
        )
    return load_dataset(folder, "wikisql")


def _looks_like_path(name: str) -> bool:
    return "/" in name or "\\" in name or name.startswith((".", "~"))
