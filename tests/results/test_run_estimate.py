"""How long a run will take: what its steps took on this machine before, scaled by their size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.markdown import duration
from harness.runs.run_estimate import TITLES, RunEstimate, Step
from harness.train.estimate import training_rows
from harness.train.variants import load_variants
from tests import forks


def step(kind: str, units: float, model: str = "m", setting: str = "lora") -> Step:
    return Step(kind=kind, model=model, setting=setting, units=units)


def estimate(folder: Path) -> tuple[RunEstimate, list[str]]:
    notes: list[str] = []
    return RunEstimate(folder, notes.append), notes


def test_a_step_takes_its_share_of_what_the_nearest_in_size_took(tmp_path: Path) -> None:
    found, _ = estimate(tmp_path)
    found.finished(step("losses", 10), 20.0)
    expected = found.expected(step("losses", 30))
    assert expected is not None
    assert (expected.seconds, expected.basis) == (60.0, 1)
    for seconds in (90.0, 30.0, 60.0, 60.0, 60.0):  # nearer than the first: 1, 1/3, 2/3, ... a row
        found.finished(step("losses", 90), seconds)
    expected = found.expected(step("losses", 45))
    assert expected is not None
    assert expected.seconds == pytest.approx(45 * 60 / 90)
    assert expected.basis == 5


def test_the_same_method_decides_and_else_any_of_the_same_model(tmp_path: Path) -> None:
    found, _ = estimate(tmp_path)
    found.finished(step("answers", 1, setting="base"), 3.0)
    lora = found.expected(step("answers", 1))
    assert lora is not None
    assert lora.seconds == 3.0
    found.finished(step("answers", 1), 7.0)
    lora = found.expected(step("answers", 1))
    assert lora is not None
    assert (lora.seconds, lora.basis) == (7.0, 1)
    assert found.expected(step("answers", 1, model="other")) is None
    assert found.expected(step("fuse", 1)) is None


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that nothing else uses."""
    monkeypatch.setattr("os.getloadavg", lambda: (0.1, 0.1, 0.1))
    monkeypatch.setattr("os.cpu_count", lambda: 2)


def test_a_busy_machine_is_named_beside_the_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (6.9, 3.0, 1.0))
    found, notes = estimate(tmp_path)
    found.begin([step("finetune", 8)])
    assert notes[1] == (
        "this machine was busy in the last minute (load 6.9 on 2 processors): "
        "beside other programs it takes longer, and what is timed is marked contended"
    )


def test_what_never_ran_here_is_named_and_not_guessed(tmp_path: Path) -> None:
    first, notes = estimate(tmp_path)
    first.begin([step("finetune", 8), step("losses", 4), step("fuse", 0)])
    assert notes == [
        "time of this run: not known, nothing like it ran on this machine yet (training, loss)"
    ]
    first.finished(step("finetune", 8), 75.0)
    assert len(notes) == 1, "of the loss nothing is known still"
    first.finished(step("losses", 4), 2.0)
    # Another process reads what was kept.
    second, notes = estimate(tmp_path)
    second.begin([step("finetune", 16), step("losses", 4), step("speed", 1), step("losses", 8)])
    assert notes == [
        "time of this run: about 2 min 36 s: training 2 min 30 s, loss 6 s (from 1 past run on "
        "this machine); not known, nothing like it ran here yet: speed"
    ]
    second.finished(step("finetune", 16), 61.0)
    assert notes[1:] == [
        "time of what is left: about 6 s: loss 6 s (from 1 past run on this machine); not known, "
        "nothing like it ran here yet: speed"
    ]


def test_a_part_of_a_step_says_nothing_of_the_whole(tmp_path: Path) -> None:
    found, _ = estimate(tmp_path)
    found.finished(step("finetune", 8), 1.0, whole=False)
    assert found.expected(step("finetune", 8)) is None
    assert not (tmp_path / "estimates").exists()
    found.finished(step("finetune", 8), 1.0)
    (file,) = (tmp_path / "estimates").iterdir()
    file.write_text("{")
    assert estimate(tmp_path)[0].expected(step("finetune", 8)) is None


def test_trainings_are_sized_in_rows_forward_and_backward() -> None:
    changes = {"iters": "4", "batch_size": "2", "steps_per_eval": "2", "val_batches": "5"}
    lora, base = load_variants(["lora", "base"], {**changes, "validate_at": "[]"})
    # Four batches of two rows at 3 each; validated at 0, 2 and 4, five batches each time.
    assert training_rows(lora, 60) == 2 * (3 * 4 + 3 * 5)
    assert training_rows(base, 60) == 2 * 5
    (every,) = load_variants(["lora"], {**changes, "validate_at": "[]", "val_batches": "-1"})
    assert training_rows(every, 7) == 2 * (3 * 4 + 3 * 4)


@pytest.mark.slow
def test_a_second_run_is_told_what_the_first_one_took(tmp_path: Path, two_layers: Path) -> None:
    """Of the same size, so the factor is 1, and what is in the cache by then takes nothing."""
    said = []
    for seed in (0, 1):
        done = forks.run(
            *("-m", "pytest", "suites/test_execution.py", f"--model={two_layers}"),
            *("--variant=lora", "--set", "iters=2", "--set", "num_layers=2", "--limit=4"),
            *("--max-new-tokens=8", f"--seed={seed}", f"--results-dir={tmp_path / 'runs'}"),
            f"--run-name=seed{seed}",
            environment={"XDG_CACHE_HOME": str(tmp_path / "cache")},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(next(x for x in done.stderr.splitlines() if x.startswith("time of this run")))
        if seed == 0:
            (file,) = (tmp_path / "cache" / "tunebench" / "estimates").glob("steps-*.json")
            steps = json.loads(file.read_text("utf-8"))["steps"]
    kinds = ["start", "describe", "finetune", "answers", "grading", "report"]
    assert [one["kind"] for one in steps] == kinds
    assert said[0].endswith("(starting processes, loading, training, answers, grading, report)")
    again = [one for one in steps if one["kind"] != "describe"]  # the same base: cached
    total = duration(sum(one["seconds"] for one in again))
    assert said[1].startswith(f"time of this run: about {total}")
    assert said[1].endswith(" (from 1 past run on this machine)")
    for one in again:
        shown = f"{TITLES[one['kind']]} {duration(one['seconds'])}"
        assert (shown in said[1]) == (round(one["seconds"]) > 0)
