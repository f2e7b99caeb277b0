"""Many questions to an endpoint, several at a time: conversations -> :class:`Reply`, in order.

Finished answers are kept in a file until all are there, so that a run that was broken off goes on.
Workers are daemons: Ctrl-C does not wait for a service that is slow to answer.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.disk.journal import Journal
from harness.endpoint.client import Endpoint, Message, Reply
from harness.progress import ProgressCallback

_FILE = "answers.journal"
_Outcome = tuple[int, Reply | Exception]


def answer_all(
    endpoint: Endpoint,
    asked: Sequence[Sequence[Message]],
    max_tokens: int,
    work: Path,
    progress: ProgressCallback,
    notify: Callable[[str], None],
) -> list[Reply]:
    """The answer to each conversation of ``asked``.

    Args:
        work: the folder that keeps finished answers; the caller removes it.

    Raises:
        UserError: one is not answered after all tries, or the disk refuses.
    """
    journal = Journal(work / _FILE, None)
    if journal.rows:
        kept = f"{len(journal.rows):,} of {len(asked):,}"
        notify(f"goes on from {kept} answers that a run which was broken off had")
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for place in range(len(asked)):
        if place not in journal.rows:
            waiting.put(place)
    outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                place = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                outcomes.put((place, endpoint.reply(asked[place], max_tokens)))
            except Exception as error:  # raised again below, in the thread that waits
                outcomes.put((place, error))
                return

    for _ in range(min(endpoint.settings.concurrency, waiting.qsize())):
        threading.Thread(target=ask, daemon=True).start()
    try:
        while len(journal.rows) < len(asked):
            place, outcome = outcomes.get()
            if isinstance(outcome, Exception):
                raise outcome
            journal.add({place: dataclasses.astuple(outcome)})
            progress("answers", len(journal.rows), len(asked))
    finally:
        stop.set()
    return [Reply(*journal.rows[place]) for place in range(len(asked))]
