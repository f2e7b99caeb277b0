"""What rank 0 asks of the other ranks, and who is to blame when one of them fails.

Rank 0 alone runs the session: it decides what is computed (and what the cache already holds),
writes and prints. The other ranks' main processes (`follower.py`) each hold one connection to it:
questions and files go down, answers and deaths come up (`members.py`). Which model process calls
what where is `ranked.py`. A rank that dies, falls silent or fails ends the launch with its error;
rank 0's own model process, which would wait for it for ever, is killed.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.disk.files import sha256_file
from harness.distributed.launch import Ranks
from harness.distributed.peers import Members
from harness.errors import UserError
from harness.progress import ProgressCallback
from harness.worker.client import Worker, WorkerError

if TYPE_CHECKING:
    from harness.distributed.ranked_worker import RankedWorker

ALIKE_S = 60.0
"""How long the others may take to answer a shared call after rank 0 has its own result."""

GRACE_S = 10.0
"""How long the ranks have to say what happened once one of them failed."""

CHUNK_BYTES = 8 << 20

Answer = dict[str, Any]


class RankError(WorkerError):
    """A rank died or failed: the launch cannot go on."""


class Team:
    """The other ranks of a launch; made at once, :meth:`assemble` waits for them.

    Args:
        ranks: rank 0's place.
        speaks: versions that must be the same on every rank.

    Raises:
        UserError: the port is taken.
    """

    def __init__(self, ranks: Ranks, speaks: dict[str, Any]) -> None:
        self.size = ranks.size
        self.failure: str | None = None
        """Why the launch ended, once a rank failed."""
        self.late = False
        """Whether a rank is still at the last question."""
        self.joined: RankedWorker | None = None
        """Whose model processes hold MLX's group: there is one at a time."""
        self._speaks = speaks
        self._asked = 0
        self._computing: Worker | None = None
        self._asking = False
        self._interrupted = False
        self._members = Members(ranks, self._on_failure)

    @property
    def names(self) -> list[str]:
        """The other ranks in words, with machine and process."""
        return [member.name for member in self._members.all]

    def assemble(self) -> None:
        """Wait for every rank, and see that all are alike.

        Raises:
            UserError: a rank did not come in time, or has other versions than rank 0.
        """
        self._members.assemble(self._speaks)

    @property
    def ends_with_error(self) -> bool:
        """Whether what goes on now ends with the error of a rank that failed."""
        return self.failure is not None or (self._asking and self.why() is not None)

    def why(self) -> str | None:
        """Why the launch ends, as far as it is known."""
        lost = [f"{m.name} is gone: {m.lost}" for m in self._members.all if m.lost]
        return self.failure or next(iter(lost), None)

    def close(self) -> None:
        """Send the other ranks home."""
        self._members.dismiss(wait=self.failure is None)

    # --- asking ------------------------------------------------------------------------------

    def ask(self, what: str, **parameters: Any) -> list[Any]:
        """Have every other rank do ``what`` and return their results, by rank.

        Raises:
            UserError: what one of them found.
            RankError: one of them is gone or failed.
        """
        return self.wait(what, self.send(what, **parameters))

    def send(self, what: str, **parameters: Any) -> int:
        """Ask without waiting; the number of the question."""
        if self.failure is not None:
            raise RankError(self.failure)
        self._asked += 1
        for member in self._members.all:
            member.send({"do": what, "number": self._asked, **parameters})
        return self._asked

    def wait(self, what: str, number: int) -> list[Any]:
        """The results of a question that was asked with :meth:`tell`."""
        with self._waiting():
            return self._settled(what, None, self._answers(number, None))

    def compute(
        self,
        worker: Worker,
        method: str,
        parameters: dict[str, Any],
        theirs: dict[str, Any],
        progress: ProgressCallback,
    ) -> dict[str, Any]:
        """Call ``method`` in every rank's model process at once; the result of rank 0's.

        ``theirs`` are the other ranks' parameters, with names of their own in place of paths.

        Raises:
            UserError: a mistake of the user's, found by any rank.
            RankError: a rank died or failed, named.
        """
        failure: UserError | WorkerError | None = None
        result: dict[str, Any] = {}
        with self._waiting():
            self._interrupted, self._computing = False, worker
            number = self.send("call", method=method, parameters=theirs)
            try:
                if any(member.lost for member in self._members.all):
                    self._interrupt(worker)
                result = worker.call(method, parameters, progress)
            except (UserError, WorkerError) as error:
                failure = error
            finally:
                self._computing = None
            self._settled(method, failure, self._answers(number, GRACE_S if failure else ALIKE_S))
        return result

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

    def send_file(self, folder: str, path: Path) -> None:
        """Give every other rank a copy of a file, under ``folder`` of its own."""
        key = f"{folder}/{path.name}/{sha256_file(path)}"
        message = {"do": "file", "folder": folder, "name": path.name}
        for member in self._members.all:
            if key in member.files:
                continue
            member.files.add(key)
            member.send({**message, "new": True})
            with path.open("rb") as stream:
                while block := stream.read(CHUNK_BYTES):
                    member.send({**message, "new": False}, block)

    def abandon(self) -> None:
        """Have the other ranks end their model processes at once."""
        for member in self._members.all:
            member.send({"do": "abandon"})

    # --- answers -----------------------------------------------------------------------------

    def _on_failure(self, gone: bool) -> None:
        if gone:
            self._interrupt(self._computing)
            return
        # Rank 0 may be about to find the same, and to say it better.
        timer = threading.Timer(GRACE_S / 2, self._interrupt, (self._computing,))
        timer.daemon = True
        timer.start()

    def _interrupt(self, worker: Worker | None) -> None:
        """End rank 0's model process if it still computes: it waits for a rank in vain."""
        if worker is not None and worker is self._computing:
            self._interrupted = True
            worker.kill()

    def _answers(self, number: int, within_s: float | None) -> list[Answer]:
        deadline = None if within_s is None else time.monotonic() + within_s
        found = []
        for member in self._members.all:
            answer: Answer = {"to": -1}
            while answer["to"] not in (number, None):
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                try:
                    answer = member.answers.get(timeout=left)
                except queue.Empty:
                    text = f"no answer within {within_s:.0f} s"
                    answer = {"to": number, "kind": "late", "text": text}
            if answer["to"] is None:
                member.answers.put(answer)  # whoever asks next shall see it too
            found.append(answer)
        return found

    def _settled(
        self, method: str, failure: UserError | WorkerError | None, answers: list[Answer]
    ) -> list[Any]:
        """The ranks' results, or the error of the rank that caused the others'."""
        if failure is None and all(answer["kind"] == "result" for answer in answers):
            return [answer["value"] for answer in answers]
        self.late = any(answer["kind"] == "late" for answer in answers)
        cause = self._cause(method, failure, answers)
        if isinstance(cause, RankError):
            self.failure = str(cause)
        raise cause from failure

    def _cause(
        self, method: str, failure: UserError | WorkerError | None, answers: list[Answer]
    ) -> UserError | WorkerError:
        def told_by(*kinds: str) -> Iterator[str]:
            for name, answer in zip(self.names, answers, strict=True):
                if answer["kind"] in kinds:
                    yield f"{name}: {answer['text'].rstrip()}"

        for told in told_by("lost", "died"):
            return RankError(f"{told} (during {method}, of {self.size} ranks)")
        if isinstance(failure, UserError):
            return failure
        if failure is not None and not self._interrupted:
            return RankError(f"rank 0: {failure}")
        for told in told_by("user_error"):
            return UserError(told)
        for told in told_by("error", "late", "abandoned"):
            return RankError(told)
        return RankError(f"rank 0: {failure}")
