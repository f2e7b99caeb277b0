"""Fixtures of the `fetch wikisql` tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_mirror import Mirror, mini_archive

from harness.data.sources.resolve import MINI_FOLDER
from harness.disk.cache import Cache


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    mirror = Mirror()
    thread = threading.Thread(target=mirror.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    mirror.body = mini_archive()
    yield mirror
    mirror.server.shutdown()
    mirror.server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of the first example of each split of mini; quicker to pack."""
    folder = tmp_path_factory.mktemp("few")
    for split in ("train", "valid", "test"):
        example = (MINI_FOLDER / f"{split}.jsonl").read_bytes().splitlines(True)[0]
        tables = (MINI_FOLDER / f"{split}.tables.jsonl").read_bytes().splitlines(True)
        wanted = json.loads(example)["table_id"]
        (folder / f"{split}.jsonl").write_bytes(example)
        table = next(line for line in tables if json.loads(line)["id"] == wanted)
        (folder / f"{split}.tables.jsonl").write_bytes(table)
    return folder
