"""The pytest plugin: options, the parametrized `variant`, session fixtures, summary, exit status.

Thin glue over `pipeline.session`: it turns user errors into one line, orders the tests so that a
variant's model is in memory once and timings come last, and writes the runs when the session
ends. The root conftest loads it (no `pytest11` entry point: both together crash pytest).
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from harness import options as option_table
from harness import plugin_fixtures, plugin_ranks
from harness.cli import bench
from harness.compare.analysis import Analysis
from harness.compare.gates import outcome
from harness.disk.files import refusal, shown_argument, without_password
from harness.errors import UserError
from harness.interrupts import FirstInterrupt
from harness.machine.installed import check_backend
from harness.markdown import encodable, paragraphs
from harness.pipeline.invocation import Case
from harness.pipeline.session import Session
from harness.plugin_fixtures import SESSION
from harness.plugin_ranks import COORDINATOR
from harness.progress import TerminalProgress, print_message
from harness.report.changed_examples import as_markdown
from harness.report.report import job_summary
from harness.report.terminal import terminal_summary
from harness.worker.client import WorkerError

PROGRESS = pytest.StashKey[TerminalProgress]()
WRITTEN = pytest.StashKey[list[Analysis]]()
INTERRUPTED = pytest.StashKey[bool]()
INTERRUPTED_STATUS = 130
"""What a shell expects of a command ended by Ctrl-C; pytest's own is 2."""

JOB_SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"

# Fixtures that need every variant to be finished: their tests run after all others.
_LAST = ("throughput", "gate")


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the options of DESIGN §3; load the other parts of this plugin with it."""
    option_table.declare(parser)
    for part in (plugin_fixtures, plugin_ranks):
        pluginmanager.register(part)


def pytest_configure(config: pytest.Config) -> None:
    """Check options, variant files, gates and baseline: one line and exit status 4 when wrong."""
    config.stash[WRITTEN] = []
    config.stash[INTERRUPTED] = False
    if config.option.help:
        return
    with _usage():
        command = shlex.join(map(shown_argument, _typed(config)))
        config.stash[SESSION] = Session(option_table.read(config), command)
    config.pluginmanager.register(_Interruption(config), "tunebench-interruption")


def _typed(config: pytest.Config) -> list[str]:
    """The words of the command line, as they were typed."""
    return bench.typed([str(argument) for argument in config.invocation_params.args])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test for each variant (and seed), and one gate test for each metric."""
    session = metafunc.config.stash.get(SESSION, None)
    if session is not None and "variant" in metafunc.fixturenames:
        ids = [case.id(session.options.many_seeds) for case in session.cases]
        metafunc.parametrize("variant", session.cases, indirect=True, ids=ids, scope="session")
    if session is not None and "gate" in metafunc.fixturenames:
        metafunc.parametrize("gate", [*session.gate_rules], indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run timings and gates last; drop gates and checkpoints without the option for them."""
    session = config.stash[SESSION]
    given = {"gate": session.baseline, "checkpoints": session.options.checkpoints}
    unasked = {name for name, value in given.items() if value is None}
    dropped = [item for item in items if unasked.intersection(_fixtures(item))]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]
    items.sort(key=lambda item: _order(session, item))


def _order(session: Session, item: pytest.Item) -> tuple[int, int]:
    """A sort key: the tests of one variant together (pytest's own grouping may split them),
    timings and gates last."""
    names = _fixtures(item)
    last = max((_LAST.index(name) + 1 for name in _LAST if name in names), default=0)
    case = _case(item)
    return last, -1 if case is None else session.cases.index(case)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find dataset, adapter and base model before the first test."""
    config = session.config
    if config.option.collectonly or not any("variant" in _fixtures(i) for i in session.items):
        return
    if hasattr(config, "workerinput"):
        return  # under xdist; the fixture `variant` fails with the reason
    stream = _uncaptured_stderr(config)
    config.add_cleanup(stream.close)
    config.stash[PROGRESS] = TerminalProgress(stream, lambda: _end_line(config))
    asked: dict[Case, set[str]] = {}
    for item in session.items:
        if (case := _case(item)) is not None:
            asked.setdefault(case, set()).update(_fixtures(item))
    with _usage():
        if config.stash[SESSION].computes:
            check_backend()
        progress = config.stash[PROGRESS]
        coordinator = config.stash.get(COORDINATOR, None)
        config.stash[SESSION].prepare(asked, progress, progress.notify, coordinator)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write each run; a failed write fails the session."""
    config = session.config
    if PROGRESS not in config.stash:
        return
    config.stash[PROGRESS].close()
    tunebench = config.stash[SESSION]
    interrupted = config.stash[INTERRUPTED]
    try:
        ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        coordinator = config.stash.get(COORDINATOR, None)
        no_rank_failed = coordinator is None or coordinator.failure is None
        if ended and no_rank_failed and tunebench.runs:
            _write_runs(session, tunebench)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        tunebench.close()
    if interrupted:
        session.exitstatus = INTERRUPTED_STATUS
        print_message(f"\ntunebench: interrupted; {tunebench.kept()}")


class _Interruption:
    """Distinguishes Ctrl-C from pytest's other interruptions, such as errors while collecting.

    A second Ctrl-C is ignored: it would break off the end of the session.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._signal = FirstInterrupt()

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self._config.stash[INTERRUPTED] = excinfo.type is KeyboardInterrupt
        if self._config.stash[INTERRUPTED]:
            self._signal.taken()

    def pytest_unconfigure(self) -> None:
        program = Path(sys.argv[0])
        names = ("pytest", "py.test", "tunebench")
        ends = program.name in names or program.parent.name in ("pytest", "harness")
        if not (ends and self._config.stash[INTERRUPTED]):  # a program that called pytest goes on
            self._signal.restore()


def _write_runs(session: pytest.Session, tunebench: Session) -> None:
    written = session.config.stash[WRITTEN]
    problem = "the run was not written: "
    try:
        for run in tunebench.runs.values():
            if run.requested:
                written.append(run.write())
        problem = ""
        # Gates hold whether or not their suite was selected.
        runs = [run for analysis in written for run in analysis.runs]
        strict = tunebench.options.strict
        judged = [run.results.gates for run in runs if tunebench.baseline is not None]
        if any(outcome(gates, strict).exit_status for gates in judged):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        tunebench.conclude(runs)
    except (UserError, WorkerError) as error:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print_message(f"\ntunebench: {problem}{error}")


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Count gates that decided nothing apart from those that passed and from skipped tests."""
    undecided = any(
        name.startswith("gate.") and value == "inconclusive"
        for name, value in getattr(report, "user_properties", ())
    )
    if report.when == "call" and report.skipped and undecided:
        return "not decided", "?", ("NOT DECIDED", {"yellow": True})
    return None


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What the run says and where it lies, last on the screen; the same on a job's page."""
    writer = config.get_terminal_writer()
    for analysis in config.stash.get(WRITTEN, []):
        (run,) = analysis.runs
        terminalreporter.section(f"tunebench: {run.id}")
        typed = shlex.join(map(without_password, _typed(config)))
        summary = terminal_summary(analysis, writer.fullwidth, writer.hasmarkup, typed)
        # pytest writes what the terminal's encoding lacks as one long escaped line.
        shown = encodable(summary, getattr(sys.__stdout__, "encoding", None))
        terminalreporter.write_line(shown)
        made = config.stash[SESSION].runs[run.results.run.seed]
        changed = as_markdown(made.changed_examples())
        page = paragraphs(f"## tunebench: {run.id}", job_summary(analysis), changed)
        _append_job_summary(f"{page}\n\n")
    if config.stash.get(WRITTEN, []):
        for line in config.stash[SESSION].trained():
            terminalreporter.write_line(line)


@contextmanager
def _usage() -> Iterator[None]:
    """Turn user errors, and refusals of the system, into pytest's one-line usage error."""
    try:
        yield
    except UserError as error:
        raise pytest.UsageError(str(error)) from error
    except OSError as error:
        reason = refusal(error)
        if reason is None:
            raise
        raise pytest.UsageError(reason) from error


def _append_job_summary(markdown: str) -> None:
    """Add to the summary page of a continuous-integration job, where there is one."""
    file = os.environ.get(JOB_SUMMARY_VARIABLE)
    if file:
        try:
            with Path(file).open("a", encoding="utf-8") as stream:
                stream.write(markdown)
        except OSError as error:
            reason = error.strerror or error
            print_message(f"tunebench: {JOB_SUMMARY_VARIABLE}: cannot write {file}: {reason}")


def _fixtures(item: pytest.Item) -> tuple[str, ...]:
    return tuple(getattr(item, "fixturenames", ()))


def _case(item: pytest.Item) -> Case | None:
    """What a test that is parametrized by `variant` measures; None for any other test."""
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("variant")


def _end_line(config: pytest.Config) -> None:
    """End the line of dots that pytest is writing."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None and reporter.currentfspath:
        with _uncaptured(config):
            reporter.ensure_newline()


def _uncaptured_stderr(config: pytest.Config) -> Any:
    """Standard error as it was before pytest began to capture it, for progress."""
    with _uncaptured(config):
        return os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8")


def _uncaptured(config: pytest.Config) -> AbstractContextManager[None]:
    capture = config.pluginmanager.getplugin("capturemanager")
    return nullcontext() if capture is None else capture.global_and_fixture_disabled()
