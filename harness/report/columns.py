"""The columns of a report: each variant under the label that tables and charts share.

Input: stored runs -> output: :class:`Column`, one a variant. The published article has columns of
the same kind (``article``). Not covered: what a table prints of them (``tables``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.compare.sides import limited, sample_note, sides_of
from harness.markdown import NONE, escape, fixed
from harness.runs.store import StoredRun
from harness.schema.variant_result import (
    CurvePoint,
    FuseForm,
    LossValue,
    PhaseMemory,
    QuestionResult,
    VariantResult,
)
from harness.stats.rates import Interval, clustered_rate

CHARTS = {
    "loss.svg": "Loss by iteration",
    "accuracy.svg": "Execution accuracy with 95% intervals",
    "tradeoff.svg": "Quality against memory, size and speed",
    "failures.svg": "Failed answers by kind",
    "speed.svg": "Speed of every trial",
    "checkpoints.svg": "Checkpoints by loss and execution accuracy",
}
"""Charts beside a report, by file, with their titles."""


@dataclass(frozen=True)
class Column:
    """One variant of one run under its label."""

    label: str
    run: StoredRun
    variant: str

    @property
    def result(self) -> VariantResult:
        """Everything that was measured on the variant."""
        return self.run.results.variants[self.variant]

    @property
    def swept(self) -> dict[str, object]:
        """The values that --sweep gave it, by dotted key; none in runs without it."""
        return dict(self.result.config.get("swept") or {})

    @property
    def key(self) -> tuple[Path, str]:
        """What identifies it in an analysis: the run's folder and the variant."""
        return self.run.folder, self.variant

    @property
    def curve(self) -> list[CurvePoint]:
        """The loss curve of its fine-tuning; empty without one."""
        return self.result.finetune.curve if self.result.finetune else []

    @property
    def accumulated(self) -> bool:
        """Whether several iterations make one update of its fine-tuning."""
        return any(point.updates != point.iteration for point in self.curve)

    @property
    def iterations(self) -> int | None:
        """Iterations that its adapter was trained for."""
        return self.result.adapter.iterations if self.result.adapter else None

    def rate_interval(self, metric: str) -> Interval | None:
        """The 95% interval of a rate, from its rows; of a run without rows ex's as it is stored."""
        rows = self.run.predictions(self.variant) or []
        graded = [row for row in rows if getattr(row, metric) is not None]
        if graded:
            marks = [float(getattr(row, metric)) for row in graded]
            return clustered_rate(marks, [row.table_id for row in graded])
        execution = self.result.execution if metric == "ex" else None
        return (execution.clustered_ci95 or execution.ci95) if execution else None

    def peak(self, phase: str) -> PhaseMemory | None:
        """The peak of memory in a phase; None where it was not measured."""
        return self.result.memory.phase(phase) if self.result.memory else None

    @property
    def timed_questions(self) -> list[QuestionResult]:
        """The students questions whose answers were timed."""
        return [
            q
            for q in self.result.questions or []
            if q.prompt_tokens_per_s is not None and q.generation_tokens_per_s is not None
        ]

    @property
    def questions_right(self) -> str:
        """How many of the students questions were answered right: `5 of 7`."""
        answers = self.result.questions or []
        return f"{sum(answer.correct for answer in answers)} of {len(answers)}"

    @property
    def contended(self) -> bool:
        """Whether other work ran on the machine while the variant was timed."""
        return self.run.results.run.contended

    @property
    def machine(self) -> tuple[str | None, ...]:
        """What must agree for timings to be set beside one another: backend, chip, GPU, BLAS."""
        device = self.run.results.run.device
        cores = None if device.gpu_cores is None else f"{device.gpu_cores} GPU cores"
        return device.backend, device.chip, cores, device.blas

    @property
    def speed_note(self) -> str:
        """`cached` and `contended` where a speed is; else empty."""
        speed = self.result.throughput
        notes = ["cached"] if speed and speed.cached else []
        return ", ".join([*notes, "contended"] if speed and self.contended else notes)

    def training_note(self, taken: bool = True) -> str:
        """`cached, taken …` and `contended` where a training time is; else empty.

        Args:
            taken: whether to add when and where a cached time was taken.
        """
        finetune = self.result.finetune
        if finetune is None:
            return ""
        cached = f"cached, taken {escape(finetune.measured_at)}" if taken else "cached"
        notes = [cached] if finetune.cached else []
        return ", ".join([*notes, "contended"] if finetune.contended else notes)


def distinct(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Each run once, though several of its variants were picked."""
    return list({run.folder: run for run in reversed(runs)}.values())[::-1]


def columns_of(runs: Sequence[StoredRun]) -> list[Column]:
    """Every variant of the runs, or the one that was picked.

    The run's name goes into the label where there are several runs, the sample (`20 of 200, seed
    0`) where limited and full evaluations would otherwise look alike.
    """
    found = [
        (side, side.run.results.variants[side.variant], side.label(side)) for side in sides_of(runs)
    ]
    mixed = len({sample_note(side.run, result) for side, result, _ in found}) > 1
    return [
        Column(
            f"{label} ({sample_note(side.run, result)})" if mixed and limited(result) else label,
            side.run,
            side.variant,
        )
        for side, result, label in found
    ]


def failure_kinds(columns: Sequence[Column]) -> list[str]:
    """The kinds of failed answers, the most frequent over all columns first."""
    totals: Counter[str] = Counter()
    for column in columns:
        totals.update(column.result.execution.failures if column.result.execution else {})
    return sorted(totals, key=lambda kind: (-totals[kind], kind))


def available_charts(columns: Sequence[Column]) -> list[str]:
    """The charts that these columns have data for; partial runs lack some."""
    results = [column.result for column in columns]
    drawn = {
        "loss.svg": any(r.finetune and r.finetune.curve for r in results),
        "accuracy.svg": any(r.execution for r in results),
        "tradeoff.svg": any(
            r.execution and r.execution.ex is not None and (r.memory or r.throughput)
            for r in results
        ),
        "failures.svg": any(r.execution and r.execution.failures for r in results),
        "speed.svg": any(column.run.trials(column.variant) for column in columns),
        "checkpoints.svg": any(len(r.checkpoints or []) > 1 for r in results),
    }
    return [name for name in CHARTS if drawn[name]]


def perplexity_of(value: LossValue | FuseForm | None) -> str:
    """A perplexity as a cell; in words where it leaves the range of a float."""
    return NONE if value is None else fixed(value.ppl, missing="over 10^307")
