"""A variant's model process on every rank, with the interface of a single one.

Training, losses and answers run on all ranks together; whatever is loaded, timed or fused runs on
rank 0 alone. The others are only opened, and MLX's group is only joined, when the first shared
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
from harness.distributed.coordinator import RankError, Team
from harness.distributed.launch import launch_variables, without_launch
from harness.errors import UserError
from harness.models.weights import ADAPTER_CONFIG, ADAPTER_FILE
from harness.progress import ProgressCallback, print_message, silent
from harness.worker.client import Worker, WorkerError

SHARED = ("finetune", "losses", "answers")
"""Methods of the workbench that every rank takes part in."""

JOIN_S = 120.0
"""How long the model processes may take to connect with one another."""


class RankedWorker:
    """One variant's model processes: rank 0's at once, the others' with the first shared call."""

    def __init__(
        self, team: Team, label: str, notify: Callable[[str], None] = print_message
    ) -> None:
        self._team = team
        self._label = label
        self._say = notify
        self._opening: dict[str, Any] = {}
        self._own: Worker | None = None

    def call(
        self, method: str, parameters: dict[str, Any], progress: ProgressCallback = silent
    ) -> dict[str, Any]:
        """As :meth:`Worker.call`; shared methods on every rank.

        Raises:
            UserError: a mistake of the user's, found by any rank.
            RankError: a rank died or failed.
            WorkerError: rank 0's process failed in a call that is not shared.
        """
        if method == "open":
            self._opening = parameters
        own = self._process(method, progress)
        if method not in SHARED:
            return own.call(method, parameters, progress)
        try:
            if self._team.joined is not self:
                self._join(own, progress)
            theirs = parameters | self._sent(parameters)
            return self._team.compute(own, method, parameters, theirs, progress)
        except RankError:
            self._team.abandon()
            own.kill()
            raise
        except UserError:
            if self._team.late:
                self._team.abandon()
            self.close()  # the group is out of step
            raise

    def close(self) -> None:
        """End the processes on every rank."""
        told = None
        if self._team.joined is self:
            self._team.joined = None
            with contextlib.suppress(RankError):
                # Before rank 0's own: under MPI a process ends when all of them do.
                told = self._team.send("close")
        if self._own is not None:
            self._own.close()
            self._own = None
        if told is not None:
            with contextlib.suppress(RankError):
                self._team.wait("close", told)

    def _process(self, method: str, progress: ProgressCallback) -> Worker:
        """Rank 0's process, started again if another variant took its place in the group."""
        if self._own is None:
            self._own = Worker(self._label, without_launch(os.environ), notify=self._say)
            if method != "open":
                self._own.call("open", self._opening, progress)
        return self._own

    def _join(self, own: Worker, progress: ProgressCallback) -> None:
        """Open the others' processes and connect them all; one variant at a time."""
        if self._team.joined is not None:
            self._team.joined.close()
        facts = own.call("facts", {}, progress)
        self._team.joined = self
        # Theirs are compared with rank 0's below.
        opening = {**self._opening, "kernels": facts["kernels"], "expected": None}
        answers = self._team.ask("open", label=self._label, parameters=opening)
        for name, answer in zip(self._team.names, answers, strict=True):
            for what, digest in facts["alike"].items():
                if answer[what] != digest:
                    raise UserError(
                        f"{name} has another {what} than rank 0 ({answer[what][:12]}, not "
                        f"{digest[:12]}): copy rank 0's, or have both fetch the same revision."
                    )
        # A connection that a firewall drops is waited for without end.
        watch = threading.Timer(JOIN_S, own.kill)
        watch.start()
        try:
            told = {"variables": launch_variables(os.environ), "size": self._team.size}
            # Each of the others has variables of its own.
            self._team.compute(own, "join", told, {"size": self._team.size}, progress)
        except WorkerError as error:
            if watch.is_alive():
                raise
            raise RankError(
                f"the ranks did not connect with one another within {JOIN_S:.0f} s: see that the "
                "addresses of the hostfile reach each machine from its neighbour (firewall)."
            ) from error
        finally:
            watch.cancel()

    def _sent(self, parameters: dict[str, Any]) -> dict[str, str]:
        """Copies of the adapter, or of the state to go on from, sent to the others: their names."""
        names = {}
        if parameters.get("adapter") is not None:
            folder = Path(parameters["adapter"])
            files = [folder / name for name in (ADAPTER_FILE, ADAPTER_CONFIG)]
            found = [file for file in files if file.is_file()]
            names["adapter"] = content_key([sha256_file(file) for file in found])
            for file in found:
                self._team.send_file(names["adapter"], file)
        if parameters.get("work") is not None:
            names["work"] = Path(parameters["work"]).name
            for file in sorted((Path(parameters["work"]) / "state").glob("state-*")):
                self._team.send_file(f"{names['work']}/state", file)
        return names
