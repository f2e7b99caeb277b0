"""A disk that fills up under another rank than 0 ends the launch with that rank's name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_command import ROOT
from disks import fill

from harness.backend import backend_name
from harness.disk.kernels import FOLDER_VARIABLE
from tests.ports import free_ports

Mount = Callable[[str], Path]
LAUNCH = Path(sys.executable).parent / "mlx.launch"


def launch(folder: Path, *suites: str, disk: Path | None = None) -> str:
    """What two ranks print; rank 1 has its temporary files, and the code that MLX compiles, on
    ``disk``."""
    command = f"exec {sys.executable} -m pytest {' '.join(suites)} --model=tiny --variant=lora"
    command += " --limit=8 --set iters=4 --set val_batches=1"
    command += f" --results-dir={folder / 'runs'}"
    places = f"TMPDIR={disk} {FOLDER_VARIABLE}={disk}/kernels"
    own = "" if disk is None else f'if [ "$MLX_RANK" = 1 ]; then export {places}; fi; '
    ports = ["--starting-port", str(free_ports(26_000))]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    reader, _ = os.pipe()  # mlx.launch takes a core for itself where its input is closed
    done = subprocess.run(
        [str(LAUNCH), "-n", "2", "--backend", "ring", *ports, "--", "sh", "-c", own + command],
        cwd=ROOT,
        env=environment,
        stdin=reader,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.slow  # g++ compiles three times
@pytest.mark.skipif(backend_name() != "cpu", reason="only the CPU backend compiles with g++")
def test_damaged_code_of_rank_1_is_removed_there_and_the_work_tried_once_more(
    tmp_path: Path,
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    assert "3 passed" in launch(tmp_path, "suites/test_loss.py", disk=own)
    libraries = [*(own / "kernels").rglob("*.so")]
    assert libraries
    for library in libraries:
        os.truncate(library, library.stat().st_size // 2)
    shutil.rmtree(tmp_path / "cache" / "tunebench" / "loss")
    output = launch(tmp_path, "suites/test_loss.py", disk=own)
    assert "3 passed" in output
    assert re.search(r"compiled in rank 1 \(.*\) may be damaged: removed, and tried once", output)


@pytest.mark.slow
@pytest.mark.parametrize("during", ["training", "the copy of an adapter"])
def test_a_full_disk_under_rank_1_is_one_message_that_names_it(
    mount: Mount, tmp_path: Path, during: str
) -> None:
    disk = mount("1m")
    if during != "training":
        assert "3 passed" in launch(tmp_path, "suites/test_finetune.py")
        shutil.rmtree(tmp_path / "runs")
    fill(disk)
    if during != "training":
        # Python passes over a folder for temporary files in which it can write nothing at all.
        os.truncate(disk / "filler", (disk / "filler").stat().st_size - 100_000)
    output = launch(tmp_path, "suites/test_finetune.py", "suites/test_loss.py", disk=disk)
    messages = [line for line in output.splitlines() if re.search(r"(^|Exit: )rank 1 \(", line)]
    assert len(messages) == 1, output
    assert "No space left on device" in messages[0]
    if during == "training":
        assert "finetune: cannot write" in messages[0]
    else:
        assert f"cannot write in {disk}" in messages[0]
        assert "set TMPDIR to another folder" in messages[0]
    assert "Traceback" not in output
    assert not list((tmp_path / "runs").glob("*/losses.*"))
