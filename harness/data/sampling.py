"""Which N examples represent a split: `Split`, N, seed -> the first N of one fixed shuffle.

The shuffle is stratified by table: each table's examples are spread evenly over the order, so that
every prefix holds each table in proportion and a short one holds examples of as many tables as it
can (examples of one table resemble each other, so this narrows the interval). Over seeds, examples
of small and of large tables are drawn at the same rate (within 2% for 40 of 210). A longer prefix
contains the shorter one.
"""

from __future__ import annotations

import random
from collections import defaultdict

from harness.data.records import Example, Split
from harness.errors import UserError


def stratified(split: Split, n: int, seed: int) -> list[Example]:
    """The first ``n`` examples of ``split``'s seeded, table-stratified shuffle.

    -1 is all, and more than there are gives all, shuffled. The same seed gives the same order on
    every platform.

    Raises:
        UserError: ``n`` is 0 or below -1.
    """
    if n == 0 or n < -1:
        raise UserError(f"cannot take {n} examples; allowed: 1 or more, or -1 for all.")
    generator = random.Random(seed)
    by_table: dict[str, list[Example]] = defaultdict(list)
    for example in split.examples:
        by_table[example.table_id].append(example)
    keyed: list[tuple[float, float, Example]] = []
    for group in by_table.values():
        # Sorted by random numbers: Python does not promise shuffle()'s algorithm across versions.
        drawn = sorted((generator.random(), index) for index in range(len(group)))
        start = generator.random()
        for position, (_, index) in enumerate(drawn):
            key = (position + start) / len(group)
            keyed.append((key, generator.random(), group[index]))
    keyed.sort(key=lambda item: item[:2])
    chosen = [example for _, _, example in keyed]
    return chosen if n == -1 else chosen[:n]
