"""One process per variant: the parent's handle on the process that holds the model.

Calls go down as JSON lines and come back as JSON lines (progress, then one result), so that the
main process never imports MLX, memory is measured per variant, and a crash of native code is a
message instead of a dead session. The child is ``harness.worker.server``; what it prints
goes to a nameless log whose end is shown when it dies. Killing this process ends the child too,
which sees its input close.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any

from harness.disk.scratch import temporary_files_refused
from harness.errors import RemoteError, UserError
from harness.out_of_memory import may_be_out_of_memory
from harness.progress import ProgressCallback, print_message, silent
from harness.worker import memory_advice


class WorkerError(RemoteError):
    """The model process failed in a way that is not the user's mistake."""


class WorkerDied(WorkerError):
    """The model process is gone."""


class Worker:
    """A running model process; ``call`` runs one method of its workbench.

    Args:
        label: names it in messages.
        environment: its variables; this process's by default.
        say: takes what it has to tell the user.
    """

    def __init__(
        self,
        label: str,
        environment: Mapping[str, str] | None = None,
        notify: Callable[[str], None] = print_message,
    ) -> None:
        self.label = label
        self._say = notify
        self._log = _open_log()
        self._relayed = 0
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
        self, method: str, parameters: dict[str, Any], progress: ProgressCallback = silent
    ) -> dict[str, Any]:
        """Run ``Workbench.<method>(**parameters)`` and return its JSON result.

        Raises:
            UserError: the workbench found a mistake of the user's.
            WorkerDied: the process died; the message holds the end of its log.
            WorkerError: the process raised; the message holds its traceback.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"method": method, "parameters": parameters}))
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._death(method) from error
        for line in self._process.stdout:
            self._relay()
            message = json.loads(line)
            kind = message["kind"]
            if kind == "progress":
                progress(message["label"], message["done"], message["total"])
            elif kind == "result":
                result: dict[str, Any] = message["value"]
                return result
            elif kind == "user_error":
                raise UserError(message["text"])
            else:
                raise WorkerError(f"{self.label}: {method} failed\n{message['text']}")
        raise self._death(method)

    def _relay(self) -> None:
        """Pass on the child's own messages (a damaged cache entry, a lock it waits for)."""
        # pread: the child writes at the offset that both share.
        text = os.pread(self._log.fileno(), 1 << 20, self._relayed)
        whole = text[: text.rfind(b"\n") + 1]
        self._relayed += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if line.startswith("tunebench: "):
                self._say(line)

    def _death(self, method: str) -> WorkerDied:
        status = self._process.wait()
        self._log.seek(0)
        log = self._log.read().decode(errors="replace")
        tail = "\n".join(memory_advice.without_marks(log).splitlines()[-15:])
        why = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        working = memory_advice.last_of(log)
        hint = ""
        if working is not None and may_be_out_of_memory(status):
            hint = f"\nMost likely {memory_advice.told(working)}"
        return WorkerDied(
            f"{self.label}: the model process died during {method}, {why}{hint}\n{tail}"
        )

    def kill(self) -> None:
        """End the process at once, from any thread; whoever waits in ``call`` hears of it."""
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

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _open_log() -> IO[bytes]:
    """A file without a name: nothing is left of it, however the processes end."""
    try:
        return tempfile.TemporaryFile(prefix="tunebench-worker-")
    except OSError as error:
        raise temporary_files_refused(error) from error
