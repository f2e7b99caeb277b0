"""Training batches cut from length order: seeded, complete, padded to their own longest row.

Input: token rows, batch size, seed. Output: for each iteration the rows of its batch, as a pure
function, so that the data position of a resumed run is a single number; :class:`BatchIterator`
presents them as mlx-lm's ``iterate_batches``. An epoch sorts the rows by length (ties in seeded
order, so that neighbours change from epoch to epoch), cuts consecutive batches, keeps the last
partial one and visits all in seeded order. mlx-lm sorts by the wrong length and drops the last
batch (``tuner/trainer.py: iterate_batches``, ml-explore/mlx-lm#596).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.backend import mx
from harness.data.tokens import TokenizedExample
from harness.measure.batch_plan import length_batches, pad
from harness.train.loss_function import scored_positions, span_targets


@dataclass(frozen=True)
class Schedule:
    """Which rows make up which batch: a pure function of lengths, batch size, seed, iteration."""

    lengths: tuple[int, ...]
    batch_size: int
    seed: int

    @property
    def per_epoch(self) -> int:
        """Batches in one pass over the rows."""
        return -(-len(self.lengths) // self.batch_size)

    def epoch(self, number: int) -> list[list[int]]:
        """Every batch of epoch ``number`` (from 0) in training order."""
        generator = np.random.default_rng([self.seed, number])
        tied = generator.permutation(len(self.lengths))
        lengths = [self.lengths[index] for index in tied]
        cut = length_batches(lengths, self.batch_size, longest_first=False)
        return [[int(tied[index]) for index in cut[at]] for at in generator.permutation(len(cut))]

    def iterate(self, start: int) -> Iterator[list[int]]:
        """Batches without end, from iteration ``start`` (0 is the first)."""
        number, position = divmod(start, self.per_epoch)
        while True:
            yield from self.epoch(number)[position:]
            number, position = number + 1, 0


@dataclass(frozen=True)
class TargetCounts:
    """One iteration's counts over all ranks."""

    tokens: int
    """Real tokens, pads not counted."""
    targets: int
    """Scored targets."""
    denominator: float
    """What :func:`~harness.train.loss_function.training_loss` divides by."""


@dataclass(frozen=True)
class Shapes:
    """To what the shapes of a batch are rounded up. On a GPU mlx-lm's step is compiled anew for
    each shape, so they are few there; what is filled in is never scored."""

    width: int = 1
    """Columns that a model reads are a multiple of this."""
    positions: int = 1
    """Scored positions are a multiple of this."""


EXACT = Shapes()
FEW = Shapes(width=32, positions=128)
"""mlx-lm pads to 32 too."""


@dataclass
class BatchIterator:
    """mlx-lm's ``iterate_batches`` over a :class:`Schedule`, with a hook between iterations.

    ``train`` requests the next batch once the previous update is evaluated, so that
    ``on_iteration_end`` sees the weights after exactly that many iterations, outside of mlx-lm's
    step timer.
    """

    rows: Sequence[TokenizedExample]
    schedule: Schedule
    accumulate: int = 1
    mask_prompt: bool = False
    max_length: int = 2048
    shapes: Shapes = EXACT
    start: int = 0
    """Iterations already done; a resumed run sets it (a multiple of ``accumulate``)."""
    counts: TargetCounts = TargetCounts(0, 0, 1.0)
    """Of the batch that was yielded last."""
    first_of_its_shape: bool = False
    """Whether no batch before it, since ``start``, had the shapes of the one yielded last."""
    _shapes_met: set[tuple[int, ...]] = field(default_factory=set)
    on_iteration_end: Callable[[int], None] = lambda done: None
    """Called with the number of iterations done before each further batch is made."""
    on_batch_ready: Callable[[], None] = lambda: None
    """Called when a batch is ready, just before mlx-lm's step begins."""

    def __call__(
        self, comm_group: Any = None, **_: Any
    ) -> Iterator[tuple[mx.array, mx.array, mx.array, mx.array]]:
        """Yield ``(tokens, spans, denominator, positions)`` of each batch.

        ``tokens`` is ``(rows, longest)``, ``spans`` is ``(rows, 2)``, ``denominator`` a scalar,
        ``positions`` those of :func:`~harness.train.loss_function.scored_positions`. Of mlx-lm's
        keyword arguments only ``comm_group`` is used.
        """
        rank, size = (comm_group.rank(), comm_group.size()) if comm_group else (0, 1)
        batches = self.schedule.iterate(self.start)
        done = self.start
        while True:
            group = [next(batches) for _ in range(self.accumulate)]
            targets = sum(span_targets(*self.span(row)) for batch in group for row in batch)
            denominator = max(1, targets) / (self.accumulate * size)
            for batch in group:
                self.on_iteration_end(done)
                spans = [self.span(row) for row in batch]
                self.counts = TargetCounts(
                    tokens=sum(length for _, length in spans),
                    targets=sum(span_targets(*span) for span in spans),
                    denominator=denominator,
                )
                made = self._arrays(batch[rank::size], denominator)
                shape = (*made[0].shape, made[3].size)
                self.first_of_its_shape = shape not in self._shapes_met
                self._shapes_met.add(shape)
                self.on_batch_ready()
                yield made
                done += 1

    def span(self, row: int) -> tuple[int, int]:
        """``(start, length)`` of the scored part of a row."""
        example = self.rows[row]
        length = min(len(example.tokens), self.max_length)
        return (example.prompt_length if self.mask_prompt else 0), length

    def _arrays(
        self, rows: Sequence[int], denominator: float
    ) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        spans = [self.span(row) for row in rows]
        tokens = pad([self.rows[row].tokens[: self.max_length] for row in rows], self.shapes.width)
        if not rows:  # a partial batch with fewer rows than ranks: nothing is scored here
            tokens, spans = np.zeros((1, 2), np.int32), [(0, 0)]
        positions = scored_positions(spans, tokens.shape[1] - 1, self.shapes.positions)
        scale = mx.array(denominator, mx.float32)
        return mx.array(tokens), mx.array(spans), scale, mx.array(positions)
