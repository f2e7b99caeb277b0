"""A full disk, a read-only one, no permission: one message, nothing torn, earlier files intact."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from bench_command import Bench
from disks import fill, read_only

from harness.backend import mx
from harness.data.sources.resolve import resolve_dataset
from harness.disk import files
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.models.resolve import resolve
from harness.runs.store import read_run
from harness.sql.grade.gold import open_gold
from harness.train.trainable import save_arrays
from tests import forks

Mount = Callable[[str], Path]
ROOT = Path(__file__).resolve().parents[2]
OLD = Path(__file__).with_name("results_v0")


def test_a_write_to_a_full_disk_leaves_the_old_file(mount: Mount) -> None:
    disk = mount("64k")
    files.write_json(disk / "a.json", {"old": 1})
    fill(disk)
    with pytest.raises(UserError, match=r"cannot write .*a\.json: No space left on device"):
        files.write_json(disk / "a.json", {"new": "x" * 8192})
    assert (disk / "a.json").read_text() == '{\n "old": 1\n}\n'
    assert sorted(p.name for p in disk.iterdir()) == ["a.json", "filler"]


def test_weights_on_a_full_disk_leave_the_old_file(mount: Mount) -> None:
    disk = mount("1m")
    save_arrays(disk / "a.safetensors", {"a": mx.zeros((1000,))})
    before = (disk / "a.safetensors").read_bytes()
    fill(disk)
    with pytest.raises(UserError, match=r"cannot write .*a\.safetensors"):
        save_arrays(disk / "a.safetensors", {"a": mx.ones((100_000,))})
    assert (disk / "a.safetensors").read_bytes() == before
    assert sorted(p.name for p in disk.iterdir()) == ["a.safetensors", "filler"]


def build_model(cache: Cache) -> None:
    resolve("tiny", cache)


def build_file(cache: Cache) -> None:
    cache.build("k", "key", lambda f: (f / "a").write_bytes(bytes(400_000)) and None)


@pytest.mark.parametrize("build", [build_model, build_file])
def test_a_cache_on_a_full_disk_is_one_message_and_leaves_no_entry(
    build: Callable[[Cache], None], mount: Mount
) -> None:
    cache = Cache(mount("256k") / "cache")
    with pytest.raises(UserError) as caught:
        build(cache)
    message = str(caught.value)
    assert "No space left on device" in message
    assert "cache prune" in message
    assert "XDG_CACHE_HOME" in message
    assert "\n" not in message
    assert cache.entries() == []
    assert not list(cache.root.rglob("*.partial"))


@pytest.mark.parametrize("spoil", [fill, read_only])
def test_answers_are_graded_where_the_cache_cannot_be_written(
    spoil: Callable[[Path], None], mount: Mount, capsys: pytest.CaptureFixture[str]
) -> None:
    split, disk = resolve_dataset("mini").test, mount("256k")
    spoil(disk)
    cache = Cache(disk / "cache")
    with closing(open_gold(split.tables, split.examples, cache)) as gold:
        assert len(gold.golds) == len(split.examples)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tunebench: gold results are not kept: ")
    assert "--no-cache" not in line
    assert cache.entries() == []


def test_a_cache_that_can_only_be_read_serves_what_it_has(mount: Mount) -> None:
    disk = mount("1m")
    made = Cache(disk / "cache").build("k", "key", lambda f: (f / "a").write_text("1") and None)
    read_only(disk)
    cache = Cache(disk / "cache")
    assert cache.build("k", "key", pytest.fail) == made
    with pytest.raises(UserError, match=r"cannot write the cache folder .*: Read-only file system"):
        cache.build("k", "other", pytest.fail)


def test_a_damaged_entry_that_cannot_be_moved_aside_is_refused(mount: Mount) -> None:
    disk = mount("1m")
    cache = Cache(disk / "cache")
    (cache.build("k", "key", lambda f: (f / "a").write_text("1") and None) / "a").write_text("2")
    read_only(disk)
    with pytest.raises(UserError, match=r"k/key is damaged: a has another checksum, and it cannot"):
        cache.build("k", "key", pytest.fail)


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.disk.files import check_writable, write_json
folder = Path(sys.argv[1])
os.setgid(65534)
os.setuid(65534)
for attempt in (
    lambda: write_json(folder / "a.json", {}),
    lambda: Cache(folder / "cache").build("k", "key", lambda f: None),
    lambda: check_writable(folder / "runs", "--results-dir"),
):
    try:
        attempt()
    except UserError as error:
        print(error)
"""


def test_no_permission_is_one_message(tmp_path: Path) -> None:
    if os.name != "posix" or os.getuid() != 0:
        pytest.skip("only root can become somebody without permission")
    private = [p for p in tmp_path.parents if p.name.startswith(("pytest-", "popen-"))]
    for folder in (tmp_path, *private):
        folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first == f"cannot write {tmp_path / 'a.json'}: Permission denied"
    assert second.startswith(
        f"cannot write the cache folder {tmp_path / 'cache' / 'k'}: Permission"
    )
    assert third == f"--results-dir {tmp_path / 'runs'} cannot be written: Permission denied"
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    if os.name != "posix" or os.getuid() != 0:
        pytest.skip("only root can become somebody without permission")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.name.startswith(("pytest-", "popen-")):
            folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, str(private)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    message = f"cannot read the cache folder {private / 'cache' / 'k'}: Permission denied"
    assert any(line.startswith(message) for line in done.stdout.splitlines()), done.stderr


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    return forks.run("-m", "harness", *arguments)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    ids = range(len(resolve_dataset("mini").test.examples))
    file = tmp_path / "predictions.jsonl"
    files.write_jsonl(file, [{"id": i, "text": "nothing"} for i in ids])
    return file


def score(predictions: Path, out: str) -> subprocess.CompletedProcess[str]:
    return harness(
        "score",
        "--dataset=fixtures/mini",
        "--split=test",
        f"--predictions={predictions}",
        "--out",
        out,
    )


@pytest.mark.slow
def test_a_device_is_written_to_not_replaced(predictions: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = score(predictions, "/dev/full")
    assert done.returncode == 2
    assert (
        done.stderr.splitlines()[-1] == "tunebench: cannot write /dev/full: No space left on device"
    )
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
    done = score(predictions, "/dev/stdout")
    assert done.returncode == 0
    assert done.stdout.count('"ex_official"') == len(predictions.read_text().splitlines())
    assert Path("/dev/stdout").is_symlink()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_what_a_killed_write_left_is_removed_by_the_next(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = files.temporary_prefix("a.json").replace(f"-{os.getpid()}.", f"-{gone.pid}.")
    (tmp_path / f"{dead}x").write_text("torn")
    (tmp_path / f"{files.temporary_prefix('a.json')}y").write_text("of this living process")
    files.write_json(tmp_path / "a.json", 1)
    assert not (tmp_path / f"{dead}x").exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_what_another_machine_left_is_removed_once_it_is_a_day_old(tmp_path: Path) -> None:
    """It had another identity or number space, so its process cannot be asked for."""
    old, fresh = (tmp_path / f".a.json.{'0' * 15}{n}-1.abcdefgh" for n in (1, 2))
    mine = tmp_path / ".a.json.my-notes-1.txt"
    for path in (old, fresh, mine):
        path.write_text("torn")
    for path in (old, mine):
        os.utime(path, (0, 0))
    files.write_json(tmp_path / "a.json", 1)
    assert not old.exists()
    assert fresh.exists()
    assert mine.exists()


@pytest.mark.slow
def test_a_run_whose_results_do_not_fit_is_not_lost(mount: Mount, tmp_path: Path) -> None:
    disk = mount("512k")
    bench = Bench(tmp_path / "bench", ("--variant=base", "--limit=8", "-k", "loss or execution"))
    fits = bench.run("first")
    assert fits[0] == 0, fits[1]
    shutil.copytree(bench.runs / "first", disk / "first")
    earlier = {p.name: p.read_bytes() for p in (disk / "first").iterdir()}
    fill(disk)
    status, output = bench.run("second", f"--results-dir={disk}")
    assert status == 1
    assert "tunebench: the run was not written: cannot write" in output
    assert "No space left on device" in output
    assert "Traceback" not in output
    assert {p.name: p.read_bytes() for p in (disk / "first").iterdir()} == earlier
    assert sorted(p.name for p in disk.iterdir()) == ["filler", "first"]
    (disk / "filler").unlink()
    status, output = bench.run("second", f"--results-dir={disk}")
    assert status == 0, output
    assert read_run(disk / "second").variants == ["base"]
    read_only(disk)
    status, output = bench.run("third", f"--results-dir={disk}")
    assert status == 4
    assert f"ERROR: --results-dir {disk} cannot be written: Read-only file system" in output


@pytest.mark.slow
@pytest.mark.parametrize("size", ["1m", "2500k", "4m"])
def test_a_cache_disk_that_fills_up_is_one_message_at_any_stage(
    size: str, mount: Mount, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, ("--variant=lora", "--limit=8", "--set", "iters=4"))
    options = ("--set", "save_every=1", "-k", "finetune or loss", "-x")
    status, output = bench.run("full", *options, XDG_CACHE_HOME=str(mount(size)))
    assert status in (1, 4)
    assert "Traceback" not in output
    # Seen before it is filled where the size is known, else when a write fails.
    seen_before = "MB of disk at" in output
    assert seen_before or "No space left" in output or "Unable to write" in output
    assert seen_before or "XDG_CACHE_HOME" in output or "cannot write" in output
