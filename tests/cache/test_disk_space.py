"""A disk is not filled: what is needed is counted before, and linked files stay one file."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.disk import files
from harness.disk.cache import Cache
from harness.disk.files import link_or_copy, require_space
from harness.errors import UserError
from harness.models.quantize import QuantizeSpec, quantized
from harness.models.resolve import resolve
from harness.models.weights import weight_bytes
from harness.train.resume_state import disk_bytes
from harness.train.variants import load_variants


def nearly_full(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_what_does_not_fit_is_refused_with_both_numbers_and_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearly_full(monkeypatch, 2 * 10**9)
    require_space(tmp_path / "not" / "there", 2 * 10**9, "a model", "Use less")
    with pytest.raises(UserError) as caught:
        require_space(tmp_path, 3 * 10**9, "a model", "Use less")
    assert str(caught.value) == (
        f"a model takes 3.0 GB of disk at {tmp_path}, and 2.0 GB are free. Use less, or free "
        "space (python -m harness cache prune)."
    )


def test_a_base_is_not_quantized_onto_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    base = resolve("tiny", cache)
    nearly_full(monkeypatch, 1000)
    with pytest.raises(UserError, match=r"model .tiny. in 4 bits takes .* quantize\.bits=N"):
        quantized(base, QuantizeSpec(), cache)


def test_a_training_counts_its_checkpoints_its_adapter_and_three_states() -> None:
    """40 iterations saved every 15: at 15, 30 and 40; a state is the numbers and two moments."""
    variant = load_variants(["lora"], {"iters": "40", "save_every": "15"})[0]
    assert disk_bytes(variant, 100) == 100 * (3 + 1 + 3 * 3)


def test_a_copied_training_keeps_its_links_and_is_counted_once(tmp_path: Path) -> None:
    trained, entry = tmp_path / "work", tmp_path / "cache" / "finetune" / "key"
    trained.mkdir()
    (trained / "adapter").write_bytes(b"x" * 1000)
    link_or_copy(trained / "adapter", trained / "alias")
    shutil.copytree(trained, entry, copy_function=link_or_copy)
    (entry / ".manifest.json").write_text("{}")
    assert (entry / "alias").stat().st_ino == (trained / "adapter").stat().st_ino
    (found,) = Cache(tmp_path / "cache").entries()
    assert found.bytes == 1002


def test_where_no_link_can_be_the_file_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(files.os, "link", refused)
    (tmp_path / "a").write_text("text")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "text"


def test_weights_that_a_snapshot_holds_twice_count_once(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    (tmp_path / "consolidated.safetensors").write_bytes(b"x" * 100)
    assert weight_bytes(tmp_path) == 100
    (tmp_path / "model.safetensors").rename(tmp_path / "adapters.safetensors")
    assert weight_bytes(tmp_path) == 200
