"""The session fixtures that suites are written with; `plugin` parametrizes and orders them.

Each returns one section of the run, which is computed when it is first read and is then part of
the stored record. A user error or a dead model process becomes a failed test with one message.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

import pytest

from harness.disk.files import refusal
from harness.distributed.coordinator import RankError
from harness.errors import UserError
from harness.pipeline.invocation import Case
from harness.pipeline.same_variants import reason
from harness.pipeline.session import Session
from harness.pipeline.variant_run import VariantRun
from harness.report.changed_examples import as_text
from harness.schema.results import GateResult
from harness.worker.client import WorkerError

Result = TypeVar("Result")

SESSION = pytest.StashKey[Session]()
"""The session of the command line."""

SHOWN = pytest.StashKey[set[str]]()
"""The messages that a test failed with: each is shown in full once."""


@pytest.fixture(scope="session")
def variant(request: pytest.FixtureRequest) -> Iterator[VariantRun]:
    """The variant under test; its model process ends when the next variant's turn comes."""
    if hasattr(request.config, "workerinput"):
        pytest.fail("tunebench measures one thing at a time: run it without -n", pytrace=False)
    case: Case = request.param
    session = request.config.stash[SESSION]
    run = session.runs[case.seed]
    if case.variant in session.left_out:
        pytest.skip(session.left_out[case.variant])
    if (same := run.invocation.same_as.get(case.variant)) is not None:
        pytest.skip(f"{reason(case.variant, same)}: measured once, as {same}")
    found = run.variants[case.variant]
    yield found
    found.stages.close()


def _section(
    read: Callable[[VariantRun], Result],
    doc: str,
    without: Callable[[VariantRun], str] | None = None,
    of_tables: bool = False,
    of_answers: bool = False,
) -> Callable[[VariantRun], Result]:
    """A fixture of the values that ``read`` computes; ``doc`` is its line of `pytest --fixtures`.

    Args:
        without: why its tests are skipped where the variant has none (``read`` gives None).
        of_tables: whether its tests are skipped for data without tables.
        of_answers: whether answers suffice; else its tests are skipped for an endpoint.
    """

    def fixture(variant: VariantRun) -> Result:
        if not of_answers and variant.stages.without_weights:
            pytest.skip(variant.stages.without_weights)
        if of_tables and not variant.stages.invocation.dataset.has_tables:
            pytest.skip(
                "the data is in mlx-lm's own format: without tables no query can be executed (all "
                "else is measured); WikiSQL's layout has tables"
            )
        found = _computed(lambda: read(variant))
        if found is None and without is not None:
            pytest.skip(without(variant))
        return found

    fixture.__doc__ = doc
    return pytest.fixture(scope="session")(fixture)


finetuned = _section(
    lambda variant: variant.finetune,
    "The fine-tuning curve and wall time; skips when --adapter-path trains nothing.",
    without=lambda _: "--adapter-path evaluates a given adapter: nothing was fine-tuned",
)
evaluation = _section(
    lambda variant: variant.loss, "Test loss and perplexity by the three definitions."
)
generations = _section(
    lambda variant: list(variant.answers.rows),
    "The generated answers to the test questions, in id order.",
    of_answers=True,
)
predictions = _section(
    lambda variant: variant.execution and variant.predictions,
    "The answers, read, run and graded, in id order; skips for data without tables.",
    of_tables=True,
    of_answers=True,
)
execution = _section(
    lambda variant: variant.execution,
    "Execution accuracy by every protocol; skips for data without tables.",
    of_tables=True,
    of_answers=True,
)
memory = _section(lambda variant: variant.memory, "Memory by phase.")
parameters = _section(
    lambda variant: variant.stages.description.parameters,
    "Parameter counts, logical and packed.",
)
size = _section(lambda variant: variant.size, "Bytes of base, adapter and fused model.")
fused = _section(
    lambda variant: variant.fuse,
    "Parity of adapter, fused and dequantized form; skips for a variant without an adapter.",
    without=lambda variant: f"variant {variant.name} has no adapter to fuse",
)
exact_match = _section(
    lambda variant: variant.exact_match,
    "Answers that equal the data's own; skips for data with tables, whose answers are executed.",
    without=lambda _: "the data has tables: answers are judged by what they return (execution)",
    of_answers=True,
)
answers = _section(
    lambda variant: variant.exact_match and variant.answer_rows,
    "The answers to data without tables beside the data's own, in id order; skips with tables.",
    without=lambda _: "the data has tables: answers are judged by what they return (predictions)",
    of_answers=True,
)
questions = _section(
    lambda variant: variant.questions,
    "The article's questions about a students table; skips for data without tables.",
    of_tables=True,
    of_answers=True,
)
checkpoints = _section(
    lambda variant: variant.checkpoints,
    "Saved checkpoints by loss and execution accuracy (--checkpoints).",
)
throughput = _section(
    lambda variant: variant.throughput,
    "Speeds, measured last and interleaved with the other variants.",
)


@pytest.fixture(scope="session")
def gate(request: pytest.FixtureRequest, variant: VariantRun) -> list[GateResult]:
    """The verdicts on one metric of this variant against the baseline."""
    session = request.config.stash[SESSION]
    verdicts = _computed(session.runs[variant.seed].gate)
    return [v for v in verdicts if v.metric == request.param and v.variant == variant.name]


@pytest.fixture(scope="session")
def gate_examples(
    request: pytest.FixtureRequest, variant: VariantRun
) -> Callable[[GateResult], str]:
    """By a failing verdict: the examples that broke and that were fixed, the first ten of each."""
    session = request.config.stash[SESSION]

    def text(verdict: GateResult) -> str:
        return as_text(session.runs[variant.seed].changed_examples(), verdict)

    return text


@pytest.fixture(scope="session")
def strict_gates(request: pytest.FixtureRequest) -> bool:
    """Whether an inconclusive gate fails (--strict)."""
    return request.config.stash[SESSION].options.strict


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show an error in full once: what stops one section of a variant stops all tests of it."""
    report = yield
    error = call.excinfo.value if call.excinfo is not None else None
    if isinstance(error, pytest.fail.Exception) and not error.pytrace:
        shown = item.config.stash.setdefault(SHOWN, set())
        if str(error) in shown:
            report.longrepr = f"as shown above: {str(error).splitlines()[0]}"
        shown.add(str(error))
    return report


def _computed(compute: Callable[[], Result]) -> Result:
    """What ``compute`` gives; user errors and a dead model process fail the test in one message.

    A rank that failed ends the session: nothing more can be computed.
    """
    try:
        return compute()
    except RankError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.TESTS_FAILED)
    except (UserError, WorkerError) as error:
        reason: str | None = str(error)
    except Exception as error:
        reason = refusal(error)
        if reason is None:
            raise
    # Out of the except block, so that pytest shows no chain of causes.
    pytest.fail(str(reason), pytrace=False)
