"""A fast BLAS is under MLX before it is imported; each case in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from harness.backend import available_cores

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="macOS has Accelerate and Metal")


def _blas(**environment: str) -> dict[str, object]:
    code = (
        "import json; from dataclasses import asdict; from harness.models import device as d; "
        "print(json.dumps(asdict(d.measured_blas())))"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TUNEBENCH_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@LINUX
@pytest.mark.skipif(find_spec("mkl") is None and os.uname().machine != "x86_64", reason="no mkl")
@pytest.mark.slow
def test_an_installed_environment_has_a_blas_many_times_the_reference() -> None:
    fast, reference = _blas(), _blas(TUNEBENCH_BLAS="off")
    assert fast["name"] in ("openblas", "mkl")
    assert reference["name"] == "reference"
    assert float(str(fast["gflops"])) > 5 * float(str(reference["gflops"]))


@LINUX
def test_without_a_system_openblas_the_mkl_wheel_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import backend

    mkl = backend._mkl_libraries()
    if not mkl:
        pytest.skip("the mkl wheel exists for Linux x86-64 only")
    monkeypatch.setattr(backend, "_load", lambda library: "openblas" not in library)
    monkeypatch.delitem(sys.modules, "mlx.core")
    found = backend._preload()
    assert (found.name, found.path) == ("mkl", str(mkl[0]))


@LINUX
def test_a_system_openblas_is_taken_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import backend

    monkeypatch.setattr(backend, "_load", lambda library: True)
    monkeypatch.delitem(sys.modules, "mlx.core")
    assert backend._preload().name == "openblas"


@LINUX
def test_a_named_library_that_is_none_is_refused_in_one_message() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import harness.backend"],
        env={**os.environ, "TUNEBENCH_BLAS": "/no/such/lib.so"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "TUNEBENCH_BLAS='/no/such/lib.so' cannot be loaded" in done.stderr


def test_cores_are_at_least_one_and_no_more_than_the_machine_has() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@LINUX
def test_a_container_quota_limits_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import backend

    monkeypatch.setattr(backend, "_cgroup_quota", lambda: 0.5)
    assert backend.available_cores() == 1
