"""The doctor names each problem with its remedy, and its report is plain JSON."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.backend import BlasInfo, backend_name, blas
from harness.cli import doctor, doctor_device
from harness.disk.cache import Cache
from harness.machine import installed


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.models.embedded.smollm2.offered", lambda: True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_the_report_is_json_and_has_every_topic(tmp_path: Path) -> None:
    report = doctor_device.examine(Cache(tmp_path))
    topics = {check.name for check in report.checks}
    of_a_cpu = {"blas", "kernels"} if backend_name() == "cpu" else set()
    assert topics == of_a_cpu | {
        *("python", "device", "packages", "memory", "cache", "disk", "smollm2", "hub"),
    }
    assert report.healthy
    assert not of_a_cpu or report.blas["gflops"] > 0
    json.dumps(asdict(report), allow_nan=False)
    assert "hub models must be cached" in doctor.render(report)


def test_a_gpu_is_named_with_its_cores_and_its_own_speed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gpu = {"chip": "Apple M3 Max", "gpu_cores": 40}
    monkeypatch.setattr(doctor_device, "backend_name", lambda: "metal")
    monkeypatch.setattr(doctor_device, "device", lambda: gpu)
    monkeypatch.setattr(doctor_device, "product_gflops", lambda: 12_345.6)
    report = doctor_device.examine(Cache(tmp_path))
    assert report.blas == {}  # a speed of the GPU's is no BLAS's
    (found,) = [check.found for check in report.checks if check.name == "device"]
    assert found.startswith("metal on Apple M3 Max, 40 GPU cores: 12346 GFLOP/s in bfloat16")


def test_an_idle_nvidia_gpu_has_the_cpu_s_library_removed_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was advised before was the very command that left the CPU's library in place."""
    monkeypatch.setattr(doctor_device, "backend_name", lambda: "cpu")
    monkeypatch.setattr(doctor_device, "extra_for_this_machine", lambda: "cuda13")
    monkeypatch.setattr(installed, "extra_for_this_machine", lambda: "cuda13")
    for module in (doctor_device, installed):
        monkeypatch.setattr(module, "backends", lambda: ["cpu"])
    check = doctor_device._device()
    assert check.status == "warning"
    assert re.search(r"uninstall (-y )?mlx-cpu && .*\[cuda13\]", check.advice)
    monkeypatch.setattr(doctor_device, "backends", lambda: ["cuda13"])
    assert "nvidia-smi" in doctor_device._device().advice


def test_a_driver_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr(doctor_device, "backend_name", lambda: "cpu")
    monkeypatch.setattr(installed, "nvidia_driver", lambda: 535)
    check = doctor_device._device()
    assert check.status == "warning"
    assert check.advice.startswith("the NVIDIA driver 535 is too old for MLX")
    monkeypatch.setattr(installed, "nvidia_driver", lambda: None)
    assert doctor_device._device().status == "ok"


def test_a_slow_blas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNEBENCH_BLAS", raising=False)
    check = doctor_device._blas(BlasInfo("reference", None, 1, 4.5))
    assert check.status == "warning"
    assert "pip install mkl" in check.advice
    assert "apt install libopenblas0-pthread" in check.advice


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = doctor._cache(Cache(tmp_path / "file" / "cache"))
    assert check.status == "problem"
    assert "XDG_CACHE_HOME" in check.advice


def test_an_unreachable_hub_says_what_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    check = doctor._hub()
    assert check.status == "warning"
    assert "127.0.0.1 is not reachable" in check.found
    assert "set HF_ENDPOINT" in check.advice


def test_a_run_without_a_fast_blas_says_once_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TUNEBENCH_BLAS", raising=False)
    monkeypatch.setattr(installed, "_warned", [])
    said: list[str] = []
    for name in ("reference", "reference", "mkl", None):
        installed.warn_of_blas(name, said.append)
    assert len(said) == 1
    assert "pip install mkl" in said[0]
    assert "20 times" in said[0]


def test_who_asked_for_mlx_s_own_blas_is_not_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEBENCH_BLAS", "off")
    monkeypatch.setattr(installed, "_warned", [])
    said: list[str] = []
    installed.warn_of_blas("reference", said.append)
    assert said == []


def test_the_rule_of_the_kernels_is_reported() -> None:
    check = doctor_device._kernels(blas)
    assert check.status == "ok"
    assert "loss" in check.found
