"""`bench`: the bundled suites with pytest's options and exit status, from any folder.

Arguments -> pytest's own session on the suites that come with the library. The settings that the
checkout's `pyproject.toml` gives `pytest suites/` are given here; those of the folder that the user
is in, and its conftest.py, are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.bundled import SUITES

PROGRAM = ("tunebench", "bench")


def settings() -> list[str]:
    """What `bench` gives pytest before the user's own arguments."""
    return [
        *("-p", "harness.plugin", "-p", "no:hypothesispytest", "-p", "no:anyio"),
        *("-c", os.devnull, "--rootdir=.", f"--confcutdir={SUITES}", "--strict-markers"),
        *("-o", "junit_family=xunit1", str(SUITES)),
    ]


def typed(arguments: Sequence[str]) -> list[str]:
    """The command line as the user typed it, of the arguments that pytest was given."""
    own = settings()
    if list(arguments[: len(own)]) == own:
        return [*PROGRAM, *arguments[len(own) :]]
    return ["pytest", *arguments]


def bench_status(arguments: Sequence[str]) -> int:
    """Run the bundled suites; pytest's exit status, 130 after Ctrl-C."""
    import pytest

    return int(pytest.main([*settings(), *arguments]))
