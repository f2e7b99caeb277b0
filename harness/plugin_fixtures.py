"""The session fixtures that suites are written with; `plugin` parametrizes and orders them.

Each hands out one section of the run, computed when first asked for and marked as wanted in the
stored record. A user error or a dead model process becomes a failed test with one message.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import pytest

from harness.disk.files import refusal
from harness.distributed.coordinator import RankError
from harness.errors import UserError
from harness.pipeline.seed_run import SeedRun
from harness.pipeline.session import Case
from harness.pipeline.variant_run import VariantRun
from harness.schema.results import GateResult
from harness.schema.rows import PredictionRow
from harness.schema.stage_results import Answer
from harness.schema.variant_result import (
    CheckpointResult,
    Execution,
    Finetune,
    Fuse,
    Loss,
    Memory,
    Parameters,
    QuestionResult,
    Size,
    Throughput,
)
from harness.stash import SESSION
from harness.worker.client import WorkerError

Result = TypeVar("Result")

TOLD = pytest.StashKey[set[str]]()


@pytest.fixture(scope="session")
def variant(request: pytest.FixtureRequest) -> Iterator[VariantRun]:
    """The variant under test; its model process ends when the next variant's turn comes."""
    if hasattr(request.config, "workerinput"):
        pytest.fail("tunebench measures one thing at a time: run it without -n", pytrace=False)
    case: Case = request.param
    found = request.config.stash[SESSION].runs[case.seed].variants[case.variant]
    yield found
    found.stages.close()


@pytest.fixture(scope="session")
def seed_run(request: pytest.FixtureRequest) -> SeedRun:
    """The run of the first (usually only) seed: setting, variants, gates."""
    runs = request.config.stash[SESSION].runs
    return next(iter(runs.values()))


@pytest.fixture(scope="session")
def finetuned(variant: VariantRun) -> Finetune:
    """The fine-tuning curve and wall time; skips when --adapter-path trains nothing."""
    found: Finetune | None = _section(variant, "finetune")
    if found is None:
        pytest.skip("--adapter-path evaluates a given adapter: nothing was fine-tuned")
    return found


@pytest.fixture(scope="session")
def evaluation(variant: VariantRun) -> Loss:
    """Test loss and perplexity by the three definitions."""
    return _section(variant, "loss")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def generations(variant: VariantRun) -> list[Answer]:
    """The generated answers to the test questions, in id order."""
    return _told(lambda: list(variant.answers.rows))


@pytest.fixture(scope="session")
def predictions(variant: VariantRun) -> list[PredictionRow]:
    """The answers, read, run and graded, in id order; skips for data without tables."""
    _require_tables(variant)
    _section(variant, "execution")
    return variant.predictions


@pytest.fixture(scope="session")
def execution(variant: VariantRun) -> Execution:
    """Execution accuracy by every protocol; skips for data without tables."""
    _require_tables(variant)
    return _section(variant, "execution")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def memory(variant: VariantRun) -> Memory:
    """Memory by phase."""
    return _section(variant, "memory")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def parameters(variant: VariantRun) -> Parameters:
    """Parameter counts, logical and packed."""
    return _told(lambda: variant.stages.description.parameters)


@pytest.fixture(scope="session")
def size(variant: VariantRun) -> Size:
    """Bytes of base, adapter and fused model."""
    return _section(variant, "size")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def fused(variant: VariantRun) -> Fuse:
    """Parity of adapter, fused and dequantized form; skips for a variant without an adapter."""
    found: Fuse | None = _section(variant, "fuse")
    if found is None:
        pytest.skip(f"variant {variant.name} has no adapter to fuse")
    return found


@pytest.fixture(scope="session")
def questions(variant: VariantRun) -> list[QuestionResult]:
    """The article's questions about a students table."""
    return _section(variant, "questions")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def checkpoints(variant: VariantRun) -> list[CheckpointResult]:
    """Saved checkpoints by loss and execution accuracy (--checkpoints)."""
    return _section(variant, "checkpoints")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def throughput(variant: VariantRun) -> Throughput:
    """Speeds, measured last and in turns with the other variants."""
    return _section(variant, "throughput")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def gate(request: pytest.FixtureRequest, variant: VariantRun) -> list[GateResult]:
    """The verdicts on one metric of this variant against the baseline."""
    session = request.config.stash[SESSION]
    verdicts = _told(session.runs[variant.seed].gate)
    return [v for v in verdicts if v.metric == request.param and v.variant == variant.name]


@pytest.fixture(scope="session")
def strict_gates(request: pytest.FixtureRequest) -> bool:
    """Whether an inconclusive gate fails (--strict)."""
    return request.config.stash[SESSION].options.strict


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What stops one section of a variant stops all its tests: it is told in full once."""
    report = yield
    error = call.excinfo.value if call.excinfo is not None else None
    if isinstance(error, pytest.fail.Exception) and not error.pytrace:
        told = item.config.stash.setdefault(TOLD, set())
        if str(error) in told:
            report.longrepr = f"as told above: {str(error).splitlines()[0]}"
        told.add(str(error))
    return report


def _require_tables(variant: VariantRun) -> None:
    if not variant.stages.setting.dataset.has_tables:
        pytest.skip(
            "the data is in mlx-lm's own format: without tables no query can be executed (all "
            "else is measured); WikiSQL's layout has tables"
        )


def _section(variant: VariantRun, name: str) -> Any:
    return _told(lambda: variant.section(name))


def _told(compute: Callable[[], Result]) -> Result:
    """What ``compute`` gives; user errors and a dead model process fail the test in one message.

    A rank that failed ends the session: nothing more can be computed.
    """
    try:
        return compute()
    except RankError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.TESTS_FAILED)
    except (UserError, WorkerError) as error:
        told = str(error)
    except Exception as error:
        refused = refusal(error)
        if refused is None:
            raise
        told = refused
    # Out of the except block, so that pytest shows no chain of causes.
    pytest.fail(told, pytrace=False)
