"""The process that runs rendered queries: JSON requests in, JSON results out, nothing else.

Started by sandbox.py as ``python -P -s sandbox_process.py DATABASE BYTES``; it uses only DuckDB and
the standard library. Requests arrive on one pipe as frames of JSON (sql/limited_process.py),
answers leave on another; native prints cannot corrupt the protocol, and what is said on the
standard error is shown when the process dies. A query's time is this process's own processor time.
The database file is opened read-only, external access is off, the configuration is locked, and the
process has given up the right to write files, open many of them, gain privileges, or grow. It ends
as soon as its input closes, so a parent that is killed leaves no worker behind. It does not decide
what may run: only SQL that render.py or batch.py wrote reaches it. It is a process of its own
because short SELECTs have been seen to crash DuckDB or never to return.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import resource
import signal
import sys
import threading
import time
from typing import Any, BinaryIO

try:
    # The engine alone starts in a third of the time that the package around it takes.
    import _duckdb as duckdb
except ImportError:
    import duckdb  # type: ignore[no-redef]

MEMORY_LIMIT = "256MB"
MAX_CELL = 65_536

_CONFIG: dict[str, Any] = {
    "threads": "1",
    "memory_limit": MEMORY_LIMIT,
    "temp_directory": "",
    "max_temp_directory_size": "0B",
    "max_expression_depth": "100",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_unsigned_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
    "python_scan_all_frames": "false",
}


def _give_up_rights(address_space: int) -> None:
    """Nothing written, no core, few files, no privileges, ``address_space`` bytes of memory."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(38, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    _limit(resource.RLIMIT_NOFILE, 64)
    if sys.platform == "linux":
        # macOS does not enforce RLIMIT_AS; there the parent's kill is the limit.
        _limit(resource.RLIMIT_AS, address_space)


def _limit(kind: int, most: int) -> None:
    """Lower a limit of this process to ``most``."""
    hard = resource.getrlimit(kind)[1]
    limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (limit, limit))


class _Watchdog:
    """Interrupts the running query again and again once it has used its processor time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: Any = None
        self._deadline = 0.0
        threading.Thread(target=self._loop, daemon=True).start()

    def watch(self, cursor: Any, limit_s: float) -> None:
        with self._lock:
            self._cursor, self._deadline = cursor, time.process_time() + limit_s

    def _loop(self) -> None:
        # A single interrupt sent while a statement is planned is lost, so it is repeated.
        while True:
            time.sleep(0.02)
            with self._lock:
                if self._cursor is not None and time.process_time() > self._deadline:
                    self._cursor.interrupt()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, int | float | str):
        return value[:MAX_CELL] if isinstance(value, str) else value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return float(value) if hasattr(value, "__float__") else str(value)[:MAX_CELL]


def _kind(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, duckdb.InterruptException):
        return "timeout"
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError) or "bad_alloc" in text:
        return "memory"
    return "execution_error"


def _run(connection: Any, request: dict[str, Any], watchdog: _Watchdog) -> dict[str, Any]:
    cursor = connection.cursor()
    max_rows = int(request.get("max_rows", 10_000))
    watchdog.watch(cursor, request["limit_s"])
    try:
        if request.get("parse"):
            return {"parsed": [_parse(cursor, text) for text in request["parse"]]}
        cursor.execute(request["sql"], request.get("params") or [])
        rows = cursor.fetchmany(max_rows + 1)
        if len(rows) > max_rows:
            return {"error": "memory", "detail": f"more than {max_rows} rows"}
        return {"rows": [[_plain(value) for value in row] for row in rows]}
    # The boundary where a failure becomes data; Fatal and Internal errors end the process.
    except (duckdb.Error, MemoryError, UnicodeError, RuntimeError) as error:
        last = isinstance(error, duckdb.FatalException | duckdb.InternalException)
        kind = _kind(error)
        return {
            "error": "crash" if last else kind,
            "detail": str(error)[:300],
            "last": last or kind in ("memory", "timeout"),
        }
    finally:
        watchdog.watch(None, 0.0)
        cursor.close()


def _parse(cursor: Any, text: str) -> str | None:
    """The syntax tree of ``text`` as DuckDB's JSON, None unless it is one SELECT. Runs nothing."""
    try:
        statements = cursor.extract_statements(text)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            return None
        tree = cursor.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchone()[0]
    except (duckdb.Error, TypeError, ValueError, UnicodeError):
        return None
    return str(tree)


def _receive(incoming: BinaryIO, requests: queue.SimpleQueue[bytes]) -> None:
    """Hand on requests; end the process with its input, also while a query runs.

    Not PR_SET_PDEATHSIG: it watches the thread that started the worker, which may end early.
    """
    while len(head := incoming.read(8)) == 8:
        requests.put(incoming.read(int.from_bytes(head, "big")))
    os._exit(0)


def _send(outgoing: BinaryIO, answer: dict[str, Any]) -> None:
    content = json.dumps(answer).encode()
    outgoing.write(len(content).to_bytes(8, "big") + content)
    outgoing.flush()


def main() -> None:
    """Serve requests until the pipe closes."""
    # Ctrl-C reaches every process of a terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    incoming = os.fdopen(int(sys.argv[3]), "rb")
    outgoing = os.fdopen(int(sys.argv[4]), "wb")
    connection = duckdb.connect(sys.argv[1], read_only=True, config=_CONFIG)
    connection.execute("SET enable_external_access=false")
    connection.execute("SET lock_configuration=true")
    _give_up_rights(int(sys.argv[2]))
    watchdog = _Watchdog()
    _send(outgoing, {"ready": True})
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(incoming, requests), daemon=True).start()
    while True:
        answer = _run(connection, json.loads(requests.get()), watchdog)
        _send(outgoing, answer)
        if answer.get("last"):
            break
    os._exit(0)


if __name__ == "__main__":
    main()
