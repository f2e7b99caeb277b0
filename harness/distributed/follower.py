"""What a rank other than 0 does instead of a pytest session: silently, what rank 0 asks.

Rank 0's questions (`team.py`) -> calls of a model process of this rank. It keeps its own copies
of adapters and states in a folder that is removed at the end, reads base models through this
machine's own cache, and writes nothing else. It prints only why it could not go on.
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
from pathlib import Path
from typing import Any

from harness.disk.cache import Cache
from harness.disk.scratch import Scratch, sweep, temporary_files_refused
from harness.distributed.connection import Wire, WireLost
from harness.distributed.launch import COORDINATOR, Ranks, launch_variables, without_launch
from harness.errors import UserError
from harness.progress import print_message
from harness.worker.client import Worker, WorkerDied, WorkerError

REACH_S = 180.0
"""How long rank 0 may take to start."""

_CALLED = ("join", "finetune", "losses", "answers")
"""What rank 0 may call; nothing else of the workbench can be reached from the network."""


class _CannotWrite(Exception):
    """This rank has no room for what rank 0 sends."""


def follow(ranks: Ranks, speaks: dict[str, Any], use_cache: bool) -> int:
    """Serve rank 0 until it says that all is done; the exit status.

    Args:
        ranks: this rank and where rank 0 is.
        speaks: versions, compared with rank 0's.
        use_cache: whether base models are looked for in this machine's cache.

    Raises:
        UserError: rank 0 cannot be reached.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is rank 0's business: it sends us home
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    wire = Wire(_reach(ranks))
    sweep()  # what killed ranks left
    cache = Cache() if use_cache else Cache.temporary()
    cache.hold()
    own = _own_folder(ranks.rank)
    desk = _Desk(own.path, cache)
    try:
        hello = {"rank": ranks.rank, "host": platform.node(), "pid": os.getpid()}
        wire.send({**hello, "speaks": speaks})
        _serve(wire, desk)
    except _CannotWrite as refused:
        print_message(f"tunebench, rank {ranks.rank}: {refused}")
        return 1
    except (WireLost, ValueError, KeyError) as lost:
        print_message(f"tunebench, rank {ranks.rank}: rank 0 is gone: {lost}")
        return 1
    finally:
        desk.close()
        wire.close()
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


def _serve(wire: Wire, desk: _Desk) -> None:
    """Answer questions in order; a thread listens meanwhile for the end of the one at hand."""
    questions: queue.Queue[dict[str, Any] | Exception] = queue.Queue()

    def listen() -> None:
        try:
            while True:
                message, block = wire.receive()
                if message["do"] == "abandon":
                    desk.abandon()
                elif message["do"] == "file":
                    desk.keep(message, block)
                else:
                    questions.put(message)
        except (WireLost, OSError, ValueError, KeyError) as error:
            ended: Exception = error
            if isinstance(error, OSError):
                # Ends the launch with our name, instead of leaving rank 0 waiting.
                ended = _CannotWrite(str(temporary_files_refused(error)).rstrip("."))
                with contextlib.suppress(WireLost):
                    wire.send({"to": None, "kind": "died", "text": str(ended)})
            desk.abandon()
            questions.put(ended)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        question = questions.get()
        if isinstance(question, Exception):
            raise question
        if question["do"] == "end":
            return
        wire.send({"to": question["number"], **desk.answer(question)})


class _Desk:
    """This rank's model process and its copies of files."""

    def __init__(self, folder: Path, cache: Cache) -> None:
        self._folder = folder
        self._cache = cache
        self._worker: Worker | None = None
        self._abandoned = False

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to one question, an error being one too."""
        asked = {"open": self._open, "call": self._call, "close": self._close}
        try:
            value = asked[question["do"]](question)
            return {"kind": "result", "value": value}
        except UserError as error:
            return {"kind": "user_error", "text": str(error)}
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
        """End the model process, whatever it does; called while another thread waits for it."""
        self._abandoned = True
        worker = self._worker
        if worker is not None:
            worker.kill()

    def close(self) -> None:
        """End the model process."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def _open(self, question: dict[str, Any]) -> dict[str, Any]:
        self.close()
        self._abandoned = False
        alone = without_launch(os.environ)
        self._worker = Worker(question["label"], alone, notify=lambda text: None)
        told = {**question["parameters"], "cache_root": str(self._cache.root)}
        self._worker.call("open", told)
        alike: dict[str, Any] = self._worker.call("facts", {})["alike"]
        return alike

    def _call(self, question: dict[str, Any]) -> dict[str, Any]:
        method, parameters = question["method"], dict(question["parameters"])
        if method not in _CALLED or self._worker is None:
            raise UserError(f"rank 0 asked for {method!r}: the ranks' versions differ")
        if method == "join":
            parameters["variables"] = launch_variables(os.environ)
        for name in ("adapter", "work"):
            if parameters.get(name) is not None:
                parameters[name] = str(self._own(parameters[name]))
        if method == "finetune":
            parameters["out"] = f"{parameters['work']}-out"
        self._worker.call(method, parameters)
        return {}

    def _close(self, question: dict[str, Any]) -> dict[str, Any]:
        self.close()
        return {}

    def _own(self, name: str) -> Path:
        """A folder of ours by the name rank 0 gives it, wherever that would lead."""
        parts = [part for part in Path(name).parts if part not in ("/", "..", ".")]
        return self._folder.joinpath("received", *parts)
