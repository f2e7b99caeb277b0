"""A training that is cut off goes on to the same bytes; damaged states are not used."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from training_rows import make_variant

import harness.train.loop as training_loop
from harness.backend import mx
from harness.data.tokens import TokenizedExample
from harness.errors import UserError
from harness.models.load import LoadedModel
from harness.train.finetune import FinetuneResult, finetune
from harness.train.trainable import save_arrays
from harness.train.variant import Variant

Loader = Callable[[Variant], LoadedModel]
Rows = list[TokenizedExample]


class CutOffError(Exception):
    """Stands for a crash."""


def stop_at(iteration: int) -> Callable[[str, float, float], None]:
    def progress(label: str, done: float, total: float) -> None:
        if label.startswith("fine-tune") and done == iteration:
            raise CutOffError

    return progress


def without_times(result: FinetuneResult) -> FinetuneResult:
    untimed = {"tokens_per_s": None, "supervised_tokens_per_s": None}
    measured = {"wall_s": 0, "overhead_s": 0, "step_s": 0, "train": None, "validation": None}
    return result.model_copy(
        update=measured
        | {"curve": [point.model_copy(update=untimed) for point in result.curve]}
        | {"adapter": None, "resumed_from": None, "notes": []}
    )


@pytest.fixture(autouse=True)
def save_at_every_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_loop, "STATE_EVERY_S", 0.0)
    monkeypatch.setattr(training_loop, "_STATE_SHARE", 0.0)


def adapter(out: Path) -> bytes:
    return (out / "adapters.safetensors").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"grad_accumulation_steps": 2},
        {
            "lora_parameters.dropout": 0.2,
            "optimizer": "adamw",
            "lr_schedule": "{name: cosine_decay, arguments: [1e-3, 6]}",
            "mask_prompt": "true",
        },
    ],
    ids=["accumulated", "dropout and schedule"],
)
def test_a_cut_off_run_ends_in_the_same_bytes(
    changes: dict[str, object], loader: Loader, rows: Rows, valid: Rows, tmp_path: Path
) -> None:
    variant = make_variant("article/lora", iters=6, save_every=4, batch_size=4, **changes)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = finetune(loader(variant), variant, rows, valid, whole)
    for iteration in (2, 5):
        with pytest.raises(CutOffError):
            finetune(loader(variant), variant, rows, valid, cut, stop_at(iteration))
    result = finetune(loader(variant), variant, rows, valid, cut)
    assert result.resumed_from == 4
    assert adapter(cut) == adapter(whole)
    assert without_times(result) == without_times(expected)
    assert not (cut / "state").exists()


@pytest.mark.slow
def test_a_cut_off_full_and_quantized_run_ends_in_the_same_bytes(
    loader: Loader, rows: Rows, valid: Rows, tmp_path: Path
) -> None:
    for name in ("full", "article/qlora"):
        variant = make_variant(name, iters=3)
        whole, cut = tmp_path / f"{variant.file_name}-whole", tmp_path / variant.file_name
        finetune(loader(variant), variant, rows, valid, whole)
        with pytest.raises(CutOffError):
            finetune(loader(variant), variant, rows, valid, cut, stop_at(2))
        result = finetune(loader(variant), variant, rows, valid, cut)
        assert result.resumed_from == 1
        assert adapter(cut) == adapter(whole)


def cut_after_two(loader: Loader, rows: Rows, valid: Rows, out: Path) -> Variant:
    variant = make_variant("article/lora", iters=4)
    with pytest.raises(CutOffError):
        finetune(loader(variant), variant, rows, valid, out, stop_at(3))
    assert [f.name for f in sorted((out / "state").glob("*.safetensors"))] == [
        "state-0000001.safetensors",
        "state-0000002.safetensors",
    ]
    return variant


@pytest.mark.parametrize(
    "damage",
    [
        "flipped",
        "gone",
        pytest.param("cut", marks=pytest.mark.slow),
        pytest.param("zeroed", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_state_is_named_moved_aside_and_the_older_one_used(
    damage: str, loader: Loader, rows: Rows, valid: Rows, tmp_path: Path
) -> None:
    variant = cut_after_two(loader, rows, valid, tmp_path / "cut")
    state = tmp_path / "cut" / "state" / "state-0000002.safetensors"
    content = bytearray(state.read_bytes())
    if damage == "flipped":
        content[-5] ^= 1
    elif damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "zeroed":
        content[:] = bytes(len(content))
    state.write_bytes(content)
    if damage == "gone":
        state.unlink()
    result = finetune(loader(variant), variant, rows, valid, tmp_path / "cut")
    assert result.resumed_from == 1
    assert "state-0000002.safetensors is damaged" in result.notes[0]
    finetune(loader(variant), variant, rows, valid, tmp_path / "whole")
    assert adapter(tmp_path / "cut") == adapter(tmp_path / "whole")


def test_a_state_of_other_settings_is_not_used(
    loader: Loader, rows: Rows, valid: Rows, tmp_path: Path
) -> None:
    variant = cut_after_two(loader, rows, valid, tmp_path / "cut")
    other = variant.model_copy(update={"learning_rate": 2e-3})
    result = finetune(loader(other), other, rows, valid, tmp_path / "cut")
    assert result.resumed_from is None
    assert "other settings" in result.notes[0]
    shorter = finetune(loader(variant), variant, rows[:-1], valid, tmp_path / "cut")
    assert shorter.resumed_from is None


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import harness.train.loop as session
session.STATE_EVERY_S = 0.0
session._STATE_SHARE = 0.0
from training_rows import make_rows, make_variant
from harness.disk.cache import Cache
from harness.models.load import load
from harness.models.resolve import resolve
from harness.train.trainable import save_arrays
from harness.train.finetune import finetune
variant = make_variant("article/lora", iters=60, steps_per_eval=20, save_every=5)
loaded = load(resolve("tiny", Cache(Path(sys.argv[2]))))
rows, valid = make_rows(21, 0), make_rows(9, 1)
result = finetune(loaded, variant, rows, valid, Path(sys.argv[3]))
print("resumed from", result.resumed_from)
"""


@pytest.mark.slow
def test_kill_minus_9_at_random_moments_ends_in_the_same_bytes(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)

    def start(out: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", KILLED, here, str(tmp_path / "cache"), str(out)]
        environment = os.environ | {"PYTHONPATH": str(Path(here).parents[1])}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def newest() -> int:
        files = (tmp_path / "cut" / "state").glob("state-*.json")
        return max((int(file.stem.removeprefix("state-")) for file in files), default=0)

    assert start(tmp_path / "whole").wait() == 0
    generator = random.Random(0)
    for _ in range(6):
        wanted = newest() + generator.randint(1, 4)
        process = start(tmp_path / "cut")
        while process.poll() is None and newest() < wanted:
            time.sleep(0.005)
        time.sleep(generator.uniform(0.0, 0.3))
        assert process.poll() is None, "the run ended before it was killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = start(tmp_path / "cut")
    output, _ = last.communicate()
    assert last.returncode == 0
    assert output.strip() != "resumed from None"
    assert adapter(tmp_path / "cut") == adapter(tmp_path / "whole")


def test_a_folder_that_cannot_be_written_is_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        save_arrays(blocker / "state.safetensors", {"a": mx.zeros((2,))})


def test_a_full_disk_is_noticed_and_the_older_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"a": mx.zeros((1000,))})
    before = path.read_bytes()

    def full(file: str, arrays: object, metadata: object) -> None:
        Path(file).write_bytes(b"the part that fitted")
        raise RuntimeError("[write] Unable to write 3000 bytes to file.")  # MLX 0.32.4, tmpfs

    monkeypatch.setattr(mx, "save_safetensors", full)
    with pytest.raises(UserError, match="Unable to write"):
        save_arrays(path, {"a": mx.ones((1000,))})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
