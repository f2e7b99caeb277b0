"""The process that reads texts: a pickled (text, table) in, its pickled reading out.

Started by bounded.py with two descriptors, it serves frames (sql/limited_process.py) until its
input closes. Only the command itself writes to it, and only texts and headers are in what it gets.
An empty frame tells the command that the time until the next empty frame is not the text's: sqlglot
is loaded when a text first needs it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import resource
import signal
import sys
from typing import BinaryIO

from harness.data.records import Table
from harness.sql.column_names import Names
from harness.sql.failures import Failure
from harness.sql.limited_process import HEAD_BYTES, frame
from harness.sql.read.reader import Reader, Reading

MAX_ADDRESS_SPACE = 2 << 30
_TABLES = 1_000
_SQLGLOT_READER = "harness.sql.read.sqlglot_reader"


class _Served:
    """Reads for the command; keeps the names of the last tables."""

    def __init__(self, outgoing: BinaryIO) -> None:
        self._outgoing = outgoing
        self._reader = Reader()
        self._tables: dict[Table, Table] = {}
        # Its import fails, until a text needs it.
        sys.modules[_SQLGLOT_READER] = None  # type: ignore[assignment]

    def send(self, content: bytes) -> None:
        """Send a frame at once."""
        self._outgoing.write(frame(content))
        self._outgoing.flush()

    def read(self, text: str, table: Table) -> Reading:
        """The reading of a text; a failure whatever happens."""
        if len(self._tables) > _TABLES:
            self._tables.clear()
            self._reader = Reader()
        table = self._tables.setdefault(table, table)
        try:
            try:
                return self._reader.reading(text, table)
            except ModuleNotFoundError:
                self._load_sqlglot()
                return self._reader.reading(text, table)
        except (RecursionError, MemoryError):
            return Reading(Failure("too_long", "reading it needs too much memory"))
        # No text ends the command, not even one that finds a fault of the reader.
        except Exception as error:
            what = f"a fault of the reader: {type(error).__name__}: {error}"[:200]
            return Reading(Failure("syntax", what))

    def _load_sqlglot(self) -> None:
        self.send(b"")
        del sys.modules[_SQLGLOT_READER]
        module = importlib.import_module(_SQLGLOT_READER)
        # Every dialect is tried on what none can parse, and so is loaded.
        module.read_sql("SELECT a FROM b WHERE (", Names(Table("b", ("a",), ("text",), ())))
        self.send(b"")


def main() -> None:
    """Serve requests until the pipe closes."""
    # Ctrl-C reaches every process of a terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE, hard))
    incoming = os.fdopen(int(sys.argv[1]), "rb")
    served = _Served(os.fdopen(int(sys.argv[2]), "wb"))
    served.send(b"ready")
    while len(head := incoming.read(HEAD_BYTES)) == HEAD_BYTES:
        text, table = pickle.loads(incoming.read(int.from_bytes(head, "big")))
        served.send(pickle.dumps(served.read(text, table)))


if __name__ == "__main__":
    main()
