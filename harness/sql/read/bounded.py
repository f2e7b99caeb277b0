"""Reading texts, each within a second of processor time that no text dodges.

(text, table) pairs -> readings, in order. A canonical text has one reading, which one pass over at
most :data:`QUICK_CHARACTERS` finds here. Every other text is read by a process of its own
(reading_process.py), which is killed and replaced when a text takes too long: no step of reading,
not even one inside a regular expression, can hold the command or touch another answer.
"""

from __future__ import annotations

import atexit
import os
import pickle
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from harness.data.records import Table
from harness.sql.failures import Failure
from harness.sql.limited_process import LimitedProcess, same_python
from harness.sql.read.reader import Reader, Reading, read_quickly

READING_LIMIT_S = 0.9
"""Seconds of processor time; the look at the clock comes up to a tenth later."""
QUICK_CHARACTERS = 1_000

_ROOT = Path(__file__).resolve().parents[3]
_lock = threading.Lock()


def read_all(items: Sequence[tuple[str, Table]], reader: Reader) -> list[Reading]:
    """The reading of each text about its table; ``reader`` keeps the names of the tables.

    Raises:
        EnvironmentFault: the machine lets no process read.
    """
    found: list[Reading | None] = []
    requests: list[bytes] = []
    bare: dict[int, Table] = {}
    for text, table in items:
        short = len(text) <= QUICK_CHARACTERS
        query = read_quickly(text, reader.names(table)) if short else None
        found.append(None if query is None else Reading(query, "dialect"))
        if query is None:
            if not requests:
                _process(os.getpid()).prepare()
            if id(table) not in bare:
                bare[id(table)] = replace(table, rows=())
            requests.append(pickle.dumps((text, bare[id(table)])))
    readings = iter(_read_apart(requests))
    return [next(readings) if one is None else one for one in found]


def _read_apart(requests: Sequence[bytes]) -> list[Reading]:
    with _lock:
        answers = _process(os.getpid()).ask(requests, READING_LIMIT_S) if requests else []
    return [
        Reading(Failure("too_long", f"reading it took {answer.detail}"))
        if isinstance(answer, Failure)
        else pickle.loads(answer)
        for answer in answers
    ]


@cache
def _process(owner: int) -> LimitedProcess:
    """The reading process of this process (``owner``): one for all, because starting it takes as
    long as reading a thousand texts."""
    process = LimitedProcess(
        "the process that reads answers",
        [sys.executable, "-P", "-X", "faulthandler", "-m", "harness.sql.read.reading_process"],
        same_python(_ROOT),
        _ROOT,
    )
    # A fork of this process inherits the handler, but not the process.
    atexit.register(lambda: process.close() if os.getpid() == owner else None)
    return process
