"""Messages between the ranks' main processes: JSON with an optional block of bytes, over TCP.

A :class:`Connection` is one end. Both ends send a heartbeat every few seconds, so that a peer that
died, was cut off or stopped is noticed within ``SILENCE_S`` even while MLX's own connections hang
(a ring waits for ever for a rank that is gone). A frame is two lengths, JSON, bytes; nothing is
pickled. Not covered: encryption; as with MLX's ring, the network between the machines must be
trusted.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from typing import Any

HEARTBEAT_S = 3.0
SILENCE_S = 45.0
"""A peer that sent nothing for this long counts as dead."""

_LENGTHS = struct.Struct("!IQ")
_LONGEST_MESSAGE, _LONGEST_BLOCK = 1 << 26, 1 << 26


class ConnectionLost(Exception):
    """The peer is gone; the text is how that was noticed."""


class Connection:
    """One end of a connection: any thread may send, one thread receives."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._socket.settimeout(SILENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sending = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._heartbeats, daemon=True).start()

    def send(self, message: dict[str, Any], block: bytes = b"") -> None:
        """Send one message.

        Raises:
            ConnectionLost: the peer is gone.
        """
        text = json.dumps(message).encode("utf-8")
        try:
            with self._sending:
                self._socket.sendall(_LENGTHS.pack(len(text), len(block)) + text)
                if block:
                    self._socket.sendall(block)
        except OSError as error:
            raise ConnectionLost(f"its connection broke ({error.strerror or error})") from error

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next message that is not a heartbeat.

        Raises:
            ConnectionLost: the peer closed the connection, fell silent, or is no tunebench process.
        """
        while True:
            sizes = _LENGTHS.unpack(self._exactly(_LENGTHS.size))
            if sizes[0] > _LONGEST_MESSAGE or sizes[1] > _LONGEST_BLOCK:
                raise ConnectionLost("it is not a tunebench process")
            text, block = self._exactly(sizes[0]), self._exactly(sizes[1])
            message: dict[str, Any] = json.loads(text)
            if message:
                return message, block

    def close(self) -> None:
        """End the connection; the peer sees it."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                part = self._socket.recv(min(1 << 20, size - len(parts)))
            except TimeoutError as error:
                raise ConnectionLost(f"it was silent for {SILENCE_S:.0f} s") from error
            except OSError as error:
                raise ConnectionLost(f"its connection broke ({error.strerror or error})") from error
            if not part:
                raise ConnectionLost("it closed the connection")
            parts += part
        return bytes(parts)

    def _heartbeats(self) -> None:
        while not self._closed.wait(HEARTBEAT_S):
            try:
                self.send({})
            except ConnectionLost:
                return
