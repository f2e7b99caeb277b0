"""The process that runs queries, as the parent sees it: SQL in, rows or a failure out.

Database file -> :class:`Sandbox`, which answers requests and outlives its worker processes
(sql/limited_process.py). A query that overruns its limit of processor time or memory fails by
itself; what another query left behind, a killed worker or a stopped machine fails none. The sandbox
does not decide what runs (render.py and batch.py do) and does not change the results. The child's
side is sandbox_process.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from harness.machine.system import require_address_space
from harness.sql.failures import Failure
from harness.sql.limited_process import STALLED_S, LimitedProcess, same_python
from harness.sql.run.database import ADDRESS_SPACE_BYTES

_WORKER = Path(__file__).with_name("sandbox_process.py")
QUERY_LIMIT_S = 2.0
"""Seconds of processor time that a query may take."""
_KILL_AFTER_S = 1.0
"""Seconds beyond its limit after which a query that cannot be interrupted is killed."""
_OF_THE_QUERY = ("memory", "crash")
"""Failures that a worker may owe to an earlier query."""


class Sandbox:
    """Runs trusted SQL on a read-only database in a process of its own.

    :meth:`close` ends the worker. The first worker starts at once, so that it is ready when the
    texts have been read.

    Raises:
        UserError: the system allows it too little memory.
    """

    def __init__(
        self, database: Path, limit_s: float = QUERY_LIMIT_S, stalled_s: float = STALLED_S
    ) -> None:
        require_address_space(ADDRESS_SPACE_BYTES, "DuckDB")
        self._limit_s = limit_s
        command = [sys.executable, "-P", "-s", "-X", "faulthandler", str(_WORKER), str(database)]
        self.worker = LimitedProcess(
            "the process that runs queries (DuckDB)",
            [*command, str(ADDRESS_SPACE_BYTES)],
            same_python() | {"HOME": "/nonexistent"},
            database.parent,
            stalled_s,
        )
        self.worker.prepare()

    def close(self) -> None:
        """End the worker."""
        self.worker.close()

    def run(self, sql: str, params: list[Any] | None = None, max_rows: int = 10_000) -> Any:
        """The rows of one statement as lists, or a Failure; too many rows are a failure.

        Raises:
            EnvironmentFault: the machine lets no worker answer.
        """
        answer = self._ask({"sql": sql, "params": params, "max_rows": max_rows})
        return answer if isinstance(answer, Failure) else answer["rows"]

    def parse(self, texts: list[str]) -> list[str | None] | Failure:
        """DuckDB's syntax tree (JSON) of each text; None where the text is not one SELECT."""
        answer = self._ask({"parse": texts})
        return answer if isinstance(answer, Failure) else answer["parsed"]

    def _ask(self, request: dict[str, Any]) -> Any:
        request["limit_s"] = self._limit_s
        data = json.dumps(request).encode("utf-8", "replace")
        while True:
            (found,) = self.worker.ask([data], self._limit_s + _KILL_AFTER_S)
            if isinstance(found, Failure):
                return found
            answer = json.loads(found)
            if "error" not in answer:
                return answer
            alone = self.worker.served == 1
            if answer.get("last"):
                self.worker.replace()
                if not alone and answer["error"] in _OF_THE_QUERY:
                    continue
            return Failure(answer["error"], answer.get("detail", ""))
