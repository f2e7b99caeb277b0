"""Several ranks without a launch: their places, their messages, and which one caused a failure."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.distributed import connection as connection_module
from harness.distributed import peers
from harness.distributed.connection import Connection, ConnectionLost
from harness.distributed.coordinator import Coordinator, RankError
from harness.distributed.launch import Ranks, from_environment, launch_variables, without_launch
from harness.errors import UserError
from harness.progress import silent
from harness.schema.stage_results import FINETUNE, FinetuneRequest
from harness.worker.client import KernelFault, WorkerDied

MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_NAMESPACE": "job@1"}


def hostfile(folder: Path, nodes: object) -> dict[str, str]:
    file = folder / "hosts"
    file.write_text(json.dumps(nodes) if nodes else "\n", encoding="utf-8")
    return {"MLX_RANK": "1", "MLX_HOSTFILE": str(file)}


# --- who is who -------------------------------------------------------------------------------


def test_a_plain_process_and_a_launch_of_one_have_no_ranks(tmp_path: Path) -> None:
    assert from_environment({}) is None
    assert from_environment(hostfile(tmp_path, None)) is None
    assert from_environment({**MPI, "OMPI_COMM_WORLD_SIZE": "1"}) is None


def test_a_ring_names_rank_0s_address_and_the_port_after_its_own(tmp_path: Path) -> None:
    nodes = [["10.0.1.1:5000", "10.0.2.1:5001"], ["10.0.1.2:5002", "10.0.2.2:5003"]]
    found = from_environment(hostfile(tmp_path, nodes))
    assert found == Ranks(rank=1, size=2, backend="ring", host="10.0.1.1", port=5004)


def test_mpi_on_one_machine_agrees_on_a_port_by_the_jobs_name() -> None:
    local = {**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
    first, other = from_environment(local), from_environment({**local, "PMIX_NAMESPACE": "job@2"})
    assert first is not None
    assert other is not None
    assert (first.rank, first.size, first.backend, first.host) == (1, 4, "mpi", "127.0.0.1")
    assert first.port != other.port


def test_mpi_on_several_machines_asks_where_rank_0_is() -> None:
    apart = {**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    with pytest.raises(UserError, match="TUNEBENCH_COORDINATOR=HOST:PORT"):
        from_environment(apart)
    found = from_environment({**apart, "TUNEBENCH_COORDINATOR": "mac1.local:32300"})
    assert found is not None
    assert (found.host, found.port) == ("mac1.local", 32300)


def test_a_hostfile_that_is_none_is_named(tmp_path: Path) -> None:
    variables = hostfile(tmp_path, [["10.0.1.1"], ["10.0.1.2"]])
    with pytest.raises(
        UserError, match=r"MLX_HOSTFILE holds '10\.0\.1\.1', which is not HOST:PORT"
    ):
        from_environment(variables)


def test_the_variables_of_a_launch_are_distinguished_from_the_users() -> None:
    launch_set = {
        "MLX_RANK": "0",
        "MLX_HOSTFILE": "f",
        "OMPI_COMM_WORLD_SIZE": "2",
        "PMIX_RANK": "0",
    }
    own = {"PATH": "/bin", "MLX_MAX_OPS_PER_BUFFER": "8"}
    assert launch_variables({**launch_set, **own}) == launch_set
    assert without_launch({**launch_set, **own}) == own


# --- the connection ---------------------------------------------------------------------------


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]


def test_messages_and_blocks_arrive_as_sent() -> None:
    one, other = (Connection(end) for end in pair())
    block = bytes(range(256)) * 5000
    one.send({"do": "file", "name": "ä"}, block)
    one.send({"do": "end"})
    assert other.receive() == ({"do": "file", "name": "ä"}, block)
    assert other.receive() == ({"do": "end"}, b"")
    one.close()
    with pytest.raises(ConnectionLost, match="closed the connection"):
        other.receive()


@pytest.mark.slow
def test_a_silent_peer_is_noticed_and_beats_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SILENCE_S", 0.6)
    silent_end, watched = pair()
    with pytest.raises(ConnectionLost, match="silent"):
        Connection(watched).receive()
    silent_end.close()
    monkeypatch.setattr(connection_module, "HEARTBEAT_S", 0.1)
    beating, other = (Connection(end) for end in pair())
    threading.Timer(1.5, beating.send, ({"late": True},)).start()
    assert other.receive()[0] == {"late": True}


def test_a_stranger_on_the_port_is_no_rank() -> None:
    stranger, end = pair()
    stranger.sendall(b"GET / HTTP/1.1\r\nHost: mac1\r\n\r\n")
    with pytest.raises(ConnectionLost, match="not a tunebench process"):
        Connection(end).receive()


# --- rank 0 and a rank that a test plays ------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


class Played:
    """Rank 1's end of the connection."""

    def __init__(self, port: int, mlx: str = "0.32") -> None:
        self.connection = Connection(socket.create_connection(("127.0.0.1", port)))
        introduction = {"rank": 1, "host": "mac2", "pid": 77, "versions": {"mlx": mlx}}
        self.connection.send(introduction)

    def answer(self, **answer: Any) -> dict[str, Any]:
        """Take a question and answer it."""
        question, _ = self.connection.receive()
        self.connection.send({"to": question["number"], **answer})
        return question


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def coordinator(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Coordinator]:
    monkeypatch.setattr(peers, "LATE_S", 0.0)
    made = Coordinator(Ranks(0, 2, "ring", "127.0.0.1", port), {"mlx": "0.32"})
    yield made
    made.close()


def test_ranks_of_other_versions_are_refused_by_name(coordinator: Coordinator, port: int) -> None:
    Played(port, mlx="0.31")
    with pytest.raises(UserError, match=r"rank 1 \(mac2, process 77\) has mlx '0\.31'.*'0\.32'"):
        coordinator.peers.assemble()


def test_a_taken_port_is_refused_with_the_remedy(coordinator: Coordinator, port: int) -> None:
    with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port}.*--starting-port"):
        Coordinator(Ranks(0, 2, "ring", "127.0.0.1", port), {})


def test_answers_come_back_by_rank_and_errors_by_name(coordinator: Coordinator, port: int) -> None:
    played = Played(port)
    coordinator.peers.assemble()
    asked: list[dict[str, Any]] = []
    thread = threading.Thread(
        target=lambda: asked.append(played.answer(kind="result", value={"dataset": "d1"}))
    )
    thread.start()
    assert coordinator.request("open", label="lora") == [{"dataset": "d1"}]
    thread.join()
    assert (asked[0]["do"], asked[0]["label"]) == ("open", "lora")
    threading.Thread(
        target=played.answer, kwargs={"kind": "user_error", "text": "no model"}
    ).start()
    with pytest.raises(UserError, match=r"rank 1 \(mac2, process 77\): no model"):
        coordinator.request("open")


GIVES_UP_S = 60.0


class Waiting:
    """Stands for rank 0's model process in a ring whose other end died: waits until killed."""

    def __init__(self) -> None:
        self._killed = threading.Event()

    def call(self, call: Any, request: Any, progress: Any) -> Any:
        assert self._killed.wait(GIVES_UP_S), "nobody ended it"
        raise WorkerDied("lora: the model process died during finetune, killed by signal 9")

    def kill(self) -> None:
        self._killed.set()


@pytest.mark.parametrize("how", ["process", "machine"])
def test_a_rank_that_dies_is_to_blame_and_rank_0_stops_waiting(
    coordinator: Coordinator, port: int, how: str
) -> None:
    played = Played(port)
    coordinator.peers.assemble()
    if how == "process":
        death: dict[str, Any] = {"kind": "died", "text": "killed by signal 9"}
        threading.Timer(0.3, played.answer, kwargs=death).start()
    else:
        threading.Timer(0.3, played.connection.close).start()
    started = time.monotonic()
    worker: Any = Waiting()
    with pytest.raises(RankError, match=r"^rank 1 \(mac2, process 77\): .*during finetune"):
        coordinator.compute(
            worker, FINETUNE, FinetuneRequest(work=Path("w"), out=Path("o")), {}, silent
        )
    assert time.monotonic() - started < GIVES_UP_S
    with pytest.raises(RankError, match=r"^rank 1 "):
        coordinator.request("open")
    assert "rank 1" in (coordinator.cause() or "")


def test_code_that_was_damaged_on_a_rank_and_is_gone_ends_the_call_and_not_the_launch(
    coordinator: Coordinator, port: int
) -> None:
    played = Played(port)
    coordinator.peers.assemble()
    fault = {"kind": "kernel_fault", "text": "lora: died during losses, killed by signal 7"}
    threading.Timer(0.1, played.answer, kwargs=fault).start()
    worker: Any = Waiting()
    request = FinetuneRequest(work=Path("w"), out=Path("o"))
    with pytest.raises(KernelFault, match="killed by signal 7") as caught:
        coordinator.compute(worker, FINETUNE, request, {}, silent)
    assert caught.value.removed_from == "rank 1 (mac2, process 77)"
    assert coordinator.cause() is None
    threading.Timer(0.1, played.answer, kwargs={"kind": "result", "value": 1}).start()
    assert coordinator.request("open") == [1]


def test_files_are_sent_once(coordinator: Coordinator, port: int, tmp_path: Path) -> None:
    played = Played(port)
    coordinator.peers.assemble()
    file = tmp_path / "adapters.safetensors"
    file.write_bytes(b"weights")
    coordinator.send_file("key", file)
    coordinator.send_file("key", file)
    coordinator.send("close")
    received = [played.connection.receive() for _ in range(3)]
    message = {"do": "file", "folder": "key", "name": file.name}
    assert received[0] == ({**message, "new": True}, b"")
    assert received[1] == ({**message, "new": False}, b"weights")
    assert received[2][0]["do"] == "close"
