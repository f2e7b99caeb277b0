"""A variant's model process on every rank, with the interface of a single one.

Training, losses and answers run on all ranks together; loading, timing and fusing run on rank 0
alone. The others' processes are only opened, and MLX's group is only joined, when the first shared
call comes, so that a run that finds all in the cache, and every timing, is as on one rank.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.disk.files import content_key, sha256_file
from harness.distributed.coordinator import Coordinator, RankError
from harness.distributed.launch import launch_variables, without_launch
from harness.errors import UserError
from harness.models.weights import ADAPTER_CONFIG, ADAPTER_FILE
from harness.progress import ProgressCallback, print_message, silent
from harness.schema.stage_results import (
    ANSWERS,
    FINETUNE,
    JOIN,
    LOSSES,
    OPEN,
    RANK_FACTS,
    Call,
    JoinRequest,
    Nothing,
    OpenRequest,
    Request,
    Result,
)
from harness.worker.client import Worker, WorkerError

SHARED = (FINETUNE.name, LOSSES.name, ANSWERS.name)
"""Calls that every rank takes part in."""

JOIN_S = 120.0
"""How long the model processes may take to connect with one another."""


class RankedWorker:
    """One variant's model processes: rank 0's at once, the others' with the first shared call."""

    def __init__(
        self,
        coordinator: Coordinator,
        label: str,
        notify: Callable[[str], None] = print_message,
    ) -> None:
        self._coordinator = coordinator
        self._label = label
        self._notify = notify
        self._opening: OpenRequest | None = None
        self._own: Worker | None = None

    def call(
        self, call: Call[Request, Result], request: Request, progress: ProgressCallback = silent
    ) -> Result:
        """As :meth:`Worker.call`; shared calls on every rank.

        Raises:
            UserError: a mistake of the user's, found by any rank.
            RankError: a rank died or failed.
            WorkerError: rank 0's process failed in a call that is not shared.
        """
        if isinstance(request, OpenRequest):
            self._opening = request
        own = self._process(call.name, progress)
        if call.name not in SHARED:
            return own.call(call, request, progress)
        coordinator = self._coordinator
        try:
            if not coordinator.holds(self):
                self._join(own, progress)
            sent = self._send_files(request.model_dump())
            return coordinator.compute(own, call, request, sent, progress)
        except RankError:
            coordinator.abandon()
            own.kill()
            raise
        except UserError:
            if coordinator.late:
                coordinator.abandon()
            self.close()  # the group is out of step
            raise

    def close(self) -> None:
        """End the processes on every rank."""
        number = None
        if self._coordinator.holds(self):
            self._coordinator.give_up()
            with contextlib.suppress(RankError):
                # Before rank 0's own: under MPI a process ends when all of them do.
                number = self._coordinator.send("close")
        if self._own is not None:
            self._own.close()
            self._own = None
        if number is not None:
            with contextlib.suppress(RankError):
                self._coordinator.wait("close", number)

    def _process(self, call: str, progress: ProgressCallback) -> Worker:
        """Rank 0's process, started again if another variant took its place in the group."""
        if self._own is None:
            self._own = Worker(self._label, without_launch(os.environ), notify=self._notify)
            if call != OPEN.name and self._opening is not None:
                self._own.call(OPEN, self._opening, progress)
        return self._own

    def _join(self, own: Worker, progress: ProgressCallback) -> None:
        """Open the others' processes and connect them all; one variant at a time."""
        assert self._opening is not None  # the first call opens
        facts = own.call(RANK_FACTS, Nothing(), progress)
        self._coordinator.claim(self, self.close)
        # Theirs are compared with rank 0's below.
        opening = self._opening.model_copy(update={"kernels": facts.kernels, "expected": {}})
        answers = self._coordinator.request(
            "open", label=self._label, request=opening.model_dump(mode="json")
        )
        for name, answer in zip(self._coordinator.names, answers, strict=True):
            for item, digest in facts.must_match.items():
                if answer[item] != digest:
                    raise UserError(
                        f"{name} has another {item} than rank 0 ({answer[item][:12]}, not "
                        f"{digest[:12]}): copy rank 0's, or have both fetch the same revision."
                    )
        # A connection that a firewall drops is waited for without end.
        watch = threading.Timer(JOIN_S, own.kill)
        watch.start()
        try:
            variables = launch_variables(os.environ)
            request = JoinRequest(size=self._coordinator.size, variables=variables)
            # Each of the others has variables of its own.
            self._coordinator.compute(own, JOIN, request, {"variables": {}}, progress)
        except WorkerError as error:
            if watch.is_alive():
                raise
            raise RankError(
                f"the ranks did not connect with one another within {JOIN_S:.0f} s: see that the "
                "addresses of the hostfile reach each machine from its neighbour (firewall)."
            ) from error
        finally:
            watch.cancel()

    def _send_files(self, request: dict[str, Any]) -> dict[str, str]:
        """Send copies of the adapter, or of an interrupted training's state, to the other ranks.

        Returns:
            The fields of the request that name the copies.
        """
        names = {}
        if request.get("adapter") is not None:
            folder = Path(request["adapter"])
            files = [folder / name for name in (ADAPTER_FILE, ADAPTER_CONFIG)]
            found = [file for file in files if file.is_file()]
            names["adapter"] = content_key([sha256_file(file) for file in found])
            for file in found:
                self._coordinator.send_file(names["adapter"], file)
        if request.get("work") is not None:
            names["work"] = Path(request["work"]).name
            for file in sorted((Path(request["work"]) / "state").glob("state-*")):
                self._coordinator.send_file(f"{names['work']}/state", file)
        return names
