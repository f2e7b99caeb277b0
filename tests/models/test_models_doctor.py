"""The doctor names each problem with its remedy, and its report is plain JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.backend import BlasInfo, backend_name, blas
from harness.cli import doctor, doctor_device
from harness.disk.cache import Cache
from harness.models import installed


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.models.embedded.smollm2.offered", lambda: True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_the_report_is_json_and_has_every_topic(tmp_path: Path) -> None:
    report = doctor_device.examine(Cache(tmp_path))
    topics = {check.name for check in report.checks}
    assert topics == {
        *("python", "device", "blas", "kernels", "packages", "memory", "cache", "disk"),
        *("smollm2", "hub"),
    }
    assert report.healthy
    assert report.blas["gflops"] > 0
    json.dumps(asdict(report), allow_nan=False)
    assert "hub models must be cached" in doctor.render(report)


@pytest.mark.skipif(doctor_device.backend_name() != "cpu", reason="a GPU needs no BLAS")
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
    assert ("loss" in check.found) == (backend_name() == "cpu")
