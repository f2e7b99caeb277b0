"""A forked command ends, answers and complains as a process of its own does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import forks


@pytest.mark.parametrize("arguments", [("--help",), ("describe", "nowhere"), ("--no-such-option",)])
def test_status_and_streams_are_those_of_a_process(arguments: tuple[str, ...]) -> None:
    command = ("-m", "harness", *arguments)
    own = subprocess.run(
        [sys.executable, *command], cwd=forks.ROOT, capture_output=True, text=True, check=False
    )
    forked = forks.run(*command)
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        own.returncode,
        own.stdout,
        own.stderr,
    )


def test_the_environment_is_the_one_given(tmp_path: Path) -> None:
    listed = forks.run(
        "-m", "harness", "cache", "list", "--json", environment={"XDG_CACHE_HOME": str(tmp_path)}
    )
    assert str(tmp_path) in listed.stdout
