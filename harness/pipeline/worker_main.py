"""The model process: reads calls from standard input, answers on the original standard output.

Everything that libraries print (mlx-lm draws tables) goes to standard error, which the parent
keeps as a log. The process ends when its input closes or its parent is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from harness.errors import UserError

PROGRESS_INTERVAL_S = 0.2


def main() -> None:
    """Serve calls until the input closes."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from harness.pipeline.workbench import Workbench

    bench = Workbench(_Progress(channel))
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = {
                "kind": "result",
                "value": getattr(bench, call["method"])(**call["parameters"]),
            }
        except UserError as error:
            answer = {"kind": "user_error", "text": str(error)}
        except Exception:  # the boundary of the process: the parent raises it again as its own
            answer = {"kind": "error", "text": traceback.format_exc()}
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


def _end_with_parent() -> None:
    # A parent that was killed cannot say so, and a long computation never reads its input.
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main()
