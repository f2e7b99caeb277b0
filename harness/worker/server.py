"""The model process: reads calls from standard input, answers on the original standard output.

Everything that libraries print (mlx-lm draws tables) goes to standard error, which the parent
keeps as a log; messages to the user, and the sentence for the case that memory runs out, go to the
parent as JSON lines like the results. The process ends as soon as its input closes, even while it
computes: that is how it learns that its parent was killed. Ctrl-C, which a terminal sends to every
process of the command, is handled by the parent alone.
"""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from harness.disk.files import refusal
from harness.errors import UserError
from harness.out_of_memory import is_out_of_memory
from harness.progress import send_messages
from harness.schema.variant_result import CurvePoint
from harness.worker import memory_advice
from harness.worker.gpu_faults import gpu_fault

PROGRESS_INTERVAL_S = 0.2

_NOT_LOADED = ("Could not load C++ shared library", "Failed to load compiled function")
"""MLX's words (0.32) where code that it compiled is damaged."""
_WARNING = "[WARNING]"


def main() -> None:
    """Serve calls until the input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    send_messages(channel.log)
    sys.stdout = Printed(sys.stdout, channel.log)
    calls: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(calls,), daemon=True).start()
    # It imports MLX: only now that signals and streams are set.
    from harness.worker.handlers import Handlers

    handlers = Handlers(channel.progress, channel.working, channel.row)
    while True:
        call = json.loads(calls.get())
        try:
            result = handlers.handle(call["call"], call["request"])
            channel.send("result", value=result.model_dump(mode="json"))
        except UserError as error:
            channel.send("user_error", text=str(error))
        except Exception as error:  # the boundary of the process: the parent raises it as its own
            kind, text = _explained(call["call"], error, channel.doing)
            channel.send(kind, text=text)


def _explained(call: str, error: Exception, doing: str) -> tuple[str, str]:
    """The kind of message and the text that the parent raises for ``error``."""
    refused = refusal(error)
    if refused is not None:
        gone = isinstance(error, FileNotFoundError)
        problem = "removed while it was used" if gone else "cannot write"
        named = isinstance(error, OSError) and error.filename is not None
        where = "" if named else f" (code that MLX compiles lies in {os.environ.get('TMPDIR')})"
        return "user_error", f"{call}: {problem}: {refused}{where}"
    if is_out_of_memory(error):
        return "user_error", f"{memory_advice.ran_out(doing)} ({error})"
    runtime = isinstance(error, RuntimeError)
    meaning = gpu_fault(str(error)) if runtime else None
    if meaning is not None:
        return "user_error", f"{call} stopped. {meaning} (MLX: {error})"
    fault = runtime and any(words in str(error) for words in _NOT_LOADED)
    return "kernel_fault" if fault else "error", traceback.format_exc()


class Printed(io.TextIOBase):
    """Standard output for what libraries print: all of it goes to the log, and mlx-lm's warnings
    ("[WARNING] …", a line each) to the user as well, each once."""

    def __init__(self, log: TextIO, notify: Callable[[str], None]) -> None:
        self._log = log
        self._notify = notify
        self._line = ""
        self._said: set[str] = set()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Log ``text``; pass on the warnings that it ends."""
        written = self._log.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.startswith(_WARNING) and line not in self._said:
                self._said.add(line)
                self._notify(f"mlx-lm warns: {line.removeprefix(_WARNING).strip()}")
        return written

    def flush(self) -> None:
        """Flush the log."""
        self._log.flush()


class Channel:
    """The connection to the parent: one JSON line a message."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last_progress_s = 0.0
        self.doing = "starting"
        """The work that was announced last."""

    def progress(self, label: str, done: float, total: float) -> None:
        """A progress callback that sends at most a few messages a second, and every last one."""
        now = time.monotonic()
        if done >= total or now - self._last_progress_s >= PROGRESS_INTERVAL_S:
            self._last_progress_s = now
            self.send("progress", label=label, done=done, total=total)

    def log(self, text: str) -> None:
        """Send a message that the user shall see."""
        self.send("log", text=text)

    def row(self, point: CurvePoint) -> None:
        """Send a row of the curve that is being made."""
        self.send("row", value=point.model_dump(mode="json"))

    def working(self, text: str) -> None:
        """Announce the work that begins now: a sentence of ``memory_advice``."""
        self.doing = text
        self.send("working", text=text)

    def send(self, kind: str, **fields: Any) -> None:
        """Send one message."""
        self._stream.write(json.dumps({"kind": kind, **fields}, allow_nan=False) + "\n")
        self._stream.flush()


def _read(calls: queue.SimpleQueue[str]) -> None:
    """Queue the calls; end the process with its input, for a long computation never reads it."""
    for line in sys.stdin:
        calls.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
