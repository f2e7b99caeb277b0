"""Random choices that give the same result on every Python version.

Only `random.Random.random()` is promised to be stable across versions, so all else is built on it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Rng:
    """A seeded source of choices; the seed may be any text."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        """True with ``probability``."""
        return self._random.random() < probability

    def below(self, n: int) -> int:
        """A whole number in [0, n)."""
        return int(self._random.random() * n)

    def between(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return low + self.below(high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        """One of ``items``, which may not be empty."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """``items`` in random order."""
        keyed = [(self._random.random(), index) for index in range(len(items))]
        return [items[index] for _, index in sorted(keyed)]

    def sample(self, items: Sequence[T], n: int) -> list[T]:
        """``n`` of ``items`` (all, when there are fewer), in random order."""
        return self.shuffled(items)[:n]
