"""A pytest session under `mlx.launch` or `mpirun`: rank 0 runs it, the other ranks serve rank 0.

The other ranks never begin a session of their own, so that they collect, print and write nothing;
they end when rank 0 ends. A plain run passes through here untouched.
"""

from __future__ import annotations

import os
import signal
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from harness.disk.files import content_key, sha256_file
from harness.distributed.coordinator import Team
from harness.distributed.follower import follow
from harness.distributed.launch import Ranks, from_environment
from harness.errors import UserError
from harness.pipeline import cache_keys
from harness.progress import print_message
from harness.stash import TEAM

SEEN_S = 1.0
"""How long rank 0 looks for the reason when it is told to stop."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """On another rank than 0: no session, but what rank 0 asks for."""
    try:
        ranks = _ranks(config)
        if ranks is None or ranks.rank == 0:
            return None
        return follow(ranks, _speaks(), use_cache=not config.getoption("--no-cache"))
    except UserError as error:
        print_message(f"tunebench: {error}")
        return int(pytest.ExitCode.USAGE_ERROR)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """On rank 0: be there for the others."""
    ranks = _ranks(config)
    if ranks is None:
        return
    try:
        team = Team(ranks, _speaks())
    except UserError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[TEAM] = team

    def stop(number: int, frame: Any) -> None:
        # mlx.launch stops rank 0 when another rank is gone; that one is to be named.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if team.failure is None:
            time.sleep(SEEN_S)
        if not team.ends_with_error:
            pytest.exit(team.why() or "tunebench was terminated", returncode=1)

    signal.signal(signal.SIGTERM, stop)


def pytest_unconfigure(config: pytest.Config) -> None:
    """On rank 0: send the others home."""
    team = config.stash.get(TEAM, None)
    if team is not None:
        team.close()


def _ranks(config: pytest.Config) -> Ranks | None:
    """The launch's ranks; None for a plain run and where nothing would be run."""
    option = config.option
    if option.help or option.version or option.collectonly:
        return None
    return from_environment(os.environ)


def _speaks() -> dict[str, Any]:
    """What must be the same on every rank for the numbers to be one machine's."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return {
        "mlx, mlx-lm and backend": [version("mlx"), version("mlx-lm"), *cache_keys.machine()],
        "tunebench's source": content_key([sha256_file(path) for path in sources]),
    }
