"""What disks do to files: cut them, zero them, flip a bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[bytes, random.Random], bytes]


def cut(content: bytes, generator: random.Random) -> bytes:
    return content[: generator.randrange(len(content))]


def zeroed(content: bytes, generator: random.Random) -> bytes:
    return bytes(len(content))


def flipped(content: bytes, generator: random.Random) -> bytes:
    place = generator.randrange(len(content))
    return (
        content[:place]
        + bytes([content[place] ^ 1 << generator.randrange(8)])
        + content[place + 1 :]
    )


DAMAGES = [cut, zeroed, flipped]


def spoil(file: Path, damage: Damage, seed: int = 0) -> None:
    file.write_bytes(damage(file.read_bytes(), random.Random(seed)))
