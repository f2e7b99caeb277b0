"""Memory that really runs out ends in one message: batch size, sequence length, what to lower."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from harness.disk.cache import Cache
from harness.errors import UserError
from harness.models.device import device_memory
from harness.out_of_memory import is_out_of_memory, may_be_out_of_memory
from harness.pipeline.stages import VariantStages
from harness.schema.stage_results import (
    DESCRIBE,
    FINETUNE,
    LOSSES,
    OPEN,
    FinetuneRequest,
    Losses,
    Nothing,
    OpenRequest,
)
from harness.train.variants import load_variants
from harness.worker import memory_advice
from harness.worker.client import Worker, WorkerDied, WorkerError


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on a process's address space")
def test_a_batch_that_does_not_fit_is_named_with_what_to_lower(tmp_path: Path) -> None:
    (variant,) = load_variants(["lora"], {"batch_size": "1000", "iters": "2", "val_batches": "1"})
    with closing(Worker("lora")) as worker:
        request = OpenRequest(
            model="tiny",
            variant=variant.config(),
            dataset="mini",
            prompt_style="dialect",
            cache_root=str(tmp_path / "cache"),
        )
        worker.call(OPEN, request)
        worker.call(DESCRIBE, Nothing())
        process = psutil.Process(worker._process.pid)
        limit = process.memory_info().vms + 100 * 2**20
        resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
        folders = FinetuneRequest(work=tmp_path / "w", out=tmp_path / "out")
        with pytest.raises((UserError, WorkerError)) as caught:
            worker.call(FINETUNE, folders)
    text = str(caught.value)
    assert "batch_size=1000" in text
    assert "max_seq_length=2048" in text
    assert "Lower batch_size" in text
    assert "working: " not in text


ROOT = Path(__file__).resolve().parents[2]
LITTLE = """
import os, resource, sys
from pathlib import Path
from harness.errors import UserError
from harness.sql.run.database import build
from harness.sql.run.sandbox import Sandbox
from harness.worker.client import Worker
os.environ["OMP_NUM_THREADS"] = "3"
resource.setrlimit(resource.RLIMIT_AS, (900_000 << 10, 900_000 << 10))
database = Path(sys.argv[1])
for start in (lambda: Worker("x"), lambda: build([], database), lambda: Sandbox(database)):
    try:
        start()
    except UserError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS holds no process to this limit")
def test_too_little_address_space_is_refused_before_a_library_spins(tmp_path: Path) -> None:
    """OpenBLAS asks for its buffers again for ever, MKL ends the process, DuckDB raises."""
    command = [sys.executable, "-c", LITTLE, str(tmp_path / "x.duckdb")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    first, *others = done.stdout.splitlines()
    assert first == (
        "`ulimit -v` allows 900000 kB of address space, and the model's process with 3 threads "
        "(OMP_NUM_THREADS sets their number) needs 1662976 kB. Raise it (`ulimit -v unlimited`), "
        "then repeat the command."
    )
    assert others == [others[0]] * 2
    assert "DuckDB needs 1572864 kB" in others[0]
    assert not list(tmp_path.iterdir())


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
    # A file that was cut while it was mapped.
    assert not may_be_out_of_memory(-signal.SIGBUS)


def test_the_last_work_of_a_killed_process_is_in_its_message(tmp_path: Path) -> None:
    (variant,) = load_variants(["base"])
    with closing(Worker("base")) as worker:
        request = OpenRequest(
            model="tiny",
            variant=variant.config(),
            dataset="mini",
            prompt_style="dialect",
            cache_root=str(tmp_path),
        )
        worker.call(OPEN, request)
        worker.kill()
        with pytest.raises(WorkerDied) as caught:
            worker.call(DESCRIBE, Nothing())
    message = str(caught.value)
    assert "killed by signal 9" in message
    assert "Most likely memory ran out while loading model 'tiny' (" in message


def test_a_process_killed_while_it_wrote_a_message_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "model-process"
    script.write_text("""#!/bin/sh\nprintf '{"kind": "progr'\nkill -9 $$\n""")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with (
        closing(Worker("base")) as worker,
        pytest.raises(WorkerDied, match="died during describe, killed by signal 9"),
    ):
        worker.call(DESCRIBE, Nothing())


def test_the_advice_names_the_batch_and_the_longest_row() -> None:
    found = memory_advice.evaluating("scoring", 16, [(1, 2), (1, 2, 3)])
    assert found.startswith("scoring, 16 at once, of up to 3 tokens. Use a quantized base")
    assert memory_advice.ran_out(found) == f"memory ran out while {found}."


def test_an_estimate_beyond_the_free_memory_is_warned_of() -> None:
    memory = device_memory()
    assert memory_advice.shortage(1, memory) == ""
    assert "lower batch_size" in memory_advice.shortage(10**18, memory)


def test_work_that_failed_is_not_tried_again(tmp_path: Path) -> None:
    invocation: Any = SimpleNamespace(given={}, cache=Cache(tmp_path), notify=print)
    stages = VariantStages(invocation, load_variants(["lora"])[0])
    tried = []

    def failing(folder: Path, work: str) -> Losses:
        tried.append(work)
        raise UserError("no memory")

    stages.__dict__["description"] = None  # made already
    for key in ("a" * 32, "a" * 32, "b" * 32):
        with pytest.raises(UserError, match="no memory"):
            stages._cached(LOSSES, key, failing)
    assert len(tried) == 2
