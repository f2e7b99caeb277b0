"""The documented command on the tiny model, in a process group of its own that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.forks import last_of_each

ROOT = Path(__file__).resolve().parents[2]

LIMIT_S = 300.0

TIMES = frozenset(
    {
        "started",
        "finished",
        "command",
        "git",
        "contended",
        "measured_at",
        "wall_s",
        "tokens_per_s",
        "supervised_tokens_per_s",
        "resumed_from",
        "cached",
        "memory",
        "path",
        "source",
        "id",
    }
)
"""Keys of results.json that hold times, or differ from run to run."""


@dataclass(frozen=True)
class Bench:
    """A cache and a results folder of their own."""

    folder: Path
    arguments: tuple[str, ...]

    @property
    def cache(self) -> Path:
        return self.folder / "cache" / "tunebench"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def start(self, name: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """`pytest suites/ --model=tiny ...` in a new process group; output goes to a file."""
        self.folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pytest", "suites/", "--model=tiny", "-q"]
        command += [f"--results-dir={self.runs}", f"--run-name={name}"]
        with self.output.open("w") as stream:
            return subprocess.Popen(
                last_of_each(*command, *self.arguments, *arguments),
                cwd=ROOT,
                env={**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache"), **environment},
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    @property
    def output(self) -> Path:
        return self.folder / "output.txt"

    def run(self, name: str, *arguments: str, **environment: str) -> tuple[int, str]:
        """Exit status and output of a whole run."""
        status = self.start(name, *arguments, **environment).wait()
        return status, self.output.read_text("utf-8")

    def results(self, name: str) -> dict[str, Any]:
        text = (self.runs / name / "results.json").read_text("utf-8")
        value: dict[str, Any] = json.loads(text)
        return value


def kill(process: subprocess.Popen[str]) -> None:
    """`kill -9` of the command and all that it started, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def without_times(value: Any) -> Any:
    """``value`` without what may differ between two runs that computed the same."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Until ``condition`` holds; the process must not end before."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None, "ended before it was interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process], within_s: float = 5.0) -> bool:
    return not psutil.wait_procs(processes, timeout=within_s)[1]
