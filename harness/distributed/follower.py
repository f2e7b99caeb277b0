"""A rank other than 0: instead of a pytest session it silently does what rank 0 requests.

Rank 0's requests (``coordinator``) -> calls of a model process of this rank. It keeps its own
copies of adapters and states in a folder that is removed at the end, reads base models through
this machine's own cache, and writes nothing else. It prints only why it could not go on.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.disk.cache import Cache
from harness.disk.kernels import kernel_folder, remove_kernels
from harness.disk.scratch import Scratch, sweep, temporary_files_refused
from harness.distributed.connection import Connection, ConnectionLost
from harness.distributed.launch import COORDINATOR, Ranks, launch_variables, without_launch
from harness.errors import UserError
from harness.progress import print_message
from harness.schema import stage_results as calls
from harness.schema.stage_results import SHARED, Call
from harness.worker.client import KernelFault, Worker, WorkerDied, WorkerError

REACH_S = 180.0
"""How long rank 0 may take to start."""

_CALLABLE = {call.name: call for call in (calls.JOIN, *SHARED)}
"""The calls that rank 0 may make; no other can be reached from the network."""


class _CannotWrite(Exception):
    """This rank cannot write a file that rank 0 sends."""


def follow(ranks: Ranks, versions: dict[str, Any], use_cache: bool) -> int:
    """Serve rank 0 until it ends the launch; the exit status.

    Args:
        ranks: this rank and where rank 0 is.
        versions: versions, compared with rank 0's.
        use_cache: whether base models are looked for in this machine's cache.

    Raises:
        UserError: rank 0 cannot be reached.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 handles Ctrl-C, and ends this rank
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    connection = Connection(_reach(ranks))
    sweep()  # the temporary folders of killed ranks
    cache = Cache() if use_cache else Cache.temporary()
    cache.hold()
    own = _own_folder(ranks.rank)
    server = _RankServer(own.path, cache)
    try:
        introduction = {"rank": ranks.rank, "host": platform.node(), "pid": os.getpid()}
        connection.send({**introduction, "versions": versions})
        _serve(connection, server)
    except _CannotWrite as refused:
        print_message(f"tunebench, rank {ranks.rank}: {refused}")
        return 1
    except (ConnectionLost, ValueError, KeyError) as lost:
        print_message(f"tunebench, rank {ranks.rank}: rank 0 is gone: {lost}")
        return 1
    finally:
        server.close()
        connection.close()
        own.remove()
    return 0


def _own_folder(rank: int) -> Scratch:
    try:
        return Scratch(f"rank-{rank}")
    except UserError as error:
        raise UserError(f"rank {rank} {error}") from error


def _reach(ranks: Ranks) -> socket.socket:
    deadline = time.monotonic() + REACH_S
    while True:
        try:
            return socket.create_connection((ranks.host, ranks.port), timeout=10.0)
        except OSError as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"rank {ranks.rank} does not reach rank 0 at {ranks.host}:{ranks.port}: "
                    f"{error.strerror or error}. Open the port there (firewall), or name another "
                    f"address of rank 0 with {COORDINATOR}=HOST:PORT on every rank."
                ) from error
            time.sleep(0.3)


def _serve(connection: Connection, server: _RankServer) -> None:
    """Answer requests in order; meanwhile a thread receives files and the order to abandon."""
    requests: queue.Queue[dict[str, Any] | Exception] = queue.Queue()

    def listen() -> None:
        try:
            while True:
                message, block = connection.receive()
                if message["do"] == "abandon":
                    server.abandon()
                elif message["do"] == "file":
                    server.keep(message, block)
                else:
                    requests.put(message)
        except (ConnectionLost, OSError, ValueError, KeyError) as error:
            ended: Exception = error
            if isinstance(error, OSError):
                # Ends the launch with this rank's name, instead of leaving rank 0 waiting.
                ended = _CannotWrite(str(temporary_files_refused(error)).rstrip("."))
                with contextlib.suppress(ConnectionLost):
                    connection.send({"to": None, "kind": "died", "text": str(ended)})
            server.abandon()
            requests.put(ended)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        request = requests.get()
        if isinstance(request, Exception):
            raise request
        if request["do"] == "end":
            return
        connection.send({"to": request["number"], **server.answer(request)})


@dataclass
class _RankServer:
    """This rank's model process and its copies of files."""

    folder: Path
    cache: Cache
    _worker: Worker | None = None
    _abandoned: bool = False

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request; an error is an answer too."""
        actions = {"open": self._open, "call": self._call, "close": self._close}
        try:
            value = actions[request["do"]](request)
            return {"kind": "result", "value": value}
        except UserError as error:
            return {"kind": "user_error", "text": str(error)}
        except KernelFault as error:
            removed = remove_kernels(kernel_folder(self.cache.root)) and not self._abandoned
            return {"kind": "kernel_fault" if removed else "died", "text": str(error)}
        except WorkerDied as error:
            return {"kind": "abandoned" if self._abandoned else "died", "text": str(error)}
        except WorkerError as error:
            return {"kind": "error", "text": str(error)}

    def keep(self, message: dict[str, Any], block: bytes) -> None:
        """Write a part of a file that rank 0 sends."""
        path = self._own(message["folder"]) / Path(message["name"]).name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb" if message["new"] else "ab") as stream:
            stream.write(block)

    def abandon(self) -> None:
        """End the model process even while it computes and another thread waits for it."""
        self._abandoned = True
        worker = self._worker
        if worker is not None:
            worker.kill()

    def close(self) -> None:
        """End the model process."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        self.close()
        self._abandoned = False
        alone = without_launch(os.environ)
        self._worker = Worker(request["label"], alone, notify=lambda text: None)
        theirs = calls.OpenRequest.model_validate(request["request"])
        opening = theirs.model_copy(update={"cache_root": str(self.cache.root)})
        self._worker.call(calls.OPEN, opening)
        return dict(self._worker.call(calls.RANK_FACTS, calls.Nothing()).must_match)

    def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        call: Call[Any, Any] | None = _CALLABLE.get(request["call"])
        if call is None or self._worker is None:
            raise UserError(f"rank 0 called {request['call']!r}: the ranks' versions differ")
        fields = dict(request["request"])
        if call.name == calls.JOIN.name:
            fields["variables"] = launch_variables(os.environ)
        for name in ("adapter", "work"):
            if fields.get(name) is not None:
                fields[name] = str(self._own(fields[name]))
        if call.name == calls.FINETUNE.name:
            fields["out"] = f"{fields['work']}-out"
        self._worker.call(call, call.request.model_validate(fields))
        return {}

    def _close(self, request: dict[str, Any]) -> dict[str, Any]:
        self.close()
        return {}

    def _own(self, name: str) -> Path:
        """The folder of this rank for a name that rank 0 chose, wherever the name would lead."""
        parts = [part for part in Path(name).parts if part not in ("/", "..", ".")]
        return self.folder.joinpath("received", *parts)
