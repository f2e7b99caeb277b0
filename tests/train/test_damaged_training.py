"""Checkpoints and results of a training that was cut off are checked before they are used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from training_rows import make_variant

import harness.train.loop as training_loop
from harness.data.tokens import TokenizedExample
from harness.models.load import LoadedModel
from harness.train.finetune import FinetuneResult, finetune
from harness.train.variant import Variant

Loader = Callable[[Variant], LoadedModel]
Rows = list[TokenizedExample]
CHECKPOINT = "checkpoints/0000002/adapters.safetensors"


class CutOffError(Exception):
    """Stands for a crash."""


@pytest.fixture(autouse=True)
def save_at_every_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_loop, "STATE_EVERY_S", 0.0)
    monkeypatch.setattr(training_loop, "_STATE_SHARE", 0.0)


@pytest.fixture
def short() -> Variant:
    return make_variant("article/lora", iters=5, save_every=2, steps_per_eval=5)


@pytest.fixture
def train(loader: Loader, short: Variant, rows: Rows, valid: Rows) -> Callable[..., FinetuneResult]:
    """Trains in a folder; ``stop`` cuts it off after that iteration's loss is known."""

    def run(out: Path, stop: int | None = None) -> FinetuneResult:
        def progress(label: str, done: float, total: float) -> None:
            if label.startswith("fine-tune") and done == stop:
                raise CutOffError

        return finetune(loader(short), short, rows, valid, out, progress)

    return run


def weights(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.safetensors"))}


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)


def test_a_damaged_checkpoint_is_named_and_an_earlier_state_used(
    train: Callable[..., FinetuneResult], tmp_path: Path
) -> None:
    train(tmp_path / "whole")
    with pytest.raises(CutOffError):
        train(tmp_path / "cut", 3)
    flip(tmp_path / "cut" / CHECKPOINT)
    result = train(tmp_path / "cut")
    assert result.resumed_from == 1  # the state at 2 follows the checkpoint at 2
    assert result.notes == [
        f"{CHECKPOINT} is damaged (checksum): moved aside, and state-0000002.safetensors, which "
        "follows it, is not used"
    ]
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


@pytest.mark.slow
def test_a_lost_checkpoint_before_every_state_means_training_again(
    train: Callable[..., FinetuneResult], tmp_path: Path
) -> None:
    train(tmp_path / "whole")
    with pytest.raises(CutOffError):
        train(tmp_path / "cut", 5)
    (tmp_path / "cut" / CHECKPOINT).unlink()
    result = train(tmp_path / "cut")
    assert result.resumed_from is None
    assert len(result.notes) == 2
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    "name",
    [
        "adapters.safetensors",
        pytest.param(CHECKPOINT, marks=pytest.mark.slow),
        pytest.param("finetune.json", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_result_is_named_and_trained_again(
    name: str, train: Callable[..., FinetuneResult], tmp_path: Path
) -> None:
    train(tmp_path)
    before = weights(tmp_path)
    assert train(tmp_path).notes == []  # found finished, and whole
    flip(tmp_path / name) if name != "finetune.json" else (tmp_path / name).write_text("{")
    result = train(tmp_path)
    assert f"{tmp_path / name} is damaged" in result.notes[0]
    assert weights(tmp_path) == before


def test_what_a_killed_write_left_is_not_part_of_the_adapter(
    train: Callable[..., FinetuneResult], tmp_path: Path
) -> None:
    left = [tmp_path / ".trainer.safetensors", tmp_path / "checkpoints" / "0000002" / ".a.x"]
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"torn")
    train(tmp_path)
    assert not any(file.exists() for file in left)
