"""Batches on their way: ready batches -> one token a row a step, until every row is done.

One batch at a time, a row leaving the moment it is done; or, where the model answers several
batches as one (``models/joined.py``), the next batch joins as soon as there is room for its rows.
Rows then leave some at a time: each leaving copies the caches of all that stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.measure.decode import BatchDecoder

Ready = Iterator[tuple[tuple[int, ...], BatchDecoder]]
"""Positions of the rows of a batch, and the batch."""

_LEAVING = 4  # a quarter of the rows leaves together


def run(ready: Ready, batch_size: int, batches: int, take: Callable[[int, int], bool]) -> None:
    """Decode every row of every batch.

    Args:
        ready: batches, each asked for when it can begin.
        batch_size: most rows of one.
        batches: so many may be decoded as one.
        take: given a row's position and its next token; whether the row goes on.
    """
    rows: list[int] = []
    going: set[int] = set()
    decoder: BatchDecoder | None = None
    while True:
        while len(rows) + batch_size <= batches * batch_size:
            if (found := next(ready, None)) is None:
                break
            positions, batch = found
            if decoder is None:
                decoder = batch
            else:
                decoder.take_in(batch)
            rows += positions
            going.update(positions)
        if decoder is None:
            return
        for row, token in zip(rows, decoder.step(), strict=True):
            if row in going and not take(row, token):
                going.remove(row)
        leaving = len(rows) - len(going)
        if not going:
            rows, decoder = [], None
        elif leaving and (batches == 1 or leaving * _LEAVING >= len(rows)):
            decoder.keep([place for place, row in enumerate(rows) if row in going])
            rows = [row for row in rows if row in going]
