"""A local HTTP server of one archive, and archives of WikiSQL's layout, honest and hostile."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import re
import tarfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.data.sources import archive
from harness.data.sources.resolve import MINI_FOLDER, prepared_wikisql
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.progress import ProgressCallback, silent

Extra = tuple[tarfile.TarInfo, bytes]


class Mirror:
    """A server of one file. ``breaks`` holds, for the next requests, the byte counts after which
    each is dropped (None: served whole); ``ranges=False`` ignores Range headers."""

    def __init__(self) -> None:
        self.body = b""
        self.breaks: list[int | None] = []
        self.status: list[int] = []
        self.ranges = True
        self.asked: list[str | None] = []
        self.sent = 0
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/data.tar.bz2"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.asked.append(asked)
        if self.status:
            handler.send_error(self.status.pop(0))
            return
        start, whole = 0, len(self.body)
        if asked and self.ranges:
            found = re.fullmatch(r"bytes=(\d+)-", asked)
            assert found is not None
            start = int(found[1])
            if start >= whole:
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{whole}")
                handler.end_headers()
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(whole - start))
        handler.end_headers()
        after = self.breaks.pop(0) if self.breaks else None
        sent = self.body[start:] if after is None else self.body[start : start + after]
        with contextlib.suppress(OSError):  # the client may hang up first
            handler.wfile.write(sent)
        self.sent += len(sent)


def official(folder: Path, *extra: Extra, leave_out: str = "", cut: str = "") -> bytes:
    """A tar.bz2 of WikiSQL's layout: data/, the six files, an SQLite file; then ``extra``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as tar:
        tar.addfile(directory("data"))
        for split in ("train", "dev", "test"):
            for end in (".jsonl", ".tables.jsonl"):
                name = f"data/{split}{end}"
                if name == leave_out:
                    continue
                data = source_file(folder, split, end).read_bytes()
                data = data[:-40] if name == cut else data
                add(tar, *plain(name, data))
        add(tar, *plain("data/test.db", b"SQLite format 3\0"))
        for info, data in extra:
            add(tar, info, data)
    return buffer.getvalue()


@functools.cache
def mini_archive() -> bytes:
    return official(MINI_FOLDER)


def source_file(folder: Path, split: str, end: str) -> Path:
    path = folder / f"{split}{end}"
    return path if path.is_file() else folder / f"valid{end}"  # mini calls its dev split valid


def add(tar: tarfile.TarFile, info: tarfile.TarInfo, data: bytes) -> None:
    tar.addfile(info, io.BytesIO(data))


def plain(name: str, data: bytes = b"x", size: int | None = None) -> Extra:
    info = tarfile.TarInfo(name)
    info.size = len(data) if size is None else size
    return info, data


def special(name: str, kind: bytes, target: str = "") -> Extra:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def directory(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info


def complaint(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


def fetched(
    cache: Cache,
    url: str,
    body: bytes | None = None,
    progress: ProgressCallback = silent,
    sha256: str | None = None,
) -> Path:
    """`fetch wikisql` from ``url``, with the archive ``body`` in the official one's place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(archive.URL_VARIABLE, url)
        if body is not None:
            patch.setattr(archive, "SHA256", sha256 or hashlib.sha256(body).hexdigest())
            patch.setattr(archive, "BYTES", len(body))
        return archive.fetch_wikisql(cache, progress)


def nothing_published(cache: Cache) -> bool:
    folder = prepared_wikisql(cache.root)
    return not folder.exists() and not list(folder.parent.glob(".*.partial"))
