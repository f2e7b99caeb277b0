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
from dataclasses import dataclass

from harness.disk.files import content_key, sha256_file
from harness.distributed.coordinator import Coordinator, RankError
from harness.distributed.launch import launch_variables, without_launch
from harness.errors import UserError
from harness.models.weights import ADAPTER_CONFIG, ADAPTER_FILE
from harness.progress import ProgressCallback, silent
from harness.schema import stage_results as calls
from harness.schema.stage_results import (
    SHARED,
    Call,
    EvaluateRequest,
    FinetuneRequest,
    OpenRequest,
    Request,
    Result,
)
from harness.schema.variant_result import CurvePoint, Record
from harness.worker.client import KernelFault, Worker, WorkerError

JOIN_S = 120.0
"""How long the model processes may take to connect with one another."""


@dataclass(eq=False)
class RankedWorker:
    """One variant's model processes: rank 0's at once, the others' with the first shared call."""

    coordinator: Coordinator
    label: str
    notify: Callable[[str], None]
    on_row: Callable[[CurvePoint], None]
    _opening: OpenRequest | None = None
    _own: Worker | None = None

    def call(
        self, call: Call[Request, Result], request: Request, progress: ProgressCallback = silent
    ) -> Result:
        """As :meth:`Worker.call`; shared calls on every rank.

        Raises:
            UserError: a mistake of the user's, found by any rank.
            KernelFault: code that MLX compiled may be damaged on a rank.
            RankError: a rank died or failed.
            WorkerError: rank 0's process failed in a call that is not shared.
        """
        if isinstance(request, OpenRequest):
            self._opening = request
        own = self._process(call.name, progress)
        if call not in SHARED:
            return own.call(call, request, progress)
        coordinator = self.coordinator
        try:
            if coordinator.holder is not self:
                self._join(own, progress)
            sent = self._send_files(request)
            return coordinator.compute(own, call, request, sent, progress)
        except RankError:
            coordinator.abandon()
            own.kill()
            raise
        except (UserError, KernelFault):
            if coordinator.late:
                coordinator.abandon()
            self.close()  # the group is out of step
            raise

    def close(self) -> None:
        """End the processes on every rank."""
        number = None
        if self.coordinator.holder is self:
            self.coordinator.holder = None
            with contextlib.suppress(RankError):
                # Before rank 0's own: under MPI a process ends when all of them do.
                number = self.coordinator.send("close")
        if self._own is not None:
            self._own.close()
            self._own = None
        if number is not None:
            with contextlib.suppress(RankError):
                self.coordinator.wait("close", number)

    def _process(self, call: str, progress: ProgressCallback) -> Worker:
        """Rank 0's process, started again if another variant took its place in the group."""
        if self._own is None:
            alone = without_launch(os.environ)
            self._own = Worker(self.label, alone, notify=self.notify, on_row=self.on_row)
            if call != calls.OPEN.name and self._opening is not None:
                self._own.call(calls.OPEN, self._opening, progress)
        return self._own

    def _join(self, own: Worker, progress: ProgressCallback) -> None:
        """Open the others' processes and connect them all; one variant at a time."""
        assert self._opening is not None  # the first call opens
        facts = own.call(calls.RANK_FACTS, calls.Nothing(), progress)
        if self.coordinator.holder is not None:
            self.coordinator.holder.close()
        self.coordinator.holder = self
        # Theirs are compared with rank 0's below.
        opening = self._opening.model_copy(update={"expected": {}})
        answers = self.coordinator.request(
            "open", label=self.label, request=opening.model_dump(mode="json")
        )
        for name, answer in zip(self.coordinator.peers.names, answers, strict=True):
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
            request = calls.JoinRequest(size=self.coordinator.size, variables=variables)
            # Each of the others has variables of its own.
            self.coordinator.compute(own, calls.JOIN, request, {"variables": {}}, progress)
        except WorkerError as error:
            if watch.is_alive():
                raise
            raise RankError(
                f"the ranks did not connect with one another within {JOIN_S:.0f} s: see that the "
                "addresses of the hostfile reach each machine from its neighbour (firewall)."
            ) from error
        finally:
            watch.cancel()

    def _send_files(self, request: Record) -> dict[str, str]:
        """Send copies of the adapter, or of an interrupted training's state, to the other ranks.

        Returns:
            The fields of the request that name the copies.
        """
        names = {}
        if isinstance(request, EvaluateRequest) and request.adapter is not None:
            files = [request.adapter / name for name in (ADAPTER_FILE, ADAPTER_CONFIG)]
            found = [file for file in files if file.is_file()]
            names["adapter"] = content_key([sha256_file(file) for file in found])
            for file in found:
                self.coordinator.send_file(names["adapter"], file)
        if isinstance(request, EvaluateRequest | FinetuneRequest):
            names["work"] = request.work.name
            for file in sorted((request.work / "state").glob("state-*")):
                self.coordinator.send_file(f"{names['work']}/state", file)
        return names
