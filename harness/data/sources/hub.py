"""Data by a Hugging Face id, as mlx-lm takes it: `org/name` or keys of `hf_dataset` -> a folder;
also a folder whose columns have other names (mlx-lm's `data` with `prompt_feature` and so on).

The package `datasets` finds and caches it; the rows are written in mlx-lm's format, under the names
that it knows, into an entry of the cache that is named by the data's own fingerprint, so that the
model's process needs neither the network nor that package. As in ``mlx_lm/tuner/datasets.py``
(0.32.2): `load_hf_dataset`, `load_custom_hf_dataset`, `create_dataset`. Beyond it, a split
`validation` or `dev` serves as `valid`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.data.sources.jsonlines import (
    SPLIT_NAMES,
    first_existing,
    parse_lines,
    read_bytes,
    text_digest,
)
from harness.disk.cache import Cache
from harness.disk.files import content_key, user_path, write_text
from harness.errors import UserError, one_line, unknown
from harness.machine.installed import has_package

KIND = "datasets"
"""Of the cache entries."""

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SPLITS = {"train": ("train",), "valid": ("valid", "validation", "dev"), "test": ("test",)}
_CUSTOM_SPLITS = {"train": "train[:80%]", "valid": "train[-10%:]"}
"""mlx-lm's splits of an `hf_dataset` that names none; it has none for `test`."""
_FEATURES = ("prompt", "completion", "chat", "text")
_KEYS = {
    *("path", "data", "config", "train_split", "valid_split", "test_split"),
    *(f"{feature}_feature" for feature in _FEATURES),
}
_COMMIT = re.compile(r"@([0-9a-f]{40})/")


def is_hub_data(name: str) -> bool:
    """Whether ``name`` is an `hf_dataset` written as JSON, or can be an id and is no path here."""
    return _is_json(name) or (_ID.fullmatch(name) is not None and not user_path(name).exists())


def _is_json(name: str) -> bool:
    return name.startswith(("{", "[{"))


def hub_name(name: str) -> str:
    """The data's name in a report: its id, or its ids."""
    return "+".join(
        user_path(one["path"]).resolve().name if _is_folder(one) else str(one["path"])
        for one in _collection(name)
    )


def hub_folder(name: str, cache: Cache) -> tuple[Path, str]:
    """The folder that the data was written to, and its revision: the commit on the hub where it
    comes from there, else the fingerprint of `datasets`.

    Raises:
        UserError: `datasets` is not installed or finds nothing, or a split or a column is missing.
    """
    collection = _collection(name)
    if not has_package("datasets") and not all(map(_is_folder, collection)):
        raise UserError(
            f"dataset {name[:90]!r} is no folder here; as an id of the Hugging Face hub it takes "
            "the package `datasets`: pip install datasets"
        )
    found = [_loaded(one, custom=_is_json(name) and "data" not in one) for one in collection]
    prints = [split._fingerprint for splits in found for split in splits.values()]
    key = content_key(["hub@1", collection, prints])

    def make(folder: Path) -> None:
        for role in _SPLITS:
            parts = [
                _rows(one, splits[role]) for one, splits in zip(collection, found, strict=True)
            ]
            lines = [json.dumps(row, ensure_ascii=False) for part in parts for row in part]
            write_text(folder / f"{role}.jsonl", "".join(f"{line}\n" for line in lines))

    commits = {commit for splits in found for commit in _commits(splits.values())}
    return cache.build(KIND, key, make), "+".join(sorted(commits)) or content_key(prints)[:16]


def _collection(name: str) -> list[dict[str, Any]]:
    """The data sets that make the data, each by mlx-lm's keys."""
    if not _is_json(name):
        return [{"path": name}]
    try:
        value = json.loads(name)
    except (ValueError, RecursionError) as error:
        raise UserError(f"hf_dataset {name[:60]} is not JSON: {error}.") from error
    collection = value if isinstance(value, list) else [value]
    for one in collection:
        if isinstance(one, dict) and "data" in one:
            one["path"] = one["data"]
        if not isinstance(one, dict) or not isinstance(one.get("path"), str):
            raise UserError(f"hf_dataset {name[:60]}: each data set needs its path (an id).")
        for key in one.keys() - _KEYS:
            raise unknown("key of hf_dataset", key, _KEYS)
        if not isinstance(one.get("config", {}), Mapping):
            raise UserError(f"hf_dataset {one['path']}: config must be a mapping.")
    return collection


def _loaded(spec: Mapping[str, Any], custom: bool) -> dict[str, Any]:
    """The three splits of a data set, by role."""
    path = spec["path"]
    if _is_folder(spec):
        folder = user_path(path)
        return {role: _Lines(first_existing(folder, names)) for role, names in SPLIT_NAMES}
    load = import_module("datasets").load_dataset
    wanted = {role: spec.get(f"{role}_split", _CUSTOM_SPLITS.get(role)) for role in _SPLITS}
    try:
        if not custom:
            every = load(path)
            names = {r: next(filter(every.__contains__, of), "") for r, of in _SPLITS.items()}
            found = {role: every[name] for role, name in names.items() if name}
        else:
            settings = spec.get("config", {})
            found = {r: load(path, split=name, **settings) for r, name in wanted.items() if name}
    except Exception as error:  # another project's code, and the network
        why = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"dataset {path!r} is no folder here; `datasets` says: {why}") from error
    if missing := [role for role in _SPLITS if role not in found]:
        present = f" (present: {', '.join(every)})" if not custom else ""
        raise UserError(
            f"dataset {path!r} has no split for {' and '.join(missing)}{present}. Name them in a "
            "variant file: hf_dataset: {path: …, train_split: 'train[:80%]', valid_split: "
            "'train[80%:90%]', test_split: 'train[90%:]'}"
        )
    return found


def _rows(spec: Mapping[str, Any], split: Any) -> Iterator[dict[str, Any]]:
    """The rows of a split under mlx-lm's names, in its order of preference."""
    defaults = {"chat": "messages"}
    column = {f: spec.get(f"{f}_feature", defaults.get(f, f)) for f in _FEATURES}
    columns: Sequence[str] = split.column_names
    for kept in (("prompt", "completion"), ("chat",), ("text",)):
        if all(column[feature] in columns for feature in kept):
            names = {defaults.get(feature, feature): column[feature] for feature in kept}
            break
    else:
        raise UserError(
            f"dataset {spec['path']!r} has the columns {', '.join(columns)}. Read are prompt and "
            "completion, messages, or text; hf_dataset in a variant file names others: "
            "prompt_feature, completion_feature, chat_feature, text_feature."
        )
    tools = {"tools": "tools"} if "tools" in columns and "text" not in names else {}
    for row in split:
        yield {name: row.get(key) for name, key in {**names, **tools}.items()}


def _is_folder(spec: Mapping[str, Any]) -> bool:
    """Whether it is the `data` of a file, a folder here, whose columns have names of their own."""
    return "data" in spec and user_path(spec["data"]).is_dir()


class _Lines:
    """A split of a folder, as `datasets` gives one of the hub."""

    info = None

    def __init__(self, path: Path) -> None:
        data = read_bytes(path)
        self._rows = parse_lines(path, data, lambda _, row: row)
        self._fingerprint = text_digest(data)
        self.column_names = list(self._rows[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)


def _commits(splits: Any) -> Iterator[str]:
    """The hub's commits that the splits' files are of, as their addresses tell."""
    for split in splits:
        for address in getattr(split.info, "download_checksums", None) or ():
            yield from _COMMIT.findall(str(address))
