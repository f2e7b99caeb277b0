"""Which of several ranks this process is, by the environment of `mlx.launch` or `mpirun`.

Environment variables -> :class:`Ranks`, or None for a plain run. MLX itself reads the same
variables in ``mx.distributed.init``; nothing here imports it. Besides rank and size this finds
where rank 0 listens for the others (``peers``): on the port after those of MLX's own connections,
or at ``TUNEBENCH_COORDINATOR=HOST:PORT``.

Sources: mlx 0.32 ``_distributed_utils/launch.py`` (ring, jaccl, nccl); Open MPI's documented
environment (``OMPI_COMM_WORLD_*``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import UserError

COORDINATOR = "TUNEBENCH_COORDINATOR"
# Beginnings of names. OMPI_ALLOW_RUN_AS_ROOT and its kind are the user's, and do no harm.
_OF_MPI = ("OMPI_", "PMIX_", "PRTE_")
_OF_MLX = ("MLX_RANK", "MLX_HOSTFILE", "MLX_WORLD_SIZE", "MLX_IBV_DEVICES", "MLX_JACCL", "NCCL_")
_FIRST_PORT, _PORTS = 20_000, 10_000
"""Where rank 0 listens under MPI on one machine: a port by the job's name."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among those that were launched together."""

    rank: int
    size: int
    backend: str
    """MLX's name of it: ``ring``, ``mpi``, ``jaccl`` or ``nccl``."""
    host: str
    """Rank 0's address for the other ranks."""
    port: int


def from_environment(environment: Mapping[str, str]) -> Ranks | None:
    """The ranks of a launch; None for a plain run, also where only one rank was launched.

    Raises:
        UserError: the variables contradict themselves, or do not name rank 0's host.
    """
    found = _of_mlx(environment) or _of_mpi(environment)
    if found is None or found.size < 2:
        return None
    if not 0 <= found.rank < found.size:
        raise UserError(f"rank {found.rank} of {found.size} ranks: launch again with mlx.launch")
    if COORDINATOR in environment:
        host, port = _address(environment[COORDINATOR], COORDINATOR)
        return replace(found, host=host, port=port)
    if not found.host:
        raise UserError(
            "the ranks of this MPI job are on several machines, and rank 0's address is unknown. "
            f"Set {COORDINATOR}=HOST:PORT on all of them, e.g. with mlx.launch --env "
            f"{COORDINATOR}=mac1.local:32300, HOST being rank 0's and PORT a free one there."
        )
    return found


def launch_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables by which MLX finds its group."""
    return {
        name: value for name, value in environment.items() if name.startswith(_OF_MLX + _OF_MPI)
    }


def without_launch(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` for a process that works alone until it is called to join."""
    of_launch = launch_variables(environment)
    return {name: value for name, value in environment.items() if name not in of_launch}


def _of_mlx(environment: Mapping[str, str]) -> Ranks | None:
    if "MLX_RANK" not in environment:
        return None
    rank = int(environment["MLX_RANK"])
    if "MLX_HOSTFILE" in environment:
        nodes = _nodes(environment["MLX_HOSTFILE"])
        if not nodes:
            return None
        addresses = [_address(text, "MLX_HOSTFILE") for node in nodes for text in node]
        last = max(port for _, port in addresses)
        return Ranks(rank, len(nodes), "ring", addresses[0][0], last + 1)
    if "MLX_JACCL_COORDINATOR" in environment:
        host, port = _address(environment["MLX_JACCL_COORDINATOR"], "MLX_JACCL_COORDINATOR")
        devices = json.loads(Path(environment["MLX_IBV_DEVICES"]).read_text(encoding="utf-8"))
        return Ranks(rank, len(devices), "jaccl", host, port + 1)
    if "NCCL_HOST_IP" in environment:
        host, port = environment["NCCL_HOST_IP"], int(environment["NCCL_PORT"])
        return Ranks(rank, int(environment["MLX_WORLD_SIZE"]), "nccl", host, port + 1)
    return None


def _nodes(file: str) -> list[list[str]]:
    """Addresses by rank; none where one rank was launched (mlx.launch leaves the file empty)."""
    text = Path(file).read_text(encoding="utf-8").strip() if file else ""
    if not text:
        return []
    try:
        nodes: Any = json.loads(text)
        return [[str(address) for address in node] for node in nodes]
    except (ValueError, TypeError) as error:
        raise UserError(
            f"MLX_HOSTFILE {file} is not a list of addresses by rank ({error}). Launch with "
            "mlx.launch, or write it as in MLX's documentation of the ring."
        ) from error


def _of_mpi(environment: Mapping[str, str]) -> Ranks | None:
    if "OMPI_COMM_WORLD_RANK" not in environment:
        return None
    size = int(environment["OMPI_COMM_WORLD_SIZE"])
    rank = int(environment["OMPI_COMM_WORLD_RANK"])
    job = environment.get("PMIX_NAMESPACE")
    if job is None or int(environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "0")) != size:
        return Ranks(rank, size, "mpi", "", 0)
    digest = hashlib.sha256(job.encode("utf-8")).digest()
    port = _FIRST_PORT + int.from_bytes(digest[:4], "big") % _PORTS
    return Ranks(rank, size, "mpi", "127.0.0.1", port)


def _address(text: str, source: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"{source} holds {text!r}, which is not HOST:PORT")
    return host.strip("[]"), int(port)
