"""Claims on `fetch wikisql` when the download is interrupted, wrong or refused."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from archive_mirror import Mirror, complaint, fetched, nothing_published

from harness.data.sources import archive, download
from harness.data.sources.archive import fetch_wikisql
from harness.disk.cache import Cache


def test_a_connection_dropped_half_way_is_taken_up_in_the_same_call(
    mirror: Mirror, cache: Cache
) -> None:
    half, whole = len(mirror.body) // 2, len(mirror.body)
    mirror.breaks = [half, 1000]
    fetched(cache, mirror.url, mirror.body)
    assert mirror.asked == [None, f"bytes={half}-", f"bytes={half + 1000}-"]
    assert mirror.sent == whole


def test_a_later_call_goes_on_where_the_first_was_cut(mirror: Mirror, cache: Cache) -> None:
    half = len(mirror.body) // 2
    mirror.breaks = [half, 0]
    text = complaint(lambda: fetched(cache, mirror.url, mirror.body))
    assert (
        f"The {half:,} of {len(mirror.body):,} bytes so far are kept; run the command again" in text
    )
    assert nothing_published(cache)
    fetched(cache, mirror.url, mirror.body)
    assert mirror.asked[-1] == f"bytes={half}-"
    assert mirror.sent == len(mirror.body)
    assert [path.suffix for path in (cache.root / "downloads").iterdir()] == [".bz2"]


def test_ctrl_c_while_downloading_keeps_what_came(mirror: Mirror, cache: Cache) -> None:
    def stop(label: str, done: float, total: float) -> None:
        if label.startswith("download"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetched(cache, mirror.url, mirror.body, stop)
    assert nothing_published(cache)
    fetched(cache, mirror.url, mirror.body)
    assert mirror.asked[0] is None
    assert re.fullmatch(r"bytes=[1-9]\d*-", str(mirror.asked[1]))


def test_a_server_without_ranges_starts_over(mirror: Mirror, cache: Cache) -> None:
    mirror.breaks = [len(mirror.body) // 2]
    mirror.ranges = False
    fetched(cache, mirror.url, mirror.body)
    assert mirror.sent == len(mirror.body) + len(mirror.body) // 2


@pytest.mark.parametrize("kept", [b"older bytes", b"o" * 10_000_000])
def test_kept_bytes_of_another_file_cost_one_fresh_download(
    mirror: Mirror, cache: Cache, kept: bytes
) -> None:
    part = cache.root / "downloads" / f"wikisql-{mirror.sha256[:12]}.tar.bz2.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(kept)
    fetched(cache, mirror.url, mirror.body)
    assert mirror.asked == [f"bytes={len(kept)}-", None]


def test_a_part_that_was_already_whole_is_used(mirror: Mirror, cache: Cache) -> None:
    part = cache.root / "downloads" / f"wikisql-{mirror.sha256[:12]}.tar.bz2.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(mirror.body)
    fetched(cache, mirror.url, mirror.body)
    assert mirror.sent == 0


def test_a_wrong_checksum_is_named_and_the_file_moved_aside(mirror: Mirror, cache: Cache) -> None:
    wanted = "0" * 64
    text = complaint(lambda: fetched(cache, mirror.url, mirror.body, sha256=wanted))
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
    text = complaint(lambda: fetched(cache, mirror.url))
    assert "is larger than the 100,000 bytes expected" in text
    [aside] = (cache.root / "downloads").iterdir()
    assert aside.stat().st_size <= 100_000 + 65536


def test_a_damaged_download_in_the_cache_is_moved_aside_and_fetched_again(
    mirror: Mirror, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    target = cache.root / "downloads" / f"wikisql-{mirror.sha256[:12]}.tar.bz2"
    target.parent.mkdir(parents=True)
    target.write_bytes(mirror.body[:-1])
    fetched(cache, mirror.url, mirror.body)
    assert f"{target} is damaged; moved to" in capsys.readouterr().err


def test_no_network_ends_in_one_message_with_the_remedy(cache: Cache) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/data.tar.bz2"
    text = complaint(lambda: fetched(cache, url))
    assert text.startswith(f"cannot download {url}: Connection refused. Check the address")
    assert "unpack it and give its folder: --dataset DIR" in text
    assert "TUNEBENCH_WIKISQL_URL" in text


def test_a_refusal_by_the_server_is_reported_with_its_status(mirror: Mirror, cache: Cache) -> None:
    mirror.status = [503]
    text = complaint(lambda: fetched(cache, mirror.url))
    assert "HTTP 503 Service Unavailable. Check the address and the network" in text


@pytest.mark.parametrize("url", ["ftp://example.org/data.tar.bz2", "data.tar.bz2"])
def test_only_https_http_and_file_are_read(cache: Cache, url: str) -> None:
    text = complaint(lambda: fetched(cache, url))
    assert f"cannot download from {url!r}. Allowed: https://, http://, file://." in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
def test_a_full_disk_is_not_mistaken_for_the_network(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "a.part").symlink_to("/dev/full")
    source = download.Source(mirror.url, "a", mirror.sha256, len(mirror.body), "")
    text = complaint(lambda: download.download(source, tmp_path))
    assert text == f"cannot write {tmp_path / 'a.part'}: No space left on device"
