"""A disk that fills up under another rank than 0 ends the launch with that rank's name."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_command import ROOT
from disks import fill

Mount = Callable[[str], Path]
LAUNCH = Path(sys.executable).parent / "mlx.launch"


def free_ports() -> int:
    """The first of a few neighbouring ports below those that systems hand out."""
    for first in range(26_000 + os.getpid() % 5_000, 32_000, 7):
        try:
            for port in range(first, first + 4):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


@pytest.mark.slow
def test_a_full_disk_under_rank_1_is_one_message_that_names_it(
    mount: Mount, tmp_path: Path
) -> None:
    disk = mount("1m")
    command = f"{sys.executable} -m pytest suites/test_finetune.py suites/test_loss.py --model=tiny"
    command += " --variant=lora --limit=8 --set iters=4 --set val_batches=1"
    command += f" --results-dir={tmp_path / 'runs'}"
    script = f'if [ "$MLX_RANK" = 1 ]; then export TMPDIR={disk}; fi; exec {command}'
    launch = [str(LAUNCH), "-n", "2", "--backend", "ring", "--starting-port", str(free_ports())]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    reader, _ = os.pipe()  # mlx.launch takes a core for itself where its input is closed
    fill(disk)
    done = subprocess.run(
        [*launch, "--", "sh", "-c", script],
        cwd=ROOT,
        env=environment,
        stdin=reader,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    output = done.stdout + done.stderr
    assert "rank 1" in output
    assert "No space left on device" in output
    assert "Traceback" not in output
    assert not (tmp_path / "runs").exists()
