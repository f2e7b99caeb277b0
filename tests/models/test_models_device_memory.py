"""Memory is asked of its owner: fakes of Metal and CUDA, and the words that follow from them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli import doctor_device
from harness.models import device
from harness.models.device import device_memory
from harness.pipeline import interleaved_speed
from harness.schema.stage_results import DeviceMemory
from harness.worker import memory_advice

GB = 10**9


def machine(
    monkeypatch: pytest.MonkeyPatch, backend: str, info: dict[str, Any], held: int = 0
) -> None:
    """A host with 32 GB, of which 2 are "available", and a device that answers ``info``."""
    host = SimpleNamespace(total=32 * GB, available=2 * GB)
    monkeypatch.setattr(device.psutil, "virtual_memory", lambda: host)
    monkeypatch.setattr(device, "backend_name", lambda: backend)
    monkeypatch.setattr(device, "memory_bytes", lambda: 32 * GB)
    fake = SimpleNamespace(
        device_info=lambda: info, get_active_memory=lambda: held, get_cache_memory=lambda: GB
    )
    monkeypatch.setattr(device, "mx", fake)


def test_metal_has_its_working_set_less_what_mlx_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "metal", {"max_recommended_working_set_size": 22 * GB}, held=4 * GB)
    memory = device_memory()
    assert (memory.free_bytes, memory.total_bytes) == (17 * GB, 22 * GB)
    assert memory.reachable_bytes == 22 * GB


def test_cuda_has_what_the_driver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "cuda", {"free_memory": 9 * GB, "total_memory": 24 * GB}, held=10 * GB)
    memory = device_memory()
    assert (memory.free_bytes, memory.total_bytes) == (9 * GB, 24 * GB)
    assert memory.reachable_bytes == 20 * GB


def test_a_cpu_has_what_the_host_has_free(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "cpu", {})
    assert device_memory().free_bytes == 2 * GB


def test_the_real_device_answers() -> None:
    memory = device_memory()
    assert 0 < memory.free_bytes <= memory.total_bytes <= memory.host_bytes


METAL = DeviceMemory(
    backend="metal",
    free_bytes=11 * GB,
    held_bytes=0,
    total_bytes=11 * GB,
    host_bytes=16 * GB,
)


def test_a_mac_is_told_how_to_raise_the_gpu_s_limit() -> None:
    # 13 GB are 12,397.8 MB of 2**20 bytes; the next step of 256 is 12,544.
    assert "sudo sysctl iogpu.wired_limit_mb=12544" in memory_advice.shortage(13 * GB, METAL)
    assert "sysctl" not in memory_advice.shortage(15 * GB, METAL)  # the Mac itself is too small
    card = METAL.model_copy(update={"backend": "cuda"})
    assert "sysctl" not in memory_advice.shortage(13 * GB, card)
    assert "11.0 GB are free on the GPU" in memory_advice.shortage(13 * GB, card)


def test_a_model_that_does_not_fit_is_named_before_it_is_loaded() -> None:
    weights = {"bfloat16": 12 * GB, "uint32": GB}
    assert "takes 13.0 GB, but only 11.0" in memory_advice.too_large("m", weights, METAL)
    cpu = METAL.model_copy(update={"backend": "cpu"})
    assert "takes 25.0 GB" in memory_advice.too_large("m", weights, cpu)
    assert memory_advice.too_large("m", {"uint32": 4 * GB}, METAL) == ""


@pytest.mark.parametrize(("peak", "together"), [(3 * GB, True), (4 * GB, False)])
def test_models_fit_together_by_the_gpu_s_memory(peak: int, together: bool) -> None:
    """Two models in 0.6 of 11 GB; each process that runs may hold its own already."""
    load = SimpleNamespace(rss_peak_bytes=30 * GB, mlx_peak_bytes=peak)
    held = METAL.model_copy(update={"free_bytes": 11 * GB - peak, "held_bytes": peak})
    stage: Any = SimpleNamespace(description=SimpleNamespace(load=load), call=lambda *_: held)
    assert interleaved_speed._fit_together([stage, stage]) is together


def test_doctor_shows_the_gpu_s_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_device, "device_memory", lambda: METAL)
    found = doctor_device._memory()
    assert found.status == "ok"
    assert "11.0 GB free of 11.0 that macOS lets the GPU take" in found.found
    assert "iogpu.wired_limit_mb=" in found.found


@pytest.mark.parametrize(
    ("gflops", "sizes"), [(3.0, [512]), (10_000.0, [512, 1024, 2048, 4096]), (200.0, [512, 1024])]
)
def test_a_gpu_s_speed_is_that_of_matrices_that_keep_it_busy(
    gflops: float, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def measured(size: int, _: object) -> float:
        tried.append(size)
        return gflops

    monkeypatch.setattr(device, "backend_name", lambda: "metal")
    monkeypatch.setattr(device, "measure_gflops", measured)
    assert device.product_gflops() == gflops
    assert tried == sizes
