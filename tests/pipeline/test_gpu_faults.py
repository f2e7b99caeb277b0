"""What a GPU's own fault becomes: words and a remedy, never a traceback."""

from __future__ import annotations

import io
import sys
from contextlib import closing
from pathlib import Path

import pytest

from harness.schema.stage_results import DESCRIBE, Nothing
from harness.worker.client import Worker, WorkerDied
from harness.worker.gpu_faults import FAULTS, gpu_fault
from harness.worker.server import Printed, _explained

METAL = "[METAL] Command buffer execution failed: "
TEXTS = {
    METAL + "Impacting Interactivity "
    "(0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)": "AGX_RELAX_CDM_CTXSTORE",
    METAL + "Caused GPU Timeout Error "
    "(00000002:kIOGPUCommandBufferCallbackErrorTimeout)": "make the steps smaller",
    METAL + "Innocent Victim of GPU Error "
    "(00000005:kIOGPUCommandBufferCallbackErrorInnocentVictim)": "Close what else",
    "[metal::malloc] Resource limit (499000) exceeded.": "iogpu.rsrc_limit",
    "[metal::set_wired_limit] Setting a wired limit larger than the maximum working set size "
    "is not allowed.": "iogpu.wired_limit_mb",
    "cudaLaunchKernel failed: no kernel image is available for execution": "cuda12",
    "cudaGetDeviceCount failed: CUDA driver version is insufficient": "driver 580",
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_mlx_s_words_become_a_remedy_without_a_traceback(text: str) -> None:
    kind, message = _explained("finetune", RuntimeError(text), "fine-tuning")
    assert kind == "user_error"
    assert message.startswith("finetune stopped. ")
    assert TEXTS[text].lower() in message.lower()
    assert text in message
    assert "Traceback" not in message


def test_every_fault_is_one_of_these_texts() -> None:
    met = [next(f for f in FAULTS if any(w in text.lower() for w in f.words)) for text in TEXTS]
    assert set(met) == set(FAULTS)


def test_other_errors_keep_their_traceback() -> None:
    assert gpu_fault("[matmul] Last dimension of first input must match") is None
    # Only MLX raises these; a text of the user's that holds the words is something else.
    kind, _ = _explained("score", ValueError("a column 'GPU timeout'"), "")
    assert kind == "error"


def test_a_process_that_the_fault_ended_says_what_it_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = next(iter(TEXTS))
    script = tmp_path / "model-process"
    words = f"echo loading >&2\necho 'libc++abi: {text}' >&2\n"
    script.write_text(f"#!/bin/sh\n{words}kill -ABRT $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with closing(Worker("lora")) as worker, pytest.raises(WorkerDied) as caught:
        worker.call(DESCRIBE, Nothing())
    first, meaning, last = str(caught.value).splitlines()
    assert first == "lora: the model process died during describe, killed by signal 6"
    assert meaning.startswith("macOS stopped the GPU's work")
    assert last == f"libc++abi: {text}"


def test_warnings_of_mlx_lm_reach_the_user_once() -> None:
    said: list[str] = []
    log = io.StringIO()
    printed = Printed(log, said.append)
    for _ in range(2):
        print("Iter 1: Val loss 3.2", file=printed)
        print("[WARNING] Generating with a model that requires", "9 MB", file=printed)
    print("[WARNING] not ended", end="", file=printed)
    assert said == ["mlx-lm warns: Generating with a model that requires 9 MB"]
    assert log.getvalue().count("[WARNING]") == 3


def test_the_page_has_each_fault_as_it_is_said() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "recovery.md").read_text("utf-8")
    for fault in FAULTS:
        assert f"| `{fault.words[0]}` | {fault.meaning} | {fault.remedy} |" in page
