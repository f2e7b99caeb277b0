"""Memory that really runs out ends in one message: batch size, sequence length, what to lower."""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

import psutil
import pytest

from harness.errors import UserError
from harness.out_of_memory import is_out_of_memory, may_be_out_of_memory
from harness.pipeline.once import Once
from harness.train.variants import load_variants
from harness.worker import memory_advice
from harness.worker.client import Worker, WorkerError


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on a process's address space")
def test_a_batch_that_does_not_fit_is_named_with_what_to_lower(tmp_path: Path) -> None:
    (variant,) = load_variants(["lora"], {"batch_size": "1000", "iters": "2", "val_batches": "1"})
    with Worker("lora") as worker:
        worker.call(
            "open",
            {
                "model": "tiny",
                "variant": variant.config(),
                "dataset": "mini",
                "prompt_style": "dialect",
                "cache_root": str(tmp_path / "cache"),
                "trust_remote_code": False,
            },
        )
        worker.call("describe", {})
        process = psutil.Process(worker._process.pid)
        limit = process.memory_info().vms + 100 * 2**20
        resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
        with pytest.raises((UserError, WorkerError)) as caught:
            worker.call("finetune", {"work": str(tmp_path / "w"), "out": str(tmp_path / "out")})
    text = str(caught.value)
    assert "batch_size=1000" in text
    assert "max_seq_length=2048" in text
    assert "Lower batch_size" in text
    assert "working: " not in text


@pytest.mark.parametrize(
    "text",
    [
        "[metal::malloc] Attempting to allocate 9 bytes which is greater than the maximum allowed",
        "[malloc] Unable to allocate 17179869184 bytes.",
        "cudaMallocAsync(&ptr, size, stream) failed: out of memory",
        "[METAL] Command buffer execution failed: Insufficient Memory "
        "(00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
        "std::bad_alloc",
    ],
)
def test_each_backend_s_words_are_known(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))


def test_other_errors_are_not_taken_for_it() -> None:
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("no room in the zoom lens"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert may_be_out_of_memory(-signal.SIGKILL)
    assert may_be_out_of_memory(-signal.SIGSEGV)
    assert not may_be_out_of_memory(1)
    assert not may_be_out_of_memory(-signal.SIGTERM)


def test_what_a_process_was_at_is_the_last_note_of_its_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    memory_advice.write(memory_advice.loading("m", 2_000_000_000))
    memory_advice.write(memory_advice.evaluating("scoring", 16, [(1, 2), (1, 2, 3)]))
    log = "noise\n" + capsys.readouterr().err + "more noise\n"
    found = memory_advice.last_of(log)
    assert found is not None
    assert found.startswith("scoring, 16 at once, of up to 3 tokens. Use a quantized base")
    assert memory_advice.told(found) == memory_advice.told() == f"memory ran out while {found}."
    assert memory_advice.without_marks(log) == "noise\nmore noise"
    assert memory_advice.last_of("noise") is None


def test_an_estimate_beyond_the_free_memory_is_warned_of() -> None:
    assert memory_advice.shortage(1) == ""
    assert "lower batch_size" in memory_advice.shortage(10**18)


def test_work_that_failed_is_not_tried_again() -> None:
    once, tried = Once(), []

    def train() -> None:
        with once.attempt("training"):
            tried.append("training")
            raise UserError("no memory")

    for _ in range(2):
        with pytest.raises(UserError, match="no memory"):
            train()
    with once.attempt("loss"):
        tried.append("loss")
    assert tried == ["training", "loss"]
