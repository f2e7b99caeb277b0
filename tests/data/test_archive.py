"""Claims on `fetch wikisql`: what it leaves and when, against a local HTTP server."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from archive_mirror import Mirror, complaint, fetched, nothing_published, official, plain

from harness.cli.data import describe, fetch
from harness.data.sources import archive
from harness.data.sources.resolve import prepared_wikisql, resolve_dataset
from harness.disk.cache import Cache

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "wikisql" / "small"


def test_the_archive_becomes_the_dataset_called_wikisql(mirror: Mirror, cache: Cache) -> None:
    folder = fetched(cache, mirror.url, mirror.body)
    assert folder == prepared_wikisql(cache.root)
    dataset, mini = resolve_dataset("wikisql", cache.root), resolve_dataset("mini")
    assert (dataset.name, dataset.valid.name) == ("wikisql", "dev")
    assert (dataset.train, dataset.test) == (mini.train, mini.test)
    assert dataset.valid.examples == mini.valid.examples
    kept = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert kept == {f"{Path(name).name}.gz" for name in archive.MEMBERS} | {"origin.json"}


def test_a_second_fetch_asks_the_server_nothing(mirror: Mirror, cache: Cache) -> None:
    first = fetched(cache, mirror.url, mirror.body)
    assert fetched(cache, mirror.url, mirror.body) == first
    assert mirror.asked == [None]


def test_another_pinned_archive_replaces_the_prepared_one(
    mirror: Mirror, cache: Cache, few: Path
) -> None:
    fetched(cache, mirror.url, mirror.body)
    mirror.body = official(few, plain("data/README"))
    folder = fetched(cache, mirror.url, mirror.body)
    origin = json.loads((folder / "origin.json").read_text())
    assert origin == {"archive_sha256": mirror.sha256, "url": mirror.url}


def test_progress_counts_the_archive_s_bytes_to_the_last(mirror: Mirror, cache: Cache) -> None:
    steps: list[tuple[str, float, float]] = []
    fetched(cache, mirror.url, mirror.body, lambda *step: steps.append(step))
    bytes_done = [(done, total) for label, done, total in steps if label.startswith("download")]
    assert bytes_done[-1] == (len(mirror.body), len(mirror.body))
    assert [done for done, _ in bytes_done] == sorted(done for done, _ in bytes_done)
    for label in {label for label, _, _ in steps}:
        *before, (done, total) = [step[1:] for step in steps if step[0] == label]
        assert done == total
        assert all(done < total for done, total in before), label


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/wikisql/small")
def test_real_questions_survive_the_archive(mirror: Mirror, cache: Cache) -> None:
    mirror.body = official(SHARED)
    folder = fetched(cache, mirror.url, mirror.body)
    for name in (Path(member).name for member in archive.MEMBERS):
        packed = (folder / f"{name}.gz").read_bytes()
        assert gzip.decompress(packed) == (SHARED / name).read_bytes()
        assert len(packed) < 0.5 * (SHARED / name).stat().st_size
    dataset = resolve_dataset("wikisql", cache.root)
    # The same files from disk are the same dataset, so runs on either can be compared.
    assert dataset.sha256 == resolve_dataset(str(SHARED)).sha256
    sizes = [len(s.examples) for s in dataset.splits]
    assert sizes == [1000, 100, 300]


def test_ctrl_c_while_unpacking_publishes_nothing_and_downloads_nothing_again(
    mirror: Mirror, cache: Cache
) -> None:
    def stop(label: str, done: float, total: float) -> None:
        if label.startswith("check"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetched(cache, mirror.url, mirror.body, stop)
    assert nothing_published(cache)
    fetched(cache, mirror.url, mirror.body)
    assert mirror.asked == [None]


def test_a_flipped_byte_in_the_prepared_folder_is_noticed_and_mended_without_the_network(
    mirror: Mirror, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fetched(cache, mirror.url, mirror.body)
    path = folder / "test.jsonl.gz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    text = complaint(lambda: resolve_dataset("wikisql", cache.root))
    assert "python -m harness fetch wikisql" in text
    assert "test.jsonl.gz has another checksum; moved to" in capsys.readouterr().err
    fetched(cache, mirror.url, mirror.body)
    assert resolve_dataset("wikisql", cache.root).test == resolve_dataset("mini").test
    assert mirror.asked == [None]


def test_a_local_copy_serves_as_mirror(mirror: Mirror, cache: Cache, tmp_path: Path) -> None:
    copy = tmp_path / "data.tar.bz2"
    copy.write_bytes(mirror.body)
    assert fetched(cache, copy.as_uri(), mirror.body).is_dir()


@pytest.mark.slow
def test_two_processes_at_once_download_one_archive(mirror: Mirror, cache: Cache) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.disk.cache import Cache; "
        "from harness.data.sources import archive; "
        "archive.SHA256, archive.BYTES = sys.argv[2], int(sys.argv[3]); "
        "archive.fetch_wikisql(Cache(Path(sys.argv[1])))"
    )
    size = str(len(mirror.body))
    command = [sys.executable, "-c", code, str(cache.root), mirror.sha256, size]
    settings = os.environ | {archive.URL_VARIABLE: mirror.url}
    both = [subprocess.Popen(command, cwd=ROOT, env=settings) for _ in range(2)]
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
    monkeypatch.setattr("harness.disk.cache.default_root", lambda: root)
    monkeypatch.setenv("TUNEBENCH_WIKISQL_URL", mirror.url)
    monkeypatch.setattr(archive, "SHA256", mirror.sha256)
    monkeypatch.setattr(archive, "BYTES", len(mirror.body))
    fetch("wikisql", json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"what": "wikisql", "folder": str(prepared_wikisql())}
    describe("wikisql", json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["name"] == "wikisql"
    assert [split["examples"] for split in printed["splits"]] == [1, 1, 1]


def test_the_command_fails_without_a_traceback(mirror: Mirror, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "fetch", "wikisql", "--json"]
    settings = {"XDG_CACHE_HOME": str(tmp_path), "TUNEBENCH_WIKISQL_URL": mirror.url}
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "is truncated" in done.stderr
    assert "Traceback" not in done.stderr
