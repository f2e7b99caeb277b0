"""The process that `forks.py` asks: it has imported everything, and forks once for each request.

A request is a JSON line with arguments, folder and environment, and three streams; the answer is
the exit status, below zero for a signal. The server of commands makes that of model processes, a
fork of itself that has imported MLX too, when the first is asked for.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

IMPORTED = {
    # Not harness.plugin, whose assertions pytest rewrites when it imports it.
    "commands": (
        *("pytest", "harness.plugin_fixtures", "harness.plugin_ranks", "harness.report.report"),
        *("harness.cli.scoring", "harness.report.page.page", "harness.report.charts.tradeoff"),
        *("harness.report.charts.curves", "harness.sql.read.sqlglot_where", "pandas", "duckdb"),
        *("scipy.stats", "scipy.optimize", "scipy.sparse.csgraph", "tabulate", "typer"),
    ),
    "models": ("harness.worker.handlers", "safetensors.numpy", "mlx_lm.tuner.trainer"),
}
"""What is in memory before a process begins."""


class Server:
    """Args: ``folder`` of the sockets, the pipe that closes when it should end, its sockets."""

    def __init__(self, folder: Path, alive: int, commands: int, models: int) -> None:
        self.folder = folder
        self.alive = alive
        self.sockets = {
            "commands": socket.socket(fileno=commands),
            "models": socket.socket(fileno=models),
        }

    def serve(self) -> dict[str, Any] | None:
        """None at the end of the server; in each process that it forks, what that shall be."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _import("commands")
        while True:
            ready, _, _ = select.select([self.alive, *self.sockets.values()], [], [])
            _reap(os.WNOHANG)
            if self.alive in ready:
                _reap(0)
                if "commands" in self.sockets:
                    shutil.rmtree(self.folder)
                return None
            kind = next(kind for kind, listening in self.sockets.items() if listening in ready)
            if kind == "models" and len(self.sockets) == 2:
                self._divide()
            elif (job := self._forked(kind)) is not None:
                return job

    def _divide(self) -> None:
        """Leave the model processes to a fork."""
        gone = "models" if os.fork() else "commands"
        self.sockets.pop(gone).close()
        if gone == "commands":
            _import("models")

    def _forked(self, kind: str) -> dict[str, Any] | None:
        """None in the server; between it and the process made for a request one waits for that."""
        connection, _ = self.sockets[kind].accept()
        if os.fork():
            connection.close()
            return None
        text, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
        while not text.endswith(b"\n"):
            text += connection.recv(1 << 16)
        made = os.fork()
        if made:
            for stream in streams:
                os.close(stream)
            _, status, used = os.wait4(made, 0)
            with (self.folder / "cpu_s").open("a") as costs:
                costs.write(f"{used.ru_utime + used.ru_stime}\n")
            with suppress(BrokenPipeError):
                connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os._exit(0)
        connection.close()
        for listening in self.sockets.values():
            listening.close()
        os.close(self.alive)
        for at, stream in enumerate(streams):
            os.dup2(stream, at)
            os.close(stream)
        if kind == "commands":
            sys.executable = str(self.folder / "python")
        return dict(json.loads(text))


def _import(kind: str) -> None:
    for name in IMPORTED[kind]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _reap(options: int) -> None:
    """Wait for forks that have ended (0: for all), so that their times are counted."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


class Ending:
    """Ends the process after all other exit functions: taking modules down costs 0.1 s."""

    def __init__(self) -> None:
        self.status = 0
        atexit.register(self)

    def __call__(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.status)


def become(arguments: list[str], folder: str, environment: dict[str, str], end: Ending) -> None:
    """Be `python -m MODULE ...`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[0] = folder
    sys.argv = arguments[1:]
    try:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 1
        end.status = code if isinstance(code, int) else int(code is not None)
        raise


if __name__ == "__main__":
    ending = Ending()  # the first to be registered is the last to be called
    place, *descriptors = sys.argv[1:]
    wanted = Server(Path(place), *map(int, descriptors)).serve()
    if wanted is not None:
        become(**wanted, end=ending)
