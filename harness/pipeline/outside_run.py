"""A run made of a system's predictions: graded like any answers, stored like any run.

A dataset, answers with their verdicts -> a run's folder (`run.source` is `predictions`), so that a
system elsewhere stands in `compare`, `report`, `gate` and on the page. It has execution accuracy
and nothing else: no weights, no losses, no timings. Imports nothing that reaches mlx.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import psutil

from harness.compare.analysis import Analysis, analyse
from harness.data.leakage import dataset_info
from harness.data.records import Dataset
from harness.machine.chip import processor
from harness.protocols import COMPARISON, EXECUTION, GATES, NOT_MEASURED
from harness.runs.git_state import git_state
from harness.runs.store import PendingRun, RunRows
from harness.schema.results import (
    Device,
    Distributed,
    Model,
    Protocols,
    Results,
    Run,
    Weights,
)
from harness.schema.rows import PredictionRow
from harness.schema.variant_result import VariantResult
from harness.sql.grade.predictions import Prediction
from harness.sql.grade.score import Score
from harness.sql.grade.summary import summarize

ELSEWHERE = "a system elsewhere"
GRADING = ("duckdb", "sqlglot", "numpy")
"""The packages that decide verdicts on answers."""
MEASURING = ("mlx", "mlx-lm", "transformers", "tokenizers", *GRADING)
"""And those that decide what a model computes."""


def write_outside_run(
    folder: Path,
    dataset: Dataset,
    graded: Sequence[tuple[Prediction, Score]],
    hardened: int,
    command: str,
) -> Analysis:
    """Write the run ``folder`` of answers to the test split of ``dataset``, and analyse it.

    Args:
        folder: of the run; its name is the system's.
        dataset: with tables.
        graded: an answer to every test example with its verdicts, in the order of ids.
        hardened: the number K of perturbed copies.
        command: the command line, for the record.

    Raises:
        UserError: the name is taken or cannot be a folder's, or the disk refuses.
    """
    from harness.report.write import write_run

    examples = dataset.test.examples
    rows = [
        PredictionRow(table_id=example.table_id, text=answer.text, **score.row())
        for example, (answer, score) in zip(examples, graded, strict=True)
    ]
    results = Results(
        run=_run(folder.name, command),
        model=model_elsewhere(folder.name),
        dataset=dataset_info(dataset),
        protocols=answers_alone(f"{EXECUTION} (hardened K={hardened})"),
        variants={folder.name: _result([score for _, score in graded], dataset)},
    )
    pending = PendingRun(folder, results, None, RunRows(predictions={folder.name: rows}))
    analysis = analyse([pending])
    write_run(pending, analysis)
    return analysis


def model_elsewhere(name: str) -> Model:
    """A model of which nothing but its name is known."""
    return Model(
        id=name,
        revision=None,
        sha256="",
        architecture=ELSEWHERE,
        weights=Weights(
            dtype="unknown",
            source="none",
            source_bits=None,
            group_size=None,
            note=f"{ELSEWHERE}, its weights are not known",
        ),
    )


def answers_alone(execution: str, prompt: str | None = None) -> Protocols:
    """The protocols of a run that has answers and nothing else."""
    return Protocols(
        loss=NOT_MEASURED,
        execution=execution,
        throughput=NOT_MEASURED,
        memory=NOT_MEASURED,
        comparison=COMPARISON,
        prompt=prompt,
        gates=GATES,
    )


def device_of_grading() -> Device:
    """This machine, which graded and computed no model."""
    memory = psutil.virtual_memory().total
    return Device(backend="none", chip=processor(), memory_bytes=memory, blas=None)


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of tunebench, Python and the ``packages`` that decide results."""
    own = {"tunebench": metadata.version("tunebench"), "python": platform.python_version()}
    return own | {name: metadata.version(name) for name in packages}


def _run(name: str, command: str) -> Run:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Run(
        id=name,
        source="predictions",
        started=now,
        finished=now,
        command=command,
        seed=0,
        partial=[],
        contended=False,
        git=git_state(),
        versions=versions(GRADING),
        device=device_of_grading(),
        distributed=Distributed(size=1),
    )


def _result(scores: Sequence[Score], dataset: Dataset) -> VariantResult:
    nothing = dict.fromkeys(VariantResult.model_fields)
    execution = summarize(scores, dataset.test.examples, len(dataset.test.examples))
    return VariantResult.model_validate(
        nothing | {"config": {"fine_tune_type": "unknown"}, "execution": execution}
    )
