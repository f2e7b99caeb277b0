"""Claims on `fetch wikisql` of hostile and damaged archives, against a local HTTP server."""

from __future__ import annotations

import bz2
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_mirror import (
    Extra,
    Mirror,
    complaint,
    fetched,
    nothing_published,
    official,
    plain,
    special,
)

from harness.data.sources import archive
from harness.disk.cache import Cache

HOSTILE = {
    "parent": (plain("data/../../evil"), "'data/../../evil' leads out of the folder"),
    "absolute": (plain("/tmp/evil"), "'/tmp/evil' leads out of the folder"),
    "backslash": (plain("data\\..\\..\\evil"), "leads out of the folder"),
    "drive": (plain("C:/evil"), "leads out of the folder"),
    "symlink": (special("data/x", tarfile.SYMTYPE, "/etc"), "'data/x' is a link to '/etc'"),
    "hard link": (special("data/x", tarfile.LNKTYPE, "/etc/passwd"), "is a link to '/etc/passwd'"),
    "device": (special("data/x", tarfile.BLKTYPE), "is not a plain file"),
    "pipe": (special("data/x", tarfile.FIFOTYPE), "is not a plain file"),
    "twice": (plain("data/train.jsonl"), "'data/train.jsonl' is there twice"),
    "twice by another spelling": (plain("./data//train.jsonl"), "is there twice"),
}


@pytest.mark.parametrize(("extra", "why"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_member_refuses_the_whole_archive(
    mirror: Mirror, cache: Cache, few: Path, extra: Extra, why: str
) -> None:
    mirror.body = official(few, extra)
    before = {path for path in cache.root.parent.rglob("*") if path.name == "evil"}
    text = complaint(lambda: fetched(cache, mirror.url, mirror.body))
    assert "was refused: its member" in text
    assert why in text
    assert nothing_published(cache)
    assert before == {path for path in cache.root.parent.rglob("*") if path.name == "evil"}


def test_a_link_under_an_expected_name_is_refused(mirror: Mirror, cache: Cache, few: Path) -> None:
    link = special("data/dev.jsonl", tarfile.SYMTYPE, "/etc/hostname")
    mirror.body = official(few, link, leave_out="data/dev.jsonl")
    text = complaint(lambda: fetched(cache, mirror.url, mirror.body))
    assert "'data/dev.jsonl' is a link to '/etc/hostname'" in text


def test_a_huge_member_is_refused_by_its_header_alone(tmp_path: Path) -> None:
    info, data = plain("data/train.jsonl", size=600 << 20)
    path = tmp_path / "huge.tar.bz2"
    path.write_bytes(bz2.compress(info.tobuf() + data))
    text = complaint(lambda: archive.unpack(path, tmp_path))
    assert "has 629,145,600 bytes, more than the 536,870,912 allowed" in text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_bomb_is_stopped_at_the_cap_wherever_it_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 1 << 20)
    info, data = plain("data/train.db", bytes(4 << 20))
    info.type = kind
    path = tmp_path / "bomb.tar.bz2"
    path.write_bytes(bz2.compress(info.tobuf() + data))
    text = complaint(lambda: archive.unpack(path, tmp_path))
    assert "unpacks to more than 1,048,576 bytes" in text


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_is_not_read_into_memory_beyond_its_own_cap(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "bomb.tar.bz2"
    members = [plain("data/train.db", bytes(4 << 20)), plain("data/x", bytes(4 << 20))]
    members[1][0].type = kind
    content = b"".join(info.tobuf() + data for info, data in members)
    path.write_bytes(bz2.compress(content))
    text = complaint(lambda: archive.unpack(path, tmp_path))
    assert "describes a file in more than 1,048,576 bytes" in text


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda body: body[: len(body) // 2], "is truncated"),
        (lambda body: body[:9000] + bytes(40) + body[9040:], "is not a whole bzip2 file"),
        (lambda body: b"<html>sign in</html>", "is not a whole bzip2 file"),
        (lambda body: bz2.compress(b"no tar at all" * 100), "is not a whole tar.bz2 archive"),
    ],
)
def test_a_damaged_archive_is_named_for_what_it_is(
    mirror: Mirror, cache: Cache, damage: Callable[[bytes], bytes], why: str
) -> None:
    mirror.body = damage(mirror.body)
    text = complaint(lambda: fetched(cache, mirror.url, mirror.body))
    assert why in text
    assert nothing_published(cache)


def test_an_archive_without_one_of_the_files_is_refused(
    mirror: Mirror, cache: Cache, few: Path
) -> None:
    mirror.body = official(few, leave_out="data/dev.tables.jsonl")
    text = complaint(lambda: fetched(cache, mirror.url, mirror.body))
    assert "lacks data/dev.tables.jsonl" in text
    assert nothing_published(cache)


def test_a_split_that_is_not_whole_is_reported_with_file_and_line(
    mirror: Mirror, cache: Cache, few: Path
) -> None:
    mirror.body = official(few, cut="data/test.jsonl")
    text = complaint(lambda: fetched(cache, mirror.url, mirror.body))
    assert "holds damaged data:\ndata/test.jsonl:1: not JSON" in text
    assert nothing_published(cache)
