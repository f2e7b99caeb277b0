"""Ports for `mlx.launch` on loopback."""

from __future__ import annotations

import os
import socket


def free_ports(start: int) -> int:
    """The first of a few neighbouring ports from ``start`` on, below those systems hand out.

    Two files that may run at once start apart.
    """
    for first in range(start + os.getpid() % 5_000, 32_000, 7):
        try:
            for port in range(first, first + 4):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")
