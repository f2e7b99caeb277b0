"""Work that failed is not tried again within a run.

Every section of a variant asks for its training; one that ran out of memory would do so once more
for each of them, after as long.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from harness.errors import UserError
from harness.worker.client import WorkerError


class Once:
    """Remembers the failures of pieces of work by name."""

    def __init__(self) -> None:
        self._failed: dict[Hashable, Exception] = {}

    @contextmanager
    def attempt(self, work: Hashable) -> Iterator[None]:
        """Do ``work`` in the block.

        Raises:
            UserError, WorkerError: the block's own, or those of an earlier attempt at the same.
        """
        if work in self._failed:
            raise self._failed[work]
        try:
            yield
        except (UserError, WorkerError) as error:
            self._failed[work] = error
            raise
