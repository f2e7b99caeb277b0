"""The parent's side of the process that runs queries: send a request, wait, kill, replace.

Database file -> :class:`Sandbox`, which answers requests and outlives its worker processes: a
worker that dies, hangs past its limit or runs out of memory is replaced, and only the request that
it was running fails. The sandbox does not decide what runs (render.py and batch.py do) and does not
change the results. The child's side is sandbox_process.py.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness.sql.failures import Failure

_WORKER = Path(__file__).with_name("sandbox_process.py")
_QUERY_LIMIT_S = 2.0
_START_LIMIT_S = 60.0


class Sandbox:
    """Runs trusted SQL on a read-only database in a process of its own.

    :meth:`close` ends the worker. The first worker starts at once, so that it is ready when the
    texts have been read.
    """

    def __init__(self, database: Path, limit_s: float = _QUERY_LIMIT_S) -> None:
        self._database = database
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._to_worker = -1
        self._from_worker = -1
        self._buffer = b""
        self._ready = False
        self.restarts = 0
        self._start()

    def close(self) -> None:
        """End the worker."""
        if self._process is None:
            return
        for descriptor in (self._to_worker, self._from_worker):
            os.close(descriptor)
        self._process.kill()
        self._process.wait()
        self._process = None

    def run(self, sql: str, params: list[Any] | None = None, max_rows: int = 10_000) -> Any:
        """The rows of one statement as lists, or a Failure; too many rows are a failure."""
        request = {"sql": sql, "params": params, "max_rows": max_rows, "limit_s": self._limit_s}
        answer = self._ask(request, self._limit_s)
        return answer if isinstance(answer, Failure) else answer["rows"]

    def parse(self, texts: list[str]) -> list[str | None] | Failure:
        """DuckDB's syntax tree (JSON) of each text; None where the text is not one SELECT."""
        answer = self._ask({"parse": texts}, self._limit_s)
        return answer if isinstance(answer, Failure) else answer["parsed"]

    def _ask(self, request: dict[str, Any], limit_s: float) -> Any:
        if self._process is None:
            self._start()
        if not self._ready:
            ready = self._read(_START_LIMIT_S)
            if ready is None:
                self._replace()
                raise RuntimeError("the DuckDB worker does not start")
            self._ready = True
        data = (json.dumps(request) + "\n").encode("utf-8", "replace")
        if not self._write(data, limit_s + 30.0):
            self._replace()
            return Failure("crash", "the worker died")
        answer = self._read(limit_s + 1.0)
        if answer is None:
            code = self._process.poll() if self._process else None
            self._replace()
            if code is None:
                return Failure("timeout", f"killed after {limit_s + 1.0:.0f} s")
            return Failure("crash", f"the worker died with status {code}")
        if answer.get("last"):
            self._replace()
        if "error" in answer:
            return Failure(answer["error"], answer.get("detail", ""))
        return answer

    def _start(self) -> None:
        worker_in, self._to_worker = os.pipe()
        self._from_worker, worker_out = os.pipe()
        command = [sys.executable, "-I", "-E", str(_WORKER), str(self._database)]
        self._process = subprocess.Popen(
            [*command, str(worker_in), str(worker_out)],
            pass_fds=(worker_in, worker_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent"},
            cwd=self._database.parent,
        )
        os.close(worker_in)
        os.close(worker_out)
        os.set_blocking(self._to_worker, False)
        self._buffer = b""
        self._ready = False

    def _replace(self) -> None:
        self.close()
        self.restarts += 1
        self._start()

    def _write(self, data: bytes, limit_s: float) -> bool:
        deadline = time.monotonic() + limit_s
        view = memoryview(data)
        while view:
            _, writable, _ = select.select([], [self._to_worker], [], 0.5)
            if writable:
                try:
                    view = view[os.write(self._to_worker, view) :]
                except BrokenPipeError:
                    return False
            elif time.monotonic() > deadline:
                return False
        return True

    def _read(self, limit_s: float) -> dict[str, Any] | None:
        """One answer; None when the worker has died or the time is over."""
        deadline = time.monotonic() + limit_s
        pieces = [self._buffer]
        while b"\n" not in pieces[-1]:
            left = deadline - time.monotonic()
            readable, _, _ = select.select([self._from_worker], [], [], max(0.0, left))
            if not readable:
                return None
            piece = os.read(self._from_worker, 1 << 20)
            if not piece:
                if self._process is not None:
                    self._process.wait(timeout=5)
                return None
            pieces.append(piece)
        line, self._buffer = b"".join(pieces).split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer
