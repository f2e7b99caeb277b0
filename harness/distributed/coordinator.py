"""Rank 0's side of a launch: its requests to the other ranks, and the cause when one of them fails.

Rank 0 alone runs the session: it decides what is computed (and what the cache already holds),
writes and prints. The other ranks' main processes (``follower``) each hold one connection to it:
requests and files go down, answers and failures come up (``peers``). Which model process handles
which call is decided in ``ranked_worker``. A rank that dies, falls silent or fails ends the launch
with its error; rank 0's own model process, which would wait for it for ever, is killed.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from harness.disk.files import sha256_file
from harness.distributed.launch import Ranks
from harness.distributed.peers import Peers
from harness.errors import UserError
from harness.progress import ProgressCallback
from harness.schema.stage_results import Call, Request, Result
from harness.worker.client import KernelFault, Worker, WorkerError

LAST_ANSWER_S = 60.0
"""How long the others may take to answer a shared call after rank 0 has its own result."""

GRACE_S = 10.0
"""How long the ranks have to report what happened once one of them failed."""

CHUNK_BYTES = 8 << 20

Answer = dict[str, Any]


class RankError(WorkerError):
    """A rank died or failed: the launch cannot go on."""


class Closes(Protocol):
    """Anything that ends when it is closed."""

    def close(self) -> None: ...


class Coordinator:
    """The other ranks of a launch; made at once, ``peers.assemble`` waits for them.

    Args:
        ranks: rank 0's place.
        versions: versions that must be the same on every rank.

    Raises:
        UserError: the port is taken.
    """

    def __init__(self, ranks: Ranks, versions: dict[str, Any]) -> None:
        self.size = ranks.size
        self.failure: str | None = None
        """Why the launch ended, once a rank failed."""
        self.late = False
        """Whether a rank still works on the last request."""
        self.holder: Closes | None = None
        """The model processes that MLX's group connects: those of one variant at a time."""
        self._last_request = 0
        self._computing: Worker | None = None
        self._in_request = False
        self._interrupted = False
        self.peers = Peers(ranks, versions, self._on_failure)

    @property
    def ends_with_error(self) -> bool:
        """Whether the call in progress ends with the error of a rank that failed."""
        return self.failure is not None or (self._in_request and self.cause() is not None)

    def cause(self) -> str | None:
        """Why the launch ends, as far as it is known."""
        lost = [f"{m.name} is gone: {m.lost}" for m in self.peers.all if m.lost]
        return self.failure or next(iter(lost), None)

    def close(self) -> None:
        """End the other ranks."""
        self.peers.dismiss(wait=self.failure is None)

    # --- requests ----------------------------------------------------------------------------

    def request(self, action: str, **parameters: Any) -> list[Any]:
        """Have every other rank do ``action`` and return their results, by rank.

        Raises:
            UserError: what one of them found.
            RankError: one of them is gone or failed.
        """
        return self.wait(action, self.send(action, **parameters))

    def send(self, action: str, **parameters: Any) -> int:
        """Send a request without waiting; its number."""
        if self.failure is not None:
            raise RankError(self.failure)
        self._last_request += 1
        for peer in self.peers.all:
            peer.send({"do": action, "number": self._last_request, **parameters})
        return self._last_request

    def wait(self, action: str, number: int) -> list[Any]:
        """The results of a request that was sent with :meth:`send`."""
        with self._waiting():
            return self._results(action, number)

    def compute(
        self,
        worker: Worker,
        call: Call[Request, Result],
        request: Request,
        theirs: dict[str, Any],
        progress: ProgressCallback,
    ) -> Result:
        """Send ``call`` to every rank's model process at once; the result of rank 0's.

        ``theirs`` are fields of the other ranks' request that differ: names in place of paths.

        Raises:
            UserError: a mistake of the user's, found by any rank.
            KernelFault: code that MLX compiled may be damaged on a rank.
            RankError: a rank died or failed, named.
        """
        failure: UserError | WorkerError | None = None
        result: Result | None = None
        with self._waiting():
            self._interrupted, self._computing = False, worker
            number = self.send(
                "call", call=call.name, request=request.model_dump(mode="json") | theirs
            )
            try:
                if any(peer.lost for peer in self.peers.all):
                    self._interrupt(worker)
                result = worker.call(call, request, progress)
            except (UserError, WorkerError) as error:
                failure = error
            finally:
                self._computing = None
            self._results(call.name, number, failure, GRACE_S if failure else LAST_ANSWER_S)
        assert result is not None  # else a failure was raised
        return result

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._in_request = True
        try:
            yield
        finally:
            self._in_request = False

    def send_file(self, folder: str, path: Path) -> None:
        """Give every other rank a copy of a file, under ``folder`` of its own."""
        key = f"{folder}/{path.name}/{sha256_file(path)}"
        message = {"do": "file", "folder": folder, "name": path.name}
        for peer in self.peers.all:
            if key in peer.files:
                continue
            peer.files.add(key)
            peer.send({**message, "new": True})
            with path.open("rb") as stream:
                while block := stream.read(CHUNK_BYTES):
                    peer.send({**message, "new": False}, block)

    def abandon(self) -> None:
        """Have the other ranks end their model processes at once."""
        for peer in self.peers.all:
            peer.send({"do": "abandon"})

    # --- answers -----------------------------------------------------------------------------

    def _on_failure(self, gone: bool) -> None:
        if gone:
            self._interrupt(self._computing)
            return
        # Rank 0 may be about to find the same, with a better message.
        timer = threading.Timer(GRACE_S / 2, self._interrupt, (self._computing,))
        timer.daemon = True
        timer.start()

    def _interrupt(self, worker: Worker | None) -> None:
        """End rank 0's model process if it still computes: it would wait for a rank for ever."""
        if worker is not None and worker is self._computing:
            self._interrupted = True
            worker.kill()

    def _answers(self, number: int, within_s: float | None) -> list[Answer]:
        deadline = None if within_s is None else time.monotonic() + within_s
        found = []
        for peer in self.peers.all:
            answer: Answer = {"to": -1}
            while answer["to"] not in (number, None):
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                try:
                    answer = peer.answers.get(timeout=left)
                except queue.Empty:
                    text = f"no answer within {within_s:.0f} s"
                    answer = {"to": number, "kind": "late", "text": text}
            if answer["to"] is None:
                peer.answers.put(answer)  # for the next request, which fails for the same reason
            found.append(answer)
        return found

    def _results(
        self,
        action: str,
        number: int,
        failure: UserError | WorkerError | None = None,
        within_s: float | None = None,
    ) -> list[Any]:
        """The ranks' results, or the error of the rank that caused the others'."""
        answers = self._answers(number, within_s)
        if failure is None and all(answer["kind"] == "result" for answer in answers):
            return [answer["value"] for answer in answers]
        self.late = any(answer["kind"] == "late" for answer in answers)
        cause = self._cause(action, failure, answers)
        if isinstance(cause, RankError):
            self.failure = str(cause)
        raise cause from failure

    def _cause(
        self, action: str, failure: UserError | WorkerError | None, answers: list[Answer]
    ) -> UserError | WorkerError:
        def reports(*kinds: str) -> Iterator[str]:
            for name, answer in zip(self.peers.names, answers, strict=True):
                if answer["kind"] in kinds:
                    yield f"{name}: {answer['text'].rstrip()}"

        for report in reports("kernel_fault"):
            fault = KernelFault(report)
            fault.removed_from = report.partition(": ")[0]
            return fault
        if isinstance(failure, KernelFault) and not self._interrupted:
            return failure
        for report in reports("lost", "died"):
            return RankError(f"{report} (during {action}, of {self.size} ranks)")
        if isinstance(failure, UserError):
            return failure
        if failure is not None and not self._interrupted:
            return RankError(f"rank 0: {failure}")
        for report in reports("user_error"):
            return UserError(report)
        for report in reports("error", "late", "abandoned"):
            return RankError(report)
        return RankError(f"rank 0: {failure}")
