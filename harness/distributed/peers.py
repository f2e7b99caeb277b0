"""The other ranks' main processes, arriving at rank 0: who they are and what they answer.

Ranks -> one :class:`Member` a rank, each with a thread that takes in its answers and notices when
it is gone. What is asked of them is `team.py`.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

from harness.distributed.connection import Wire, WireLost
from harness.distributed.launch import COORDINATOR, Ranks
from harness.errors import UserError

ARRIVAL_S = 180.0
"""How long rank 0 waits for the other ranks to start."""

LATE_S = 20.0
"""How long a rank that starts late is waited for, only to be sent home."""


class Member:
    """Another rank's main process, as rank 0 sees it."""

    def __init__(self, wire: Wire, hello: dict[str, Any]) -> None:
        self.wire = wire
        self.rank: int = hello["rank"]
        self.speaks: dict[str, Any] = hello["speaks"]
        self.name = f"rank {self.rank} ({hello['host']}, process {hello['pid']})"
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self.files: set[str] = set()
        """What it has copies of."""
        self.lost: str | None = None
        """How it was seen to be gone."""

    def send(self, message: dict[str, Any], block: bytes = b"") -> None:
        """Send a message; that it cannot be sent shows in :attr:`lost`, and among the answers."""
        try:
            self.wire.send(message, block)
        except WireLost as lost:
            self.lost = self.lost or str(lost)


class Members:
    """Listens for the other ranks from the start on.

    Args:
        ranks: rank 0's address.
        failed: called from a thread when a member answers that it failed, or (True) died.

    Raises:
        UserError: the port is taken.
    """

    def __init__(self, ranks: Ranks, failed: Callable[[bool], None]) -> None:
        self._ranks = ranks
        self._failed = failed
        self._found: dict[int, Member] = {}
        self._arrived = threading.Condition()
        family = socket.AF_INET6 if ":" in ranks.host else socket.AF_INET
        try:
            self._listener = socket.create_server((ranks.host, ranks.port), family=family)
        except OSError as error:
            raise UserError(
                f"rank 0 cannot listen on {ranks.host}:{ranks.port}: {error.strerror or error}. If "
                "another launch is running on this machine, give this one ports of its own: "
                f"mlx.launch --starting-port, or {COORDINATOR}=HOST:PORT."
            ) from error
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def all(self) -> list[Member]:
        """Those that came, by rank."""
        return [self._found[rank] for rank in sorted(self._found)]

    def assemble(self, speaks: dict[str, Any]) -> None:
        """Wait for every rank, and see that all speak as rank 0 does.

        Raises:
            UserError: a rank did not come in time, or has other versions than rank 0.
        """
        self._wait(ARRIVAL_S)
        missing = sorted(set(range(1, self._ranks.size)) - set(self._found))
        if missing:
            raise UserError(
                f"rank {', '.join(map(str, missing))} of {self._ranks.size} did not reach rank 0 "
                f"at {self._ranks.host}:{self._ranks.port} within {ARRIVAL_S:.0f} s. Is tunebench "
                "installed there at the same path, and the port open (firewall)?"
            )
        unlike = [
            f"{member.name} has {what} {member.speaks.get(what)!r}, rank 0 has {own!r}"
            for member in self.all
            for what, own in speaks.items()
            if member.speaks.get(what) != own
        ]
        if unlike:
            raise UserError(f"the ranks are not alike: {'; '.join(unlike)}. Make them the same.")

    def dismiss(self, wait: bool) -> None:
        """Send all home; ``wait`` for those that come late."""
        if wait:
            self._wait(LATE_S)
        for member in self.all:
            member.send({"do": "end"})
            member.wire.close()
        self._listener.close()

    def _wait(self, seconds: float) -> None:
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._found) == self._ranks.size - 1, seconds)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._greet, args=(connection,), daemon=True).start()

    def _greet(self, connection: socket.socket) -> None:
        wire = Wire(connection)
        try:
            hello, _ = wire.receive()
            member = Member(wire, hello)
        except (WireLost, ValueError, KeyError, TypeError):
            wire.close()  # a stranger on the port
            return
        with self._arrived:
            if member.rank in self._found or not 0 < member.rank < self._ranks.size:
                wire.close()
                return
            self._found[member.rank] = member
            self._arrived.notify_all()
        self._take_in(member)

    def _take_in(self, member: Member) -> None:
        try:
            while True:
                answer, _ = member.wire.receive()
                member.answers.put(answer)
                if answer["kind"] not in ("result", "abandoned"):
                    self._failed(answer["kind"] == "died")
        except (WireLost, ValueError) as lost:
            member.lost = str(lost)
            member.answers.put({"to": None, "kind": "lost", "text": f"gone: {lost}"})
            self._failed(True)
