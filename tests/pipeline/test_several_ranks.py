"""`mlx.launch -n 2 -- python -m pytest suites/`, for real: two ranks on loopback, model tiny."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ports import free_ports
from tests.rounding import ADAM, SAME_LOSS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = Path(sys.executable).parent / "mlx.launch"
BOUND_S = 120.0
"""Within this time a launch has ended whose rank was killed (measured: 4 to 11 s)."""


@dataclass(frozen=True)
class Bench:
    """A cache and a results folder, and launches that use them."""

    folder: Path

    def start(self, name: str, *arguments: str, ranks: int = 2) -> subprocess.Popen[str]:
        """`pytest suites/...` of the tiny model on ``ranks`` ranks; both outputs together."""
        command = [sys.executable, "-m", "pytest", "--model=tiny", "--limit=40"]
        command += ["--set", "iters=12", "--set", "save_every=3", "--set", "steps_per_eval=4"]
        command += [f"--results-dir={self.folder / 'runs'}", f"--run-name={name}", *arguments]
        if ranks > 1:
            ports = ["--starting-port", str(free_ports(21_000))]
            launch = [str(LAUNCH), "-n", str(ranks), "--backend", "ring", *ports]
            command = [*launch, "--", *command]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment(), stdin=open_input(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, name: str, *arguments: str, ranks: int = 2) -> str:
        """What a launch prints; it must have written its run."""
        output = self.start(name, *arguments, ranks=ranks).communicate(timeout=600)[0]
        assert (self.folder / "runs" / name / "results.json").is_file(), output
        return output

    def environment(self) -> dict[str, str]:
        # Two ranks share this machine's cores: one thread each.
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        return {**os.environ, **threads, "XDG_CACHE_HOME": str(self.folder / "cache")}

    def results(self, name: str) -> dict[str, Any]:
        """A run's results.json."""
        text = (self.folder / "runs" / name / "results.json").read_text("utf-8")
        value: dict[str, Any] = json.loads(text)
        return value

    def rows(self, name: str, kind: str = "predictions") -> list[dict[str, Any]]:
        """The rows of the variant lora."""
        text = (self.folder / "runs" / name / f"{kind}.lora.jsonl").read_text("utf-8")
        return [json.loads(line) for line in text.splitlines()]


def open_input() -> int:
    """A standard input that stays open: mlx.launch takes a core for itself where it is closed."""
    reader, _ = os.pipe()
    return reader


MEASURED = ("suites/test_finetune.py", "suites/test_loss.py", "suites/test_execution.py")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def one(bench: Bench) -> dict[str, Any]:
    bench.run("one", "--variant=lora", *MEASURED, ranks=1)
    return bench.results("one")


@pytest.fixture(scope="module")
def stdout(bench: Bench) -> str:
    """What the launch of two ranks printed."""
    return bench.run("two", "--variant=lora", *MEASURED)


def test_two_ranks_give_the_numbers_and_the_text_of_one(
    bench: Bench, one: dict[str, Any], stdout: str
) -> None:
    alone, shared = one["variants"]["lora"], bench.results("two")["variants"]["lora"]
    curves = zip(alone["finetune"]["curve"], shared["finetune"]["curve"], strict=True)
    start = alone["finetune"]["curve"][0]["val_loss"]
    end = alone["finetune"]["curve"][-1]["val_loss"]
    # Rounding of a loss, and of the steps that made it fall so far.
    tolerance = SAME_LOSS * start + ADAM * abs(start - end)
    for mine, theirs in curves:
        for loss in ("train_loss", "val_loss"):
            if mine[loss] is not None or theirs[loss] is not None:
                assert theirs[loss] == pytest.approx(mine[loss], abs=tolerance), mine["iteration"]
    for loss in ("full_text", "completion"):
        expected = alone["loss"][loss]["loss"]
        assert shared["loss"][loss]["loss"] == pytest.approx(expected, abs=tolerance)
        assert shared["loss"][loss]["tokens"] == alone["loss"][loss]["tokens"]
    same = ("id", "text", "ex", "ex_official", "ex_hardened", "lf", "valid", "failure")
    for mine, theirs in zip(bench.rows("one"), bench.rows("two"), strict=True):
        assert [theirs[key] for key in same] == [mine[key] for key in same]
    for metric in ("ex", "ex_official", "ex_strict", "ex_hardened", "lf", "valid"):
        assert shared["execution"][metric] == alone["execution"][metric]


def test_the_run_says_how_many_ranks_there_were(
    bench: Bench, one: dict[str, Any], stdout: str
) -> None:
    two = bench.results("two")
    assert (one["run"]["distributed"]["size"], two["run"]["distributed"]["size"]) == (1, 2)
    ranks = [run["variants"]["lora"]["finetune"]["ranks"] for run in (one, two)]
    assert ranks == [1, 2]


def test_only_rank_0_speaks(stdout: str) -> None:
    assert stdout.count("test session starts") == 1
    assert stdout.count("fine-tuning will take") == 1
    assert stdout.count("2 ranks: this one and rank 1 (") == 1
    assert stdout.count("results: ") == 1
    assert "passed" in stdout.splitlines()[-1]


def test_the_same_launch_again_finds_all_in_the_cache(bench: Bench, stdout: str) -> None:
    again = bench.run("two-again", "--variant=lora", *MEASURED)
    assert "fine-tuning will take" not in again
    assert bench.results("two-again")["variants"]["lora"]["finetune"]["cached"] is True
    assert bench.rows("two-again", "losses") == bench.rows("two", "losses")


def state_of(bench: Bench) -> Path | None:
    return next((bench.folder / "cache").glob("tunebench/training/*/state/state-*.json"), None)


def process_of_rank(launch: subprocess.Popen[str], rank: int, worker: bool) -> psutil.Process:
    """A rank's main process, or its model process."""
    for process in psutil.Process(launch.pid).children(recursive=True):
        if ("harness.worker.server" in process.cmdline()) != worker:
            continue
        main = process.parent() if worker else process
        if main is not None and main.environ().get("MLX_RANK") == str(rank):
            return process
    raise AssertionError(f"rank {rank} has no such process")


def kill_in_training(
    bench: Bench, name: str, find: Callable[[subprocess.Popen[str]], psutil.Process]
) -> tuple[str, float]:
    """Kill a process once a state was saved; what the launch printed, how long it took to end."""
    launch = bench.start(name, "--variant=lora", *MEASURED, "--set", "iters=4000")
    limit = time.monotonic() + 300
    while state_of(bench) is None:
        assert launch.poll() is None, launch.communicate()[0]
        assert time.monotonic() < limit
        time.sleep(0.1)
    find(launch).send_signal(signal.SIGKILL)
    started = time.monotonic()
    output = launch.communicate(timeout=BOUND_S)[0]
    return output, time.monotonic() - started


@pytest.mark.parametrize("part", ["model process", "main process"])
def test_a_killed_rank_ends_all_with_its_name(tmp_path: Path, part: str) -> None:
    bench = Bench(tmp_path)
    worker = part == "model process"
    output, seconds = kill_in_training(
        bench, "killed", lambda launch: process_of_rank(launch, 1, worker)
    )
    assert seconds < BOUND_S
    assert "rank 1 (" in output.split("Exit: ")[-1], output
    assert "Traceback" not in output
    assert not (tmp_path / "runs").exists()


def test_a_killed_training_goes_on_with_the_same_ranks(
    tmp_path: Path, bench: Bench, stdout: str
) -> None:
    killed = Bench(tmp_path)
    launch = killed.start("first", "--variant=lora", *MEASURED)
    while state_of(killed) is None:
        assert launch.poll() is None, launch.communicate()[0]
        time.sleep(0.02)
    process_of_rank(launch, 1, worker=True).kill()
    launch.communicate(timeout=BOUND_S)
    killed.run("second", "--variant=lora", *MEASURED)
    resumed = killed.results("second")["variants"]["lora"]
    whole = bench.results("two")["variants"]["lora"]
    assert resumed["finetune"]["resumed_from"] in range(1, 12)
    assert resumed["adapter"]["sha256"] == whole["adapter"]["sha256"]
    assert killed.rows("second") == bench.rows("two")


def test_a_training_that_was_finished_when_all_was_killed_is_not_trained_again(
    tmp_path: Path, bench: Bench, stdout: str
) -> None:
    """As after a kill between the last iteration and the copy into the cache: rank 1 has nothing
    left to do, and rank 0 must not wait for it."""
    killed = Bench(tmp_path)
    cache = tmp_path / "cache" / "tunebench"
    shutil.copytree(bench.folder / "cache" / "tunebench" / "describe", cache / "describe")
    (trained,) = (
        payload.parent
        for payload in (bench.folder / "cache" / "tunebench" / "finetune").glob("*/payload.json")
        if json.loads(payload.read_text())["ranks"] == 2
    )
    work = cache / "training" / trained.name
    shutil.copytree(trained, work, ignore=shutil.ignore_patterns("payload.json", ".manifest.json"))
    curve = json.loads((work / "finetune.json").read_text())["curve"]
    killed.run("second", "--variant=lora", *MEASURED)
    again = killed.results("second")["variants"]["lora"]
    whole = bench.results("two")["variants"]["lora"]
    assert again["adapter"]["sha256"] == whole["adapter"]["sha256"]
    assert [row["tokens_per_s"] for row in again["finetune"]["curve"]] == [
        row["tokens_per_s"] for row in curve
    ], "the times are those of the training that was finished"
    assert killed.rows("second") == bench.rows("two")
    assert not work.exists()


def test_two_runs_at_once_on_one_cache_train_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    arguments = ("--variant=lora", *MEASURED)
    both = [bench.start(name, *arguments, ranks=1) for name in ("a", "b")]
    outputs = [run.communicate(timeout=600)[0] for run in both]
    assert [run.returncode for run in both] == [0, 0], outputs
    assert sum(output.count("fine-tuning will take") for output in outputs) == 1
    found = [bench.results(name)["variants"]["lora"] for name in ("a", "b")]
    assert sorted(run["finetune"]["cached"] for run in found) == [False, True]
    assert found[0]["adapter"]["sha256"] == found[1]["adapter"]["sha256"]
    assert bench.rows("a") == bench.rows("b")
    assert bench.rows("a", "losses") == bench.rows("b", "losses")


MPIRUN = shutil.which("mpirun", path=f"{LAUNCH.parent}{os.pathsep}{os.environ['PATH']}")


def mpi_environment() -> dict[str, str]:
    """Where `mlx.launch` finds mpirun, and MLX its library: the wheel's, in this environment."""
    found = {"PATH": f"{LAUNCH.parent}{os.pathsep}{os.environ['PATH']}"}
    library = LAUNCH.parent.parent / "lib" / "libmpi.so.40"
    if library.exists():
        found["MLX_MPI_LIBNAME"] = str(library)
    return {**found, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@pytest.mark.skipif(MPIRUN is None, reason="no mpirun: it comes with the extra `dev` on Linux")
def test_mpi_gives_the_numbers_of_one_rank(bench: Bench, one: dict[str, Any]) -> None:
    command = [str(LAUNCH), "-n", "2", "--backend", "mpi", "--mpi-arg=--oversubscribe", "--"]
    command += [sys.executable, "-m", "pytest", "--model=tiny", "--limit=40", *MEASURED]
    command += ["--set", "iters=12", "--set", "save_every=3", "--set", "steps_per_eval=4"]
    command += [f"--results-dir={bench.folder / 'runs'}", "--run-name=mpi", "--variant=lora"]
    command += ["--no-cache"]  # the ring's training has the same key
    environment = {**bench.environment(), **mpi_environment()}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=open_input(),
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert (bench.folder / "runs" / "mpi").is_dir(), done.stdout + done.stderr
    shared = bench.results("mpi")["variants"]["lora"]
    loss, alone = shared["loss"]["full_text"]["loss"], one["variants"]["lora"]["loss"]
    curve = one["variants"]["lora"]["finetune"]["curve"]
    start, end = curve[0]["val_loss"], curve[-1]["val_loss"]
    tolerance = SAME_LOSS * start + ADAM * abs(start - end)
    assert loss == pytest.approx(alone["full_text"]["loss"], abs=tolerance)
    assert [row["text"] for row in bench.rows("mpi")] == [row["text"] for row in bench.rows("one")]
    assert bench.results("mpi")["run"]["distributed"]["size"] == 2
