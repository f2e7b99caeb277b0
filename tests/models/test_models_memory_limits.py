"""MLX's limits of memory, as environment variables name them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.backend import mx
from harness.errors import UserError
from harness.machine.memory_limits import assignments, memory_limits
from harness.models import device
from harness.worker import handlers
from tests import forks


@pytest.fixture
def limits() -> Iterator[None]:
    """This process's own limits come back after the test."""
    cache, memory = mx.set_cache_limit(0), mx.get_memory_limit()
    mx.set_cache_limit(cache)
    yield
    mx.set_cache_limit(cache)
    mx.set_memory_limit(memory)
    mx.clear_cache()


def kept_of_20_mb() -> int:
    """Bytes that MLX keeps after 20 arrays of 1 MB were made and freed."""
    arrays = [mx.ones((250_000,)) for _ in range(20)]
    mx.eval(arrays)
    del arrays
    mx.eval(mx.ones((2,)))
    return mx.get_cache_memory()


def test_the_limits_hold_in_the_model_s_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limits: None
) -> None:
    """They are set when the process opens: before the model and the data are found."""
    monkeypatch.setenv("TUNEBENCH_MLX_CACHE_LIMIT_GB", "0.003")
    monkeypatch.setenv("TUNEBENCH_MLX_MEMORY_LIMIT_GB", "0.5")

    def state(*_: object) -> Any:
        assert kept_of_20_mb() <= 3_000_000
        assert mx.get_memory_limit() == 500_000_000
        return SimpleNamespace(variant=None)

    monkeypatch.setattr(handlers, "use_private_kernels", lambda _: None)
    monkeypatch.setattr(handlers, "ModelState", state)
    assert mx.get_memory_limit() != 500_000_000
    assert kept_of_20_mb() > 3_000_000
    process = handlers.Handlers(*3 * [cast(Any, None)])
    process.open(cast(Any, SimpleNamespace(cache_root=str(tmp_path))))
    assert kept_of_20_mb() <= 3_000_000


@pytest.mark.parametrize(
    ("name", "value"),
    [("CACHE", "2GB"), ("CACHE", "-1"), ("MEMORY", "0"), ("MEMORY", "nan"), ("WIRED", "inf")],
)
def test_a_wrong_limit_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    variable = f"TUNEBENCH_MLX_{name}_LIMIT_GB"
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=f"{variable}='{value}' is no limit. Allowed: GB, "):
        memory_limits()


def test_a_wrong_limit_ends_a_command_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TUNEBENCH_MLX_CACHE_LIMIT_GB", "2GB")
    done = forks.run("-m", "pytest", "suites/", "--collect-only", "-q")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "TUNEBENCH_MLX_CACHE_LIMIT_GB='2GB' is no limit." in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_set_stands_before_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (memory_limits(), assignments()) == ({}, [])
    monkeypatch.setenv("TUNEBENCH_MLX_CACHE_LIMIT_GB", "0")
    monkeypatch.setenv("TUNEBENCH_MLX_WIRED_LIMIT_GB", "12.5")
    assert memory_limits() == {"cache": 0, "wired": 12_500_000_000}
    assert assignments() == ["TUNEBENCH_MLX_CACHE_LIMIT_GB=0", "TUNEBENCH_MLX_WIRED_LIMIT_GB=12.5"]


def test_a_wired_limit_is_metal_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused elsewhere; on Metal set, and what macOS refuses is said with what to do."""
    monkeypatch.setenv("TUNEBENCH_MLX_WIRED_LIMIT_GB", "40")
    monkeypatch.setattr(device, "backend_name", lambda: "cpu")
    with pytest.raises(UserError, match="cpu computes here"):
        device.limit_memory()

    def refuse(limit: int) -> None:
        raise ValueError(f"[metal::set_wired_limit] {limit} is larger than the working set.")

    monkeypatch.setattr(device, "backend_name", lambda: "metal")
    monkeypatch.setattr(device, "mx", SimpleNamespace(set_wired_limit=refuse))
    with pytest.raises(UserError, match=r"LIMIT_GB=40 was refused .* sudo sysctl iogpu"):
        device.limit_memory()
