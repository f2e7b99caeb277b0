"""Claims on `fetch wikisql`, against an archive of the official layout on a local HTTP server."""

from __future__ import annotations

import bz2
import contextlib
import functools
import hashlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.cache import Cache
from harness.cli.data import describe, fetch
from harness.data import archive, download
from harness.data.archive import fetch_wikisql
from harness.data.sources import MINI_FOLDER, prepared_wikisql, resolve_dataset
from harness.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "wikisql" / "small"

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
            told = re.fullmatch(r"bytes=(\d+)-", asked)
            assert told is not None
            start = int(told[1])
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


def nothing_published(cache: Cache) -> bool:
    folder = prepared_wikisql(cache.root)
    return not folder.exists() and not list(folder.parent.glob(".*.partial"))


def test_the_archive_becomes_the_dataset_called_wikisql(mirror: Mirror, cache: Cache) -> None:
    folder = fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    assert folder == prepared_wikisql(cache.root)
    dataset, mini = resolve_dataset("wikisql", cache.root), resolve_dataset("mini")
    assert (dataset.name, dataset.valid.name) == ("wikisql", "dev")
    assert (dataset.train, dataset.test) == (mini.train, mini.test)
    assert dataset.valid.examples == mini.valid.examples
    kept = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert kept == {Path(name).name for name in archive.MEMBERS} | {"origin.json"}


def test_a_second_fetch_asks_the_server_nothing(mirror: Mirror, cache: Cache) -> None:
    first = fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    assert fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256) == first
    assert mirror.asked == [None]


def test_another_pinned_archive_replaces_the_prepared_one(
    mirror: Mirror, cache: Cache, few: Path
) -> None:
    fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    mirror.body = official(few, plain("data/README"))
    folder = fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    told = json.loads((folder / "origin.json").read_text())
    assert told == {"archive_sha256": mirror.sha256, "url": mirror.url}


def test_progress_counts_the_archive_s_bytes_to_the_last(mirror: Mirror, cache: Cache) -> None:
    told: list[tuple[str, float, float]] = []
    fetch_wikisql(cache, lambda *step: told.append(step), mirror.url, mirror.sha256)
    bytes_done = [(done, total) for label, done, total in told if label.startswith("download")]
    assert bytes_done[-1] == (len(mirror.body), len(mirror.body))
    assert [done for done, _ in bytes_done] == sorted(done for done, _ in bytes_done)
    for label in {label for label, _, _ in told}:
        *before, (done, total) = [step[1:] for step in told if step[0] == label]
        assert done == total
        assert all(done < total for done, total in before), label


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/wikisql/small")
def test_real_questions_survive_the_archive(mirror: Mirror, cache: Cache) -> None:
    mirror.body = official(SHARED)
    folder = fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    for name in (Path(member).name for member in archive.MEMBERS):
        assert (folder / name).read_bytes() == (SHARED / name).read_bytes()
    dataset = resolve_dataset("wikisql", cache.root)
    sizes = [len(s.examples) for s in (dataset.train, dataset.valid, dataset.test)]
    assert sizes == [1000, 100, 300]


def test_a_connection_dropped_half_way_is_taken_up_in_the_same_call(
    mirror: Mirror, cache: Cache
) -> None:
    half, whole = len(mirror.body) // 2, len(mirror.body)
    mirror.breaks = [half, 1000]
    fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    assert mirror.asked == [None, f"bytes={half}-", f"bytes={half + 1000}-"]
    assert mirror.sent == whole


def test_a_later_call_goes_on_where_the_first_was_cut(mirror: Mirror, cache: Cache) -> None:
    half = len(mirror.body) // 2
    mirror.breaks = [half, 0]
    text = complaint(lambda: fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256))
    assert f"The {half:,} bytes so far are kept; run the command again" in text
    assert nothing_published(cache)
    fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    assert mirror.asked[-1] == f"bytes={half}-"
    assert mirror.sent == len(mirror.body)
    assert [path.suffix for path in (cache.root / "downloads").iterdir()] == [".bz2"]


def test_ctrl_c_while_downloading_keeps_what_came(mirror: Mirror, cache: Cache) -> None:
    def stop(label: str, done: float, total: float) -> None:
        if label.startswith("download"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_wikisql(cache, stop, mirror.url, mirror.sha256)
    assert nothing_published(cache)
    fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    assert mirror.asked[0] is None
    assert re.fullmatch(r"bytes=[1-9]\d*-", str(mirror.asked[1]))


def test_ctrl_c_while_unpacking_publishes_nothing_and_downloads_nothing_again(
    mirror: Mirror, cache: Cache
) -> None:
    def stop(label: str, done: float, total: float) -> None:
        if label.startswith("check"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_wikisql(cache, stop, mirror.url, mirror.sha256)
    assert nothing_published(cache)
    fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    assert mirror.asked == [None]


def test_a_server_without_ranges_starts_over(mirror: Mirror, cache: Cache) -> None:
    mirror.breaks = [len(mirror.body) // 2]
    mirror.ranges = False
    fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    assert mirror.sent == len(mirror.body) + len(mirror.body) // 2


@pytest.mark.parametrize("kept", [b"older bytes", b"o" * 10_000_000])
def test_kept_bytes_of_another_file_cost_one_fresh_download(
    mirror: Mirror, cache: Cache, kept: bytes
) -> None:
    part = cache.root / "downloads" / f"wikisql-{mirror.sha256[:12]}.tar.bz2.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(kept)
    fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    assert mirror.asked == [f"bytes={len(kept)}-", None]


def test_a_part_that_was_already_whole_is_used(mirror: Mirror, cache: Cache) -> None:
    part = cache.root / "downloads" / f"wikisql-{mirror.sha256[:12]}.tar.bz2.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(mirror.body)
    fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    assert mirror.sent == 0


def test_a_wrong_checksum_is_named_and_the_file_moved_aside(mirror: Mirror, cache: Cache) -> None:
    wanted = "0" * 64
    text = complaint(lambda: fetch_wikisql(cache, url=mirror.url, sha256=wanted))
    assert f"has SHA-256 {mirror.sha256}, expected {wanted}" in text
    assert "--dataset DIR" in text
    aside = cache.root / "downloads" / f"wikisql-{'0' * 12}.tar.bz2.damaged-{mirror.sha256[:12]}"
    assert str(aside) in text
    assert list(aside.parent.iterdir()) == [aside]
    assert aside.read_bytes() == mirror.body
    assert nothing_published(cache)


def test_a_shorter_file_than_the_official_one_is_called_truncated(
    mirror: Mirror, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEBENCH_WIKISQL_URL", mirror.url)
    text = complaint(lambda: fetch_wikisql(cache))
    size = f"{len(mirror.body):,} bytes, expected 26,164,664"
    assert f"{mirror.url} is truncated: {size}" in text
    assert nothing_published(cache)


def test_a_file_without_end_is_given_up_at_the_known_size(
    mirror: Mirror, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "BYTES", 100_000)
    mirror.body = bytes(50_000_000)
    text = complaint(lambda: fetch_wikisql(cache, url=mirror.url))
    assert "is larger than the 100,000 bytes expected" in text
    [aside] = (cache.root / "downloads").iterdir()
    assert aside.stat().st_size <= 100_000 + 65536


def test_a_damaged_download_in_the_cache_is_moved_aside_and_fetched_again(
    mirror: Mirror, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    target = cache.root / "downloads" / f"wikisql-{mirror.sha256[:12]}.tar.bz2"
    target.parent.mkdir(parents=True)
    target.write_bytes(mirror.body[:-1])
    fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    assert f"{target} is damaged; moved to" in capsys.readouterr().err


def test_a_flipped_byte_in_the_prepared_folder_is_noticed_and_mended_without_the_network(
    mirror: Mirror, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    path = folder / "test.jsonl"
    data = bytearray(path.read_bytes())
    data[data.index(b"question") + 20] ^= 1
    path.write_bytes(data)
    text = complaint(lambda: resolve_dataset("wikisql", cache.root))
    assert "python -m harness fetch wikisql" in text
    assert "test.jsonl has another checksum; moved to" in capsys.readouterr().err
    fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256)
    assert resolve_dataset("wikisql", cache.root).test == resolve_dataset("mini").test
    assert mirror.asked == [None]


def test_no_network_ends_in_one_message_with_the_remedy(cache: Cache) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/data.tar.bz2"
    text = complaint(lambda: fetch_wikisql(cache, url=url))
    assert text.startswith(f"cannot download {url}: Connection refused. Check the address")
    assert "unpack it and give its folder: --dataset DIR" in text
    assert "TUNEBENCH_WIKISQL_URL" in text


def test_a_refusal_by_the_server_is_told_with_its_status(mirror: Mirror, cache: Cache) -> None:
    mirror.status = [503]
    text = complaint(lambda: fetch_wikisql(cache, url=mirror.url))
    assert "HTTP 503 Service Unavailable. Check the address and the network" in text


@pytest.mark.parametrize("url", ["ftp://example.org/data.tar.bz2", "data.tar.bz2"])
def test_only_https_http_and_file_are_read(cache: Cache, url: str) -> None:
    text = complaint(lambda: fetch_wikisql(cache, url=url))
    assert f"cannot download from {url!r}. Allowed: https://, http://, file://." in text


def test_a_local_copy_serves_as_mirror(mirror: Mirror, cache: Cache, tmp_path: Path) -> None:
    copy = tmp_path / "data.tar.bz2"
    copy.write_bytes(mirror.body)
    assert fetch_wikisql(cache, url=copy.as_uri(), sha256=mirror.sha256).is_dir()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
def test_a_full_disk_is_not_mistaken_for_the_network(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "a.part").symlink_to("/dev/full")
    source = download.Source(mirror.url, "a", mirror.sha256)
    text = complaint(lambda: download.download(source, tmp_path))
    assert text == f"cannot write {tmp_path / 'a.part'}: No space left on device"


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
    text = complaint(lambda: fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256))
    assert "was refused: its member" in text
    assert why in text
    assert nothing_published(cache)
    assert before == {path for path in cache.root.parent.rglob("*") if path.name == "evil"}


def test_a_link_under_an_expected_name_is_refused(mirror: Mirror, cache: Cache, few: Path) -> None:
    link = special("data/dev.jsonl", tarfile.SYMTYPE, "/etc/hostname")
    mirror.body = official(few, link, leave_out="data/dev.jsonl")
    text = complaint(lambda: fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256))
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
    text = complaint(lambda: fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256))
    assert why in text
    assert nothing_published(cache)


def test_an_archive_without_one_of_the_files_is_refused(
    mirror: Mirror, cache: Cache, few: Path
) -> None:
    mirror.body = official(few, leave_out="data/dev.tables.jsonl")
    text = complaint(lambda: fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256))
    assert "lacks data/dev.tables.jsonl" in text
    assert nothing_published(cache)


def test_a_split_that_is_not_whole_is_told_with_file_and_line(
    mirror: Mirror, cache: Cache, few: Path
) -> None:
    mirror.body = official(few, cut="data/test.jsonl")
    text = complaint(lambda: fetch_wikisql(cache, url=mirror.url, sha256=mirror.sha256))
    assert "holds damaged data:\ndata/test.jsonl:1: not JSON" in text
    assert nothing_published(cache)


def test_two_processes_at_once_download_one_archive(mirror: Mirror, cache: Cache) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.cache import Cache; "
        "from harness.data.archive import fetch_wikisql; "
        "fetch_wikisql(Cache(Path(sys.argv[1])), url=sys.argv[2], sha256=sys.argv[3])"
    )
    command = [sys.executable, "-c", code, str(cache.root), mirror.url, mirror.sha256]
    both = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert mirror.asked == [None]


def test_the_command_makes_the_dataset_that_the_other_commands_read(
    mirror: Mirror,
    tmp_path: Path,
    few: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mirror.body = official(few)
    root = tmp_path / "user"
    monkeypatch.setattr("harness.cache.default_root", lambda: root)
    monkeypatch.setattr("harness.data.sources.default_root", lambda: root)
    monkeypatch.setenv("TUNEBENCH_WIKISQL_URL", mirror.url)
    monkeypatch.setattr(archive, "SHA256", mirror.sha256)
    monkeypatch.setattr(archive, "BYTES", len(mirror.body))
    fetch("wikisql", json=True)
    told = json.loads(capsys.readouterr().out)
    assert told == {"what": "wikisql", "folder": str(prepared_wikisql())}
    describe("wikisql", json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["name"] == "wikisql"
    assert [split["examples"] for split in told["splits"]] == [1, 1, 1]


def test_the_command_fails_without_a_traceback(mirror: Mirror, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "fetch", "wikisql", "--json"]
    settings = {"XDG_CACHE_HOME": str(tmp_path), "TUNEBENCH_WIKISQL_URL": mirror.url}
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "is truncated" in done.stderr
    assert "Traceback" not in done.stderr
