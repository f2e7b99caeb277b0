"""A process that answers requests, each within a limit: waited for, killed, replaced, tried again.

Requests (bytes) -> answers (bytes), one for each, or the failure of a request that overran. The
limit of an answer counts the process's own processor time, so that a stopped or busy machine turns
no right answer into a failure. An answer that is lost otherwise (the process was killed, or stood
still) is asked for again in a fresh process; lost twice, it is a fault of the machine that ends the
command. A request that makes native code crash in a fresh process too fails by itself. What the
answers mean is not known here; the other side is sql/run/sandbox_process.py and
sql/read/reading_process.py.

Both directions are frames: eight bytes of length, then the content. A process that has something to
prepare, which is no part of an answer, sends an empty frame before it and another one after it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.errors import UserError
from harness.sql.failures import Failure

HEAD_BYTES = 8
STALLED_S = 60.0
"""Wall-clock seconds after which a process that neither answers nor spends its processor time
stands still: a stopped machine, or one that is hopelessly busy."""

_START_S = 60.0
_TRIES = 2
_WHERE_LIBRARIES_LIE = (
    *("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "PYTHONHOME"),
)
_POLL_S = 0.1
_CHUNK = 1 << 18
_LAST_WORDS = 15
_NATIVE_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


class EnvironmentFault(UserError):
    """The machine, not an answer, is at fault: nothing that was asked can be judged."""


@dataclass(frozen=True, slots=True)
class _Lost:
    """No answer came, for ``cause``; ``crashed`` where native code did it by itself."""

    cause: str
    crashed: bool = False


class LimitedProcess:
    """One process at a time; :meth:`close` ends it.

    Args:
        name: names it in messages.
        command: what to start; the descriptors to read from and to write to are appended.
        environment: the variables of the process, and no others.
        folder: its working directory.
        stalled_s: see :data:`STALLED_S`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        stalled_s: float = STALLED_S,
    ) -> None:
        self.name = name
        self.restarts = 0
        self.served = 0
        """Answers that the process running now has given."""
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command
        self._environment = environment
        self._folder = folder
        self._stalled_s = stalled_s
        self._to = self._from = self._words = -1
        self._received = bytearray()
        self._unsent = memoryview(b"")
        self._ready = False

    def prepare(self) -> None:
        """Start the process, if none runs, so that it is ready when it is asked."""
        with contextlib.suppress(OSError):  # asking tries again, and reports it
            self._start()

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self._close_pipes()
            self.process.kill()
            self.process.wait()
            self.process = None

    def replace(self) -> None:
        """End the process and start a fresh one."""
        self.close()
        self.restarts += 1
        self.prepare()

    def ask(self, requests: Sequence[bytes], work_s: float) -> list[bytes | Failure]:
        """The answer to each request, in order; requests are sent ahead of the answers.

        Args:
            requests: the contents of the frames.
            work_s: the processor time in seconds that one answer may take.

        Returns:
            ``timeout`` for an answer that took more, ``crash`` for one that crashes a fresh process
            as well; the other answers are not affected.

        Raises:
            EnvironmentFault: the process does not start, or an answer was lost twice.
        """
        answers: list[bytes | Failure] = []
        sent, losses = False, 0
        try:
            while len(answers) < len(requests):
                if not sent:
                    self._send(requests[len(answers) :])
                answer: bytes | Failure | _Lost | None = self._receive(work_s, self._stalled_s)
                sent = isinstance(answer, bytes)
                if isinstance(answer, _Lost):
                    losses += 1
                    answer = self._judge(answer, losses)
                if not sent:
                    self.replace()
                if answer is not None:
                    answers.append(answer)
                    losses = 0
        except BaseException:
            # What is still to come must not be taken for answers to the next requests.
            self.close()
            raise
        return answers

    def _judge(self, lost: _Lost, losses: int) -> Failure | None:
        """What a lost answer means; None: ask once more."""
        if losses < _TRIES:
            return None
        if lost.crashed:
            return Failure("crash", lost.cause)
        raise self._fault("gave no answer to a request", lost.cause)

    def _start(self) -> None:
        if self.process is not None:
            return
        self.served, self._ready = 0, False
        self._received, self._unsent = bytearray(), memoryview(b"")
        pipes: list[tuple[int, int]] = []
        try:
            pipes.extend(os.pipe() for _ in range(3))
            (child_from, self._to), (self._from, child_to), (self._words, child_words) = pipes
            for end in (self._to, self._words, child_words):
                # A process that says more than its pipe holds loses words and does not wait.
                os.set_blocking(end, False)
            self.process = subprocess.Popen(
                [*self._command, str(child_from), str(child_to)],
                pass_fds=(child_from, child_to),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=child_words,
                env=self._environment,
                cwd=self._folder,
            )
        except OSError:
            for end in itertools.chain(*pipes):
                os.close(end)
            raise
        for end in (child_from, child_to, child_words):
            os.close(end)

    def _send(self, requests: Sequence[bytes]) -> None:
        """Make ``requests`` the frames to send, to a process that is ready."""
        for attempt in range(1, _TRIES + 1):
            try:
                self._start()
                found = b"" if self._ready else self._receive(None, _START_S)
            except OSError as error:
                found = _Lost(str(error))
            if not isinstance(found, _Lost):
                break
            if attempt == _TRIES:
                raise self._fault("does not start", found.cause)
            self.close()
        self._ready = True
        self._unsent = memoryview(b"".join(map(frame, requests)))

    def _receive(self, work_s: float | None, stalled_s: float) -> bytes | Failure | _Lost:
        """The next frame. Time is counted in waits, so that a stopped parent counts none."""
        spent_before: float | None = None
        preparing = False
        for _ in range(int(stalled_s / _POLL_S) + 1):
            while (content := self._frame()) is None:
                sending = [self._to] if self._unsent else []
                readable, writable, _ = select.select([self._from], sending, [], _POLL_S)
                if writable and not self._write():
                    return self._ended()
                if readable and not self._read():
                    return self._ended()
                if not readable and not writable:
                    break
            if content:
                return content
            if content is not None or preparing:
                preparing ^= content is not None
                spent_before = None
                continue
            spent = self._processor_time()
            spent_before = spent if spent_before is None else spent_before
            if work_s is not None and spent - spent_before > work_s:
                return Failure("timeout", f"more than {work_s:g} s of processor time")
        return _Lost(f"it stood still for {stalled_s:g} s")

    def _frame(self) -> bytes | None:
        """The next frame received, if it is whole."""
        end = HEAD_BYTES + int.from_bytes(self._received[:HEAD_BYTES], "big")
        if len(self._received) < end:
            return None
        content = bytes(self._received[HEAD_BYTES:end])
        del self._received[:end]
        self.served += self._ready and bool(content)
        return content

    def _read(self) -> bool:
        piece = os.read(self._from, _CHUNK)
        self._received += piece
        return bool(piece)

    def _write(self) -> bool:
        try:
            self._unsent = self._unsent[os.write(self._to, self._unsent[:_CHUNK]) :]
        except BrokenPipeError:
            return False
        return True

    def _ended(self) -> _Lost:
        """Why the process is gone, which has closed its pipes."""
        assert self.process is not None
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return _Lost("it closed its pipes")
        if status >= 0:
            return _Lost(f"exit status {status}")
        crashed = -status in _NATIVE_CRASHES
        return _Lost(f"killed by signal {-status} ({signal.Signals(-status).name})", crashed)

    def _processor_time(self) -> float:
        """Seconds of processor time that the process has used; 0 when it is gone."""
        assert self.process is not None
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def _fault(self, what: str, cause: str) -> EnvironmentFault:
        try:
            words = os.read(self._words, _CHUNK) if self.process is not None else b""
        except BlockingIOError:  # it said nothing
            words = b""
        lines = words.decode(errors="replace").splitlines()[-_LAST_WORDS:]
        return EnvironmentFault(
            f"{self.name} {what}, tried {_TRIES} times: {cause}. This is a fault of the machine "
            "and no verdict on an answer, so nothing was graded. See what ends or stops processes "
            "there (free memory, `ulimit -a`, `dmesg`), then repeat the command."
            + "\n".join(["", "Its last words:", *lines] if lines else [])
        )

    def _close_pipes(self) -> None:
        for end in (self._to, self._from, self._words):
            os.close(end)


def same_python(*folders: Path) -> dict[str, str]:
    """The variables with which a process is the Python that this one is, and nothing else of the
    environment: where programs and shared libraries lie (``LD_LIBRARY_PATH`` where modules of a
    cluster set it), and as ``PYTHONPATH`` the folders given and those that packages come from
    here."""
    paths = [*map(str, folders), *filter(os.path.isabs, sys.path)]
    named = {name: os.environ[name] for name in _WHERE_LIBRARIES_LIE if name in os.environ}
    return {"PATH": "", **named, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def frame(content: bytes) -> bytes:
    """``content`` as it is sent."""
    return len(content).to_bytes(HEAD_BYTES, "big") + content
