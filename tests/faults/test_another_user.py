"""The command of a user who owns neither the clone nor a home that can be written to.

Root becomes that user by `setpriv`; elsewhere these are skipped with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from harness.runs.git_state import git_state

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
SETPRIV = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
READING = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
"""May read everything, for an interpreter in root's home; may write nothing more."""

CHILD = """import os, subprocess, sys
subprocess.run([sys.executable, "-c", "pass"], check=True)
print(os.getuid())"""


@dataclass(frozen=True)
class User:
    """Another user, with a folder of their own beside a home that is not, and a temporary folder
    that all share, in which MLX has compiled for root."""

    prefix: tuple[str, ...]
    folder: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
        places = {"HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp")}
        return subprocess.run(
            [*self.prefix, sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**own, **places, "OMP_NUM_THREADS": "1", **variables},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def user() -> Iterator[User]:
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root, with setpriv of util-linux, can become another user")
    for prefix in (SETPRIV, (*SETPRIV, *READING)):
        try:
            command = [*prefix, sys.executable, "-c", CHILD]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except subprocess.CalledProcessError:
            continue
        if done.stdout == f"{NOBODY}\n":
            break
    else:
        pytest.skip(f"another user cannot run {sys.executable}")
    # pytest's own temporary folder is closed to others.
    folder = Path(tempfile.mkdtemp(prefix="tunebench-user-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "home").mkdir(mode=0o755)
    (folder / "own").mkdir()
    os.chown(folder / "own", NOBODY, NOBODY)
    (folder / "tmp" / "mlx" / version("mlx") / "cpu").mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    yield User(prefix, folder)
    shutil.rmtree(folder)


BENCH = ("pytest", "suites/", "--model=tiny", "--limit=8", "--set", "iters=4")


@pytest.mark.slow
def test_a_home_that_cannot_be_written_to_is_one_message(user: User) -> None:
    done = user.run(*BENCH, "--variant=base", f"--results-dir={user.folder}/own/runs")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "XDG_CACHE_HOME" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_folder_of_results_that_is_another_s_is_one_message(user: User) -> None:
    cache = {"XDG_CACHE_HOME": str(user.folder / "own" / "cache")}
    done = user.run(*BENCH, "--variant=base", f"--results-dir={user.folder}/home/runs", **cache)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "--results-dir" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_every_suite_runs_and_the_commit_is_known(user: User) -> None:
    runs = user.folder / "own" / "runs"
    cache = {"XDG_CACHE_HOME": str(user.folder / "own" / "cache")}
    options = ("--variant=lora,qlora", f"--results-dir={runs}", "--run-name=theirs")
    done = user.run(*BENCH, *options, **cache)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((runs / "theirs" / "results.json").read_text("utf-8"))
    assert results["run"]["partial"] == []
    assert results["run"]["git"]["commit"] == git_state(ROOT).commit
    said = user.run("harness", "doctor", **cache)
    assert "PROBLEM" not in said.stdout
    assert (runs / "theirs").stat().st_uid == NOBODY
    assert list((user.folder / "home").iterdir()) == []
