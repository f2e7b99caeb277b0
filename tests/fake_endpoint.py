"""A small server of chat completions on loopback, whose answers a test decides."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""Status, body (JSON, or bytes as they are) and headers."""


def completion(text: Any, finish: str = "stop", tokens: int = 7) -> dict[str, Any]:
    """What a service sends for an answer."""
    message = {"role": "assistant", "content": text}
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"completion_tokens": tokens},
    }


@dataclass
class Fake:
    """What was asked of a server that runs on ``port``."""

    port: int
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serve(answer: Callable[[dict[str, Any], int], Answer]) -> Iterator[Fake]:
    """A server during the block; ``answer(body, number of earlier requests)``, no body in a GET."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def do_GET(self) -> None:
            self._respond({})

        def _respond(self, body: dict[str, Any]) -> None:
            with lock:
                number = len(fake.bodies)
                fake.bodies.append(body)
                fake.headers.append(dict(self.headers))
                fake.paths.append(self.path)
            status, found, *more = answer(body, number)
            data = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            sent = {"Content-Length": str(len(data)), **(more[0] if more else {})}
            for name, value in sent.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake = Fake(server.server_address[1])
    thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
