"""The other ranks' main processes, as rank 0 sees them: who they are and what they answer.

Ranks -> one :class:`Peer` each, with a thread that receives its answers and notices when it
is gone. What is requested of them is ``coordinator``.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

from harness.distributed.connection import Connection, ConnectionLost
from harness.distributed.launch import COORDINATOR, Ranks
from harness.errors import UserError

ARRIVAL_S = 180.0
"""How long rank 0 waits for the other ranks to start."""

LATE_S = 20.0
"""How long rank 0 waits for a rank that starts late, only to end it."""


class Peer:
    """Another rank's main process, as rank 0 sees it."""

    def __init__(self, connection: Connection, introduction: dict[str, Any]) -> None:
        self.connection = connection
        self.rank: int = introduction["rank"]
        self.versions: dict[str, Any] = introduction["versions"]
        self.name = f"rank {self.rank} ({introduction['host']}, process {introduction['pid']})"
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self.files: set[str] = set()
        """The files that it has copies of."""
        self.lost: str | None = None
        """How it was noticed that it is gone; None while it is there."""

    def send(self, message: dict[str, Any], block: bytes = b"") -> None:
        """Send a message; a failure shows in :attr:`lost` and among the answers."""
        try:
            self.connection.send(message, block)
        except ConnectionLost as lost:
            self.lost = self.lost or str(lost)


class Peers:
    """Listens for the other ranks from the start on.

    Args:
        ranks: rank 0's address.
        versions: versions that must be the same on every rank.
        failed: called from a thread when a peer answers that it failed, with True when it died.

    Raises:
        UserError: the port is taken.
    """

    def __init__(
        self, ranks: Ranks, versions: dict[str, Any], failed: Callable[[bool], None]
    ) -> None:
        self._ranks = ranks
        self._versions = versions
        self._failed = failed
        self._found: dict[int, Peer] = {}
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
    def all(self) -> list[Peer]:
        """The peers that connected, by rank."""
        return [self._found[rank] for rank in sorted(self._found)]

    @property
    def names(self) -> list[str]:
        """The peers in words, with machine and process."""
        return [peer.name for peer in self.all]

    def assemble(self) -> None:
        """Wait for every rank, and check that all have the versions of rank 0.

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
            f"{peer.name} has {what} {peer.versions.get(what)!r}, rank 0 has {own!r}"
            for peer in self.all
            for what, own in self._versions.items()
            if peer.versions.get(what) != own
        ]
        if unlike:
            raise UserError(f"the ranks are not alike: {'; '.join(unlike)}. Make them the same.")

    def dismiss(self, wait: bool) -> None:
        """End all peers; ``wait`` for those that connect late."""
        if wait:
            self._wait(LATE_S)
        for peer in self.all:
            peer.send({"do": "end"})
            peer.connection.close()
        self._listener.close()

    def _wait(self, seconds: float) -> None:
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._found) == self._ranks.size - 1, seconds)

    def _accept(self) -> None:
        while True:
            try:
                opened, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._welcome, args=(opened,), daemon=True).start()

    def _welcome(self, opened: socket.socket) -> None:
        connection = Connection(opened)
        try:
            introduction, _ = connection.receive()
            peer = Peer(connection, introduction)
        except (ConnectionLost, ValueError, KeyError, TypeError):
            connection.close()  # a stranger on the port
            return
        with self._arrived:
            if peer.rank in self._found or not 0 < peer.rank < self._ranks.size:
                connection.close()
                return
            self._found[peer.rank] = peer
            self._arrived.notify_all()
        self._receive_answers(peer)

    def _receive_answers(self, peer: Peer) -> None:
        try:
            while True:
                answer, _ = peer.connection.receive()
                peer.answers.put(answer)
                if answer["kind"] not in ("result", "abandoned"):
                    self._failed(answer["kind"] in ("died", "kernel_fault"))
        except (ConnectionLost, ValueError) as lost:
            peer.lost = str(lost)
            peer.answers.put({"to": None, "kind": "lost", "text": f"gone: {lost}"})
            self._failed(True)
