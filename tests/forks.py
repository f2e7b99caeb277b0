"""Commands that start in 50 ms: each is a fork of one process that has imported everything.

:func:`run` is `python ARGUMENTS` in the project's folder. It has arguments, an environment, streams
and an exit status of its own and is as isolated as any process; only the second of imports is
saved. The model process that such a command starts is forked too, from a process that has imported
MLX: the command's ``sys.executable`` is a small program that asks for it, and that becomes the real
Python for anything else. `fork_server.py` is the other side.

Not for what a test says about the start itself (what is imported, how long it takes), for
variables that are read when a library is imported (`OMP_NUM_THREADS`, `HF_HOME`), and for what is
killed. Elsewhere than on Linux, where a library may not survive a fork, processes start as usual.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORKER = ("-m", "harness.worker.server")

LAUNCHER = """#!{python} -IS
import os, sys
if sys.argv[1:] != {worker!r}:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
import json, signal, socket
server = socket.socket(socket.AF_UNIX)
server.connect({models!r})
job = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
socket.send_fds(server, [json.dumps(job).encode() + b"\\n"], [0, 1, 2])
for stream in (0, 1, 2):
    os.close(stream)
status = int(server.makefile().readline())
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""
"""The ``sys.executable`` of a forked command."""


@dataclass(frozen=True)
class Server:
    """The process that forks, and the folder of its sockets."""

    folder: Path
    process: subprocess.Popen[bytes]
    alive: int
    """Closed with this process or by :func:`close`: then the server ends, and its folder goes."""


_started: list[Server] = []


def run(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS`, which begin with `-m MODULE`, to its end; ``environment`` is added."""
    settings = {**os.environ, **(environment or {})}
    if sys.platform != "linux":
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=settings,
            capture_output=True,
            text=True,
            check=False,
        )
    job = {"arguments": arguments, "folder": str(ROOT), "environment": settings}
    with socket.socket(socket.AF_UNIX) as server, ThreadPoolExecutor(2) as readers:
        server.connect(str(_server().folder / "commands"))
        (from_out, out), (from_err, err) = os.pipe(), os.pipe()
        streams = [os.open(os.devnull, os.O_RDONLY), out, err]
        socket.send_fds(server, [json.dumps(job).encode() + b"\n"], streams)
        for stream in streams:
            os.close(stream)
        printed = [*readers.map(_read, (from_out, from_err))]
        status = int(server.makefile().readline())
    return subprocess.CompletedProcess([*arguments], status, *printed)


def last_of_each(*arguments: str) -> list[str]:
    """A command line on which a later ``--option=value`` takes the place of an earlier one; an
    option that takes several keeps them. (tunebench refuses two values of one option.)"""
    several = ("--set", "--variant", "--adapter-path")
    names = [argument.partition("=")[0] for argument in arguments]
    last = {name: place for place, name in enumerate(names)}
    return [
        argument
        for place, (name, argument) in enumerate(zip(names, arguments, strict=True))
        if "=" not in argument or name in several or last[name] == place
    ]


def _read(stream: int) -> str:
    with open(stream, encoding="utf-8") as text:
        return text.read()


def cpu_s() -> float:
    """Processor time of all processes that were started here or forked, but for the server's own.

    What others do does not count.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    forked = [line for server in _started for line in (server.folder / "cpu_s").open()]
    return used.ru_utime + used.ru_stime + sum(map(float, forked))


def close() -> None:
    """End the server."""
    while _started:
        server = _started.pop()
        os.close(server.alive)
        server.process.wait()


def _server() -> Server:
    """The running server, started when it is first needed."""
    if not _started:
        # Not below TMPDIR: the path of a socket has 107 bytes at most.
        folder = Path(tempfile.mkdtemp(prefix="tunebench-forks-", dir="/tmp"))
        (folder / "cpu_s").touch()
        launcher = LAUNCHER.format(
            python=sys.executable, worker=[*WORKER], models=str(folder / "models")
        )
        (folder / "python").write_text(launcher)
        (folder / "python").chmod(0o755)
        sockets = [_listening(folder / kind) for kind in ("commands", "models")]
        ends, alive = os.pipe()
        descriptors = [ends, *(listening.fileno() for listening in sockets)]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server", str(folder), *map(str, descriptors)],
            cwd=ROOT,
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        os.close(ends)
        for listening in sockets:
            listening.close()
        _started.append(Server(folder, process, alive))
    return _started[0]


def _listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    return made
