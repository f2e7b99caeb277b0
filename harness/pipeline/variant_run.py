"""The sections of `results.json` for one variant, computed when first asked for.

Stage payloads (`stages.py`) and graded answers -> stored records (`results/variant_schema`). Each
property is a section or a row file; `touched` remembers which a run shall store.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.records import Example
from harness.data.sampling import stratified
from harness.data.sources.students import load_students
from harness.models.weights import ADAPTER_FILE
from harness.options import Checkpoints
from harness.pipeline import grading
from harness.pipeline.checkpoint_rows import checkpoint_results, checkpoint_rows
from harness.pipeline.fuse_section import fuse_section
from harness.pipeline.stages import PARITY_EXAMPLES, VariantStages
from harness.schema.rows import CheckpointRow, LossRow, PredictionRow, TrialRow
from harness.schema.variant_result import (
    CheckpointResult,
    Execution,
    Finetune,
    Fuse,
    Loss,
    LossValue,
    Memory,
    QuestionResult,
    Size,
    Throughput,
    VariantResult,
)
from harness.stats import intervals

if TYPE_CHECKING:
    from harness.schema.stage_results import Answers, Fused, Losses, Speeds

SECTIONS = (
    "finetune",
    "checkpoints",
    "loss",
    "memory",
    "size",
    "throughput",
    "execution",
    "fuse",
    "questions",
)


class VariantRun:
    """One variant under one seed: its results, section by section."""

    def __init__(
        self,
        stages: VariantStages,
        examples: Sequence[Example],
        seed: int,
        sampling_seed: int,
        speeds: Callable[[], tuple[Speeds, bool]],
        keep_fused: Path | None,
        checkpoints: Checkpoints,
    ) -> None:
        self.stages = stages
        self.seed = seed
        self._sampling_seed = sampling_seed
        self.examples = examples
        self.touched: set[str] = set()
        self._speeds = speeds
        self._keep_fused = keep_fused
        self._checkpoints = checkpoints

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.stages.variant.name

    @property
    def has_adapter(self) -> bool:
        """Whether there is an adapter: trained, cached or given."""
        return self.stages.adapter.path is not None

    def section(self, name: str) -> Any:
        """The section called ``name``, marked as wanted in the stored run."""
        value = getattr(self, name)
        self.touched.add(name)
        return value

    # --- fine-tuning and loss -----------------------------------------------------------------

    @cached_property
    def finetune(self) -> Finetune | None:
        """Curve and wall time; None when an adapter was given."""
        if self.stages.adapter.source == "given":
            return None
        done = self.stages.finetuned
        return Finetune(
            curve=done.curve,
            wall_s=done.wall_s,
            resumed_from=done.resumed_from,
            contended=done.contended,
            measured_at=done.measured_at,
            cached=self.stages.was_cached,
            ranks=done.ranks,
            truncated=done.truncated,
        )

    @cached_property
    def losses(self) -> Losses:
        """Per-example losses on the test examples."""
        return self.stages.losses(self._ids, self.stages.adapter.path)

    @cached_property
    def loss(self) -> Loss:
        """Test loss by the three definitions, intervals by bootstrap over tables."""
        rows = self.losses.rows
        tables = [row.table_id for row in rows]
        return Loss(
            n=len(rows),
            of=len(self.stages.setting.dataset.test.examples),
            full_text=self._loss_value(
                [row.full_nll for row in rows], [row.full_tokens for row in rows], tables
            ),
            # Plain texts do not say where an answer begins.
            completion=self._loss_value(
                [row.completion_nll for row in rows],
                [row.completion_tokens for row in rows],
                tables,
            )
            if self.stages.setting.dataset.has_answers
            else None,
            mlx_lm_compat=self.losses.mlx_lm_compat,
            truncated=self.losses.truncated,
        )

    def _loss_value(self, nll: list[float], tokens: list[int], tables: list[str]) -> LossValue:
        interval = intervals.token_weighted_loss(nll, tokens, tables, self.seed)
        return LossValue.of_sum(math.fsum(nll), sum(tokens), interval)

    # --- execution ----------------------------------------------------------------------------

    @cached_property
    def answers(self) -> Answers:
        """Generated answers to the test questions."""
        return self.stages.answers(self._ids, self.stages.adapter.path)

    @cached_property
    def predictions(self) -> list[PredictionRow]:
        """Graded answers, in id order."""
        return self._grader.grade(self.answers, self.examples)

    @cached_property
    def execution(self) -> Execution:
        """Execution accuracy by every protocol."""
        of = len(self.stages.setting.dataset.test.examples)
        return self._grader.execution(self.answers, self.examples, of, self.seed)

    @cached_property
    def checkpoint_rows(self) -> list[CheckpointRow]:
        """Every example under every checkpoint asked for; the last one is the adapter."""
        if not self.stages.variant.trains:
            return []
        done = self.stages.finetuned
        wanted = done.checkpoints if self._checkpoints == "all" else list(self._checkpoints or ())
        return [row for iteration in wanted for row in self._checkpoint(iteration)]

    def _checkpoint(self, iteration: int) -> list[CheckpointRow]:
        adapter = self.stages.adapter_folder(iteration)
        losses = self.stages.losses(self._ids, adapter).rows
        if not self.stages.setting.dataset.has_tables:
            return checkpoint_rows(iteration, losses, None)
        graded = self._grader.grade(self.stages.answers(self._ids, adapter), self.examples)
        return checkpoint_rows(iteration, losses, graded)

    @cached_property
    def checkpoints(self) -> list[CheckpointResult]:
        """Saved checkpoints by loss and execution accuracy."""
        return checkpoint_results(self.checkpoint_rows)

    # --- cost ---------------------------------------------------------------------------------

    @cached_property
    def memory(self) -> Memory:
        """Memory by phase, from the process that ran it."""
        done = None if self.stages.adapter.source == "given" else self.stages.finetuned
        return Memory(
            load=self.stages.description.load,
            train=None if done is None else done.train,
            validate_=None if done is None else done.validation,
            test=self.losses.memory,
            generate=self.answers.memory,
        )

    @cached_property
    def size(self) -> Size:
        """Bytes on disk of base, adapter and fused model."""
        adapter = self.stages.adapter.path
        fused = None if adapter is None else self._fused
        return Size(
            base_bytes=self.stages.description.base_bytes,
            adapter_bytes=0 if adapter is None else (adapter / ADAPTER_FILE).stat().st_size,
            fused_bytes=None if fused is None else fused.fused_bytes,
            fused_by_dtype=None if fused is None else fused.fused_by_dtype,
        )

    @cached_property
    def _fused(self) -> Fused:
        return self.stages.fused([e.id for e in self._parity_examples], self._keep_fused)

    @property
    def _parity_examples(self) -> list[Example]:
        """A seeded subset of the examples under test, in id order."""
        split = self.stages.setting.dataset.test
        ids = {example.id for example in self.examples}
        shuffled = [e for e in stratified(split, -1, self._sampling_seed) if e.id in ids]
        return sorted(shuffled[:PARITY_EXAMPLES], key=lambda example: example.id)

    @cached_property
    def fuse(self) -> Fuse | None:
        """Quality of the adapter, the fused and the dequantized form; None without an adapter."""
        if not self.has_adapter:
            return None
        subset = self._parity_examples
        if not self.stages.setting.dataset.has_tables:
            return fuse_section(self._fused, lambda _: None)
        return fuse_section(self._fused, lambda texts: self._grader.rate_of_texts(texts, subset))

    # --- speed --------------------------------------------------------------------------------

    @cached_property
    def speeds(self) -> Speeds:
        """Timings taken in turns with the other variants of the run."""
        return self._speeds()[0]

    @cached_property
    def throughput(self) -> Throughput:
        """Speed of single-stream generation and of batches."""
        speeds, cached = self._speeds()
        return grading.throughput(speeds, cached)

    @cached_property
    def trials(self) -> list[TrialRow]:
        """One row a timed trial."""
        return grading.trial_rows(self.speeds)

    @property
    def questions(self) -> list[QuestionResult]:
        """The students questions, answered and graded; speeds when they were measured."""
        if "throughput" not in self.touched:
            return self._questions
        return grading.with_speeds(self._questions, self.speeds.questions)

    @cached_property
    def _questions(self) -> list[QuestionResult]:
        answers = self.stages.question_answers()
        return grading.questions(load_students(), answers.rows, self.stages.setting.style)

    # --- assembly -----------------------------------------------------------------------------

    def result(self) -> VariantResult:
        """Everything measured, sections that were not asked for null."""
        source = self.stages.adapter
        sections = {
            name: getattr(self, name) if name in self.touched else None for name in SECTIONS
        }
        return VariantResult(
            config=self.stages.variant.config(),
            adapter=source.record(),
            parameters=self.stages.description.parameters,
            acceleration=self.stages.description.acceleration,
            **sections,
        )

    def loss_rows(self) -> list[LossRow]:
        """Rows of `losses.<variant>.jsonl`."""
        return self.losses.rows

    @property
    def _ids(self) -> list[int]:
        return [example.id for example in self.examples]

    @cached_property
    def _grader(self) -> grading.Grader:
        return grading.Grader(self.stages.setting.dataset.test, self.stages.setting.cache)
