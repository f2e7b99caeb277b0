"""Which forms of a tuned model are written and measured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.measure.generate import GenerationProtocol
from harness.models.device import device_memory
from harness.progress import silent
from harness.schema.stage_results import DeviceMemory, FusedForm, FuseRequest
from harness.worker import fused


class State:
    """Stands for the state of a model process: notes what is written."""

    def __init__(self, quantization: Any) -> None:
        self.base = SimpleNamespace(quantization=quantization)
        self.generation = GenerationProtocol()
        self.written: list[str] = []

    def write_fused(self, adapter: Path, folder: Path, dequantize: bool) -> Any:
        self.written.append(folder.name)
        return SimpleNamespace(bytes=8, by_dtype={"float32": 8})

    def fused(self, folder: Path) -> str:
        return folder.name

    def model(self, adapter: Path) -> str:
        return "adapter"

    def examples(self, ids: list[int]) -> list[int]:
        return ids

    def tokenized(self, examples: list[int], loaded: str) -> Any:
        return SimpleNamespace(examples=examples)

    def counts(self) -> Any:
        return SimpleNamespace(total=2)

    def release(self) -> None:
        pass


@pytest.mark.parametrize(
    ("quantization", "keep", "written", "measured"),
    [
        (None, False, ["fused"], ["adapter", "fused", "fused"]),
        (None, True, ["fused"], ["adapter", "fused", "fused"]),
        ({"bits": 4}, False, ["fused", "plain"], ["adapter", "fused", "plain"]),
    ],
)
def test_an_unquantized_base_has_one_fused_form(
    quantization: Any,
    keep: bool,
    written: list[str],
    measured: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        fused,
        "measure_form",
        lambda loaded, rows, protocol, progress: FusedForm(ppl=2.0, texts=[loaded]),
    )
    state: Any = State(quantization)
    request = FuseRequest(ids=[0], adapter=Path("a"), folder=tmp_path / "f", keep=keep)
    found = fused.measure_forms(state, request, silent)
    assert state.written == written
    assert found.dequantized is not None
    assert [found.adapter.texts, found.fused.texts, found.dequantized.texts] == [
        [form] for form in measured
    ]


def test_a_form_that_does_not_fit_is_skipped_with_the_reason(tmp_path: Path) -> None:
    memory = device_memory()
    assert fused.no_space(1, 4, tmp_path, memory) is None
    assert "GB of memory" in (fused.no_space(10**15, 4, tmp_path, memory) or "")


@pytest.mark.parametrize(
    ("backend", "dtype_bytes", "needed"),
    [("metal", 2, 18.1), ("cuda", 2, 18.1), ("metal", 4, 36.2), ("cpu", 2, 57.9)],
)
def test_a_form_is_counted_in_the_dtype_that_it_has(
    backend: str, dtype_bytes: int, needed: float, tmp_path: Path
) -> None:
    """Mistral-7B's 7.24 billion weights: 14.5 GB in half precision, and a quarter for measuring."""
    memory = DeviceMemory(
        backend=backend, free_bytes=0, held_bytes=0, total_bytes=10**12, host_bytes=10**12
    )
    found = fused.no_space(7_242_000_000, dtype_bytes, tmp_path, memory)
    assert found == f"would need {needed} GB of memory, 0.0 are free"
