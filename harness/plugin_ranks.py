"""A pytest session under `mlx.launch` or `mpirun`: rank 0 runs it, the other ranks serve rank 0.

The other ranks never begin a session of their own, so that they collect, print and write nothing;
they end when rank 0 ends. Nothing here changes a plain run.
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
from harness.distributed.coordinator import Coordinator
from harness.distributed.follower import follow
from harness.distributed.launch import Ranks, from_environment
from harness.errors import UserError
from harness.pipeline import cache_keys
from harness.progress import print_message

COORDINATOR = pytest.StashKey[Coordinator]()
"""The other ranks, on rank 0 of several."""

CAUSE_S = 1.0
"""How long rank 0 waits for the cause when it gets the signal to stop."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """On another rank than 0: no session; do what rank 0 requests."""
    try:
        ranks = _ranks(config)
        if ranks is None or ranks.rank == 0:
            return None
        return follow(ranks, _versions(), use_cache=config.getoption("use_cache"))
    except UserError as error:
        print_message(f"tunebench: {error}")
        return int(pytest.ExitCode.USAGE_ERROR)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """On rank 0: let the other ranks connect."""
    ranks = _ranks(config)
    if ranks is None:
        return
    try:
        coordinator = Coordinator(ranks, _versions())
    except UserError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[COORDINATOR] = coordinator

    def stop(number: int, frame: Any) -> None:
        # mlx.launch stops rank 0 when another rank is gone: the message names that one.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if coordinator.failure is None:
            time.sleep(CAUSE_S)
        if not coordinator.ends_with_error:
            pytest.exit(coordinator.cause() or "tunebench was terminated", returncode=1)

    signal.signal(signal.SIGTERM, stop)


def pytest_unconfigure(config: pytest.Config) -> None:
    """On rank 0: end the other ranks."""
    coordinator = config.stash.get(COORDINATOR, None)
    if coordinator is not None:
        coordinator.close()


def _ranks(config: pytest.Config) -> Ranks | None:
    """The launch's ranks; None for a plain run and where nothing would be run."""
    option = config.option
    if option.help or option.version or option.collectonly:
        return None
    return from_environment(os.environ)


def _versions() -> dict[str, Any]:
    """What must be the same on every rank for the numbers to be one machine's."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return {
        "mlx, mlx-lm and backend": [version("mlx"), version("mlx-lm"), *cache_keys.machine()],
        "tunebench's source": content_key([sha256_file(path) for path in sources]),
    }
