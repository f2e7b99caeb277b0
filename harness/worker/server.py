"""The model process: reads calls from standard input, answers on the original standard output.

Everything that libraries print (mlx-lm draws tables) goes to standard error, which the parent
keeps as a log. The process ends as soon as its input closes, whatever it is computing: that is
how it learns that its parent was killed. Ctrl-C, which a terminal sends to every process of the
command, is the parent's business.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from harness.disk.files import refusal
from harness.errors import UserError
from harness.out_of_memory import is_out_of_memory

PROGRESS_INTERVAL_S = 0.2


def main() -> None:
    """Serve calls until the input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    calls: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(calls,), daemon=True).start()
    from harness.worker import memory_advice
    from harness.worker.handlers import Workbench

    bench = Workbench(_Progress(channel))
    while True:
        call = json.loads(calls.get())
        try:
            answer = {
                "kind": "result",
                "value": getattr(bench, call["method"])(**call["parameters"]),
            }
        except UserError as error:
            answer = {"kind": "user_error", "text": str(error)}
        except Exception as error:  # the boundary of the process: the parent raises it as its own
            told = refusal(error)
            answer = {"kind": "error", "text": traceback.format_exc()}
            if told is not None:
                gone = isinstance(error, FileNotFoundError)
                what = "removed while it was used" if gone else "cannot write"
                answer = {"kind": "user_error", "text": f"{call['method']}: {what}: {told}"}
            elif is_out_of_memory(error):
                answer = {"kind": "user_error", "text": f"{memory_advice.told()} ({error})"}
        _send(channel, answer)


class _Progress:
    """A progress callback that sends at most a few messages a second, and every last one."""

    def __init__(self, channel: TextIO) -> None:
        self._channel = channel
        self._last = 0.0

    def __call__(self, label: str, done: float, total: float) -> None:
        now = time.monotonic()
        if done >= total or now - self._last >= PROGRESS_INTERVAL_S:
            self._last = now
            _send(
                self._channel,
                {"kind": "progress", "label": label, "done": done, "total": total},
            )


def _send(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message, allow_nan=False) + "\n")
    channel.flush()


def _read(calls: queue.SimpleQueue[str]) -> None:
    """Hand on calls; end the process with its input, for a long computation never looks at it."""
    for line in sys.stdin:
        calls.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
