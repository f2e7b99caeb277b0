"""Work shared among the ranks of MLX's group: whole units by turns, results gathered.

A unit is computed by one rank exactly as a single process would compute it, and its result comes
to all of them bit for bit, so that sharing changes no number. :data:`SINGLE_RANK` is a plain run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.backend import mx
from harness.errors import UserError


@dataclass(frozen=True, slots=True)
class Shard:
    """This process's share: rank ``rank`` of ``size``."""

    rank: int = 0
    size: int = 1

    @classmethod
    def of_the_group(cls, size: int | None = None) -> Shard:
        """The share of this process in MLX's group, which it joins if it has not yet.

        Raises:
            UserError: the group is not of ``size`` ranks.
        """
        group = mx.distributed.init()
        if size not in (None, group.size()):
            raise UserError(
                f"MLX formed a group of {group.size()}, not of {size} ranks. With MPI, is Open "
                "MPI's library found? MLX_MPI_LIBNAME may name it (libmpi.so.40, libmpi.dylib)."
            )
        return cls(group.rank(), group.size())

    def takes(self, unit: int) -> bool:
        """Whether the unit with this number is ours."""
        return unit % self.size == self.rank

    def of_all(self, ours: int, total: int) -> int:
        """About how many of ``total`` all ranks have done when this one has done ``ours``."""
        return min(total, ours * self.size)

    def gather(self, value: Any) -> list[Any]:
        """Every rank's ``value``, by rank; all ranks must call it. JSON, floats exactly."""
        if self.size == 1:
            return [value]
        text = np.frombuffer(json.dumps(value).encode("utf-8"), np.uint8)
        lengths: Any = mx.distributed.all_gather(mx.array([text.size]))
        sizes: list[int] = lengths.tolist()
        padded = np.zeros((1, max(sizes)), np.uint8)
        padded[0, : text.size] = text
        together = np.array(mx.distributed.all_gather(mx.array(padded)))
        return [json.loads(row[:size].tobytes()) for row, size in zip(together, sizes, strict=True)]


SINGLE_RANK = Shard()
"""The share of a plain run: everything."""
