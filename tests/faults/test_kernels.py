"""Code that MLX compiles lies where only its owner can write, and heals when it is damaged."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.backend import backend_name
from harness.disk.cache import Cache
from harness.disk.kernels import FOLDER_VARIABLE, KERNELS, remove_kernels, use_private_kernels
from harness.disk.prune import prune
from harness.distributed.follower import _RankServer
from harness.errors import UserError
from harness.pipeline.stages import VariantStages
from harness.schema.stage_results import (
    ANSWERS,
    DESCRIBE,
    OPEN,
    EvaluateRequest,
    Nothing,
    OpenRequest,
)
from harness.train.variants import load_variants
from harness.worker.client import KernelFault, Worker


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return Cache(tmp_path / "cache")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_its_owner_s_alone_and_what_others_could_plant_goes(cache: Cache) -> None:
    use_private_kernels(cache.root)
    folder = cache.root / KERNELS
    assert (mode(folder), os.environ["TMPDIR"]) == (0o700, str(folder))
    planted = folder / "mlx" / "0.32.4" / "cpu" / "libA.so"
    planted.parent.mkdir(parents=True)
    planted.write_bytes(b"code")
    use_private_kernels(cache.root)
    assert planted.exists()
    folder.chmod(0o777)
    use_private_kernels(cache.root)
    assert (mode(folder), planted.exists()) == (0o700, False)


def test_a_link_and_another_user_s_folder_are_refused(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    cache.root.mkdir()
    (cache.root / KERNELS).symlink_to(tmp_path / "theirs")
    with pytest.raises(UserError, match="is a link or belongs to another user"):
        use_private_kernels(cache.root)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "theirs"))
    monkeypatch.setattr("os.getuid", lambda: 4711)
    with pytest.raises(UserError, match="is a link or belongs to another user"):
        use_private_kernels(cache.root)


def test_pruning_removes_it_while_no_run_is_under_way(cache: Cache) -> None:
    use_private_kernels(cache.root)
    running = Cache(cache.root)
    running.hold()
    assert prune(cache).leftovers == 0
    running.release()
    assert prune(cache).leftovers == 1
    assert not (cache.root / KERNELS).exists()


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept" / "file"
    kept.parent.mkdir()
    kept.write_text("x")
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "mlx").symlink_to(kept.parent)
    assert remove_kernels(folder)
    assert not remove_kernels(folder)
    assert kept.exists()


def stages(cache: Cache, notes: list[str]) -> VariantStages:
    """The base of `tiny`, with a process of its own."""
    (variant,) = load_variants(["base"])
    invocation: Any = SimpleNamespace(
        given={},
        cache=cache,
        notify=notes.append,
        progress=lambda *_: None,
    )
    found = VariantStages(invocation, variant)
    worker = Worker("base", notify=notes.append)
    request = OpenRequest(
        model="tiny",
        variant=variant.config(),
        dataset="mini",
        prompt_style="dialect",
        cache_root=str(cache.root),
    )
    worker.call(OPEN, request)
    found._worker = worker
    return found


@pytest.mark.slow  # g++ compiles twice
@pytest.mark.skipif(backend_name() != "cpu", reason="only the CPU backend compiles with g++")
def test_damaged_code_is_removed_and_the_work_tried_once_more(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    request = EvaluateRequest(ids=[0, 1], adapter=None, work=tmp_path / "work")
    with closing(stages(cache, notes)) as whole:
        expected = whole.call(ANSWERS, request)
    libraries = [*(cache.root / KERNELS).rglob("*.so")]
    assert libraries
    shutil.rmtree(request.work)
    for library in libraries:
        os.truncate(library, library.stat().st_size // 2)
    again = stages(cache, notes)
    monkeypatch.setattr(VariantStages, "worker", property(lambda self: self._worker or renewed()))

    def renewed() -> Worker:
        again._worker = stages(cache, notes)._worker
        assert isinstance(again._worker, Worker)
        return again._worker

    with closing(again):
        assert again.call(ANSWERS, request).rows == expected.rows
    (note,) = notes
    assert "may be damaged: removed, and tried once more" in note


def test_work_is_tried_again_where_another_rank_has_removed_its_code(tmp_path: Path) -> None:
    notes: list[str] = []
    invocation: Any = SimpleNamespace(given={}, cache=Cache(tmp_path), notify=notes.append)
    found = VariantStages(invocation, load_variants(["base"])[0])
    fault = KernelFault("rank 1 (mac2, process 77): base: died during losses, killed by signal 7")
    fault.removed_from = "rank 1 (mac2, process 77)"
    answers: Any = iter([fault, "right"])

    def sent(*_: object) -> object:
        if isinstance(answer := next(answers), KernelFault):
            raise answer
        return answer

    found._sent = sent  # type: ignore[method-assign, assignment]
    assert found.call(DESCRIBE, Nothing()) == "right"
    assert "(killed by signal 7); the code that MLX compiled in rank 1 (mac2" in notes[0]


@pytest.mark.parametrize("compiled", [True, False])
def test_another_rank_removes_its_own_damaged_code_and_says_so(
    cache: Cache, tmp_path: Path, compiled: bool
) -> None:
    def dies(_: object) -> None:
        raise KernelFault("lora: the model process died during losses, killed by signal 7")

    server = _RankServer(tmp_path, cache)
    server._call = dies  # type: ignore[method-assign, assignment]
    library = cache.root / KERNELS / "libA.so"
    library.parent.mkdir(parents=True)
    if compiled:
        library.write_text("")
    answer = server.answer({"do": "call"})
    assert (answer["kind"], library.exists()) == ("kernel_fault" if compiled else "died", False)
    assert "killed by signal 7" in answer["text"]


def test_a_fault_without_compiled_code_is_not_tried_again(cache: Cache) -> None:
    found = VariantStages(
        SimpleNamespace(given={}, cache=cache, notify=print),  # type: ignore[arg-type]
        load_variants(["base"])[0],
    )
    tried = []

    def dies(*_: object) -> None:
        tried.append(1)
        raise KernelFault("base: the model process died during describe, killed by signal 11")

    found._sent = dies  # type: ignore[method-assign]
    with pytest.raises(KernelFault):
        found.call(DESCRIBE, Nothing())
    assert len(tried) == 1
