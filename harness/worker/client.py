"""One process per variant: the parent's handle on the process that holds the model.

Calls go down as JSON lines and come back as JSON lines (progress and messages, then one result),
so that the main process never imports MLX, memory is measured per variant, and a crash of native
code is a message instead of a dead session. The child is ``harness.worker.server``; what its
libraries print goes to a nameless log whose end is shown when it dies. Killing this process ends
the child too, which sees its input close.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import IO, Any

from harness.disk.scratch import temporary_files_refused
from harness.errors import RemoteError, UserError
from harness.machine.system import require_address_space
from harness.out_of_memory import may_be_out_of_memory
from harness.progress import ProgressCallback, print_message, silent
from harness.schema.stage_results import Call, Request, Result
from harness.schema.variant_result import CurvePoint
from harness.worker import memory_advice
from harness.worker.gpu_faults import gpu_fault


class WorkerError(RemoteError):
    """The model process failed in a way that is not the user's mistake."""


class WorkerDied(WorkerError):
    """The model process is gone."""


class KernelFault(WorkerDied):
    """The model process ended as one does whose compiled code is damaged, or could not load it."""

    removed_from: str | None = None
    """The rank, not this one, that has removed its compiled code already."""


_LIBRARIES_BYTES = 1 << 30
"""Address space of the libraries that a model process loads."""
_THREAD_BYTES = 200 << 20
"""And of each of its threads: a stack (8 MiB), a buffer of the BLAS (up to 64), an arena of glibc
(128 while it is aligned)."""
_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL)


class Worker:
    """A running model process; ``call`` runs one of its calls.

    Args:
        label: names it in messages.
        environment: its variables; this process's by default.
        notify: takes its messages to the user.
        on_row: takes the rows of a training's curve as they come.

    Raises:
        UserError: the system allows it too little address space, or no temporary files.
    """

    def __init__(
        self,
        label: str,
        environment: Mapping[str, str] | None = None,
        notify: Callable[[str], None] = print_message,
        on_row: Callable[[CurvePoint], None] = lambda row: None,
    ) -> None:
        _require_address_space(os.environ if environment is None else environment)
        self.label = label
        self._notify = notify
        self._on_row = on_row
        self._log = _open_log()
        self._working: str | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.worker.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
            encoding="utf-8",
        )

    def call(
        self, call: Call[Request, Result], request: Request, progress: ProgressCallback = silent
    ) -> Result:
        """Send a request and return its result.

        Raises:
            UserError: the process found a mistake of the user's.
            WorkerDied: the process died; the message holds the end of its log.
            KernelFault: MLX's compiled code may be damaged.
            WorkerError: the process raised; the message holds its traceback.
        """
        message = {"call": call.name, "request": request.model_dump(mode="json")}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            answer = self._answer(progress)
        except BrokenPipeError:
            answer = self._answer(progress)  # only the last messages of a dead process
        if answer is None:
            raise self._death(call.name)
        if answer["kind"] == "result":
            return call.result.model_validate(answer["value"])
        if answer["kind"] == "user_error":
            raise UserError(answer["text"])
        failed = KernelFault if answer["kind"] == "kernel_fault" else WorkerError
        raise failed(f"{self.label}: {call.name} failed\n{answer['text']}")

    def _answer(self, progress: ProgressCallback) -> dict[str, Any] | None:
        """The message that ends a call; None when the process is gone. Others are passed on."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith("\n"):
                break  # the process was killed while it wrote this line
            message: dict[str, Any] = json.loads(line)
            if message["kind"] == "progress":
                progress(message["label"], message["done"], message["total"])
            elif message["kind"] == "log":
                self._notify(message["text"])
            elif message["kind"] == "row":
                self._on_row(CurvePoint.model_validate(message["value"]))
            elif message["kind"] == "working":
                self._working = message["text"]
            else:
                return message
        return None

    def _death(self, call: str) -> WorkerDied:
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()[-15:]
        message = [f"{self.label}: the model process died during {call}, {ended(status)}"]
        if (meaning := gpu_fault("\n".join(lines))) is not None:
            message.append(meaning)
            lines = [line for line in lines if gpu_fault(line)]
        elif self._working is not None and may_be_out_of_memory(status):
            message.append(f"Most likely {memory_advice.ran_out(self._working)}")
        died = KernelFault if -status in _FAULTS else WorkerDied
        return died("\n".join([*message, *lines]))

    def kill(self) -> None:
        """End the process at once, from any thread; a waiting ``call`` then raises WorkerDied."""
        self._process.kill()

    def close(self) -> None:
        """End the process; its log goes with it."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


def _require_address_space(environment: Mapping[str, str]) -> None:
    """Refuse a limit with which MLX's libraries fail, or spin, instead of saying so."""
    wanted = environment.get("OMP_NUM_THREADS", "")
    threads = int(wanted) if wanted.isdigit() else os.cpu_count() or 1
    who = f"the model's process with {threads} threads (OMP_NUM_THREADS sets their number)"
    require_address_space(_LIBRARIES_BYTES + threads * _THREAD_BYTES, who)


def ended(status: int) -> str:
    """How a process ended, by its exit status, negative for a signal."""
    if status >= 0:
        return f"exit status {status}"
    why = ""
    if -status == signal.SIGXCPU:
        why = ": a chat template that never ends used up the processor time (or see `ulimit -t`)"
    return f"killed by signal {-status}{why}"


def _open_log() -> IO[bytes]:
    """A file without a name: nothing remains of it, however the processes end."""
    try:
        return tempfile.TemporaryFile(prefix="tunebench-worker-")
    except OSError as error:
        raise temporary_files_refused(error) from error
