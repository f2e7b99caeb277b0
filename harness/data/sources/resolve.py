"""A dataset's name -> its records: `mini`, `wikisql`, a folder or a Hugging Face id -> `Dataset`.

A folder is in WikiSQL's format (`wikisql.py`) or in one of mlx-lm's (`mlx_lm_formats.py`), which
data of the hub is written in (`hub.py`). Not
covered: downloading (`python -m harness fetch wikisql` prepares the folder read here).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.bundled import FIXTURES
from harness.data.records import Dataset
from harness.data.sources.hub import hub_folder, hub_name, is_hub_data
from harness.data.sources.mlx_lm_formats import format_of, load_texts, refuse_other_formats
from harness.data.sources.wikisql import GoldReader, load_dataset, unread
from harness.disk.cache import Cache
from harness.disk.files import user_path
from harness.errors import UserError, unknown

NAMES = ("mini", "wikisql")
"""Datasets known by name; anything else is a folder."""

WIKISQL_ENTRY = ("datasets", "wikisql")
"""Kind and key of the cache entry that `fetch wikisql` makes."""

MINI_FOLDER = FIXTURES / "mini"
"""Where the embedded corpus is committed."""


def prepared_wikisql(cache_root: Path | None = None) -> Path:
    """The folder in which `fetch wikisql` leaves the official splits; it may not exist yet."""
    return Cache(cache_root).path(*WIKISQL_ENTRY)


def resolve_dataset(
    name: str, cache_root: Path | None = None, read_golds: GoldReader = unread
) -> Dataset:
    """Read the dataset called ``name``: `mini`, `wikisql` (from the cache under ``cache_root``,
    by default the user's own), the path of a folder, or an id of the Hugging Face hub that is no
    folder here. ``read_golds`` is that of :func:`harness.data.sources.wikisql.load_split`.

    Raises:
        UserError: an unknown name, a missing folder, data that the hub does not give, or damaged
            files (`file:line` of each).
    """
    if is_hub_data(name):
        folder, revision = hub_folder(name, Cache(cache_root))
        called = hub_name(name)
        form = format_of(folder)
        assert form is not None
        return replace(load_texts(folder, called, form), revision=revision)
    folder = dataset_folder(name, cache_root)
    if name in NAMES:
        return load_dataset(folder, name, read_golds)
    if (form := format_of(folder)) is not None:
        return load_texts(folder, folder.resolve().name, form)
    refuse_other_formats(folder)
    return load_dataset(folder, folder.resolve().name, read_golds)


def dataset_folder(name: str, cache_root: Path | None = None) -> Path:
    """The folder of the dataset called ``name`` as :func:`resolve_dataset` takes it; what looks
    like a path may not exist.

    Raises:
        UserError: an unknown name, a file, or `wikisql` not fetched.
    """
    if name == "mini":
        return MINI_FOLDER
    if name == "wikisql":
        # The cache compares checksums and moves a damaged copy aside.
        prepared = Cache(cache_root).find(*WIKISQL_ENTRY)
        if prepared is None:
            raise UserError(
                f"dataset 'wikisql' is not prepared ({prepared_wikisql(cache_root)} does not hold "
                "it). Run: python -m harness fetch wikisql"
            )
        return prepared
    folder = user_path(name)
    if folder.is_file():
        raise UserError(
            f"dataset {name!r} is a file; give the folder that holds it: {folder.parent}"
        )
    like_path = "/" in name or "\\" in name or name.startswith((".", "~"))
    if not folder.is_dir() and not like_path:
        raise unknown("dataset", name, NAMES, "Or give a folder in WikiSQL's or mlx-lm's layout.")
    return folder
