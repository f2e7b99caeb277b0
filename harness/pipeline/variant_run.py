"""The sections of `results.json` for one variant, computed when they are first read.

Stage results (``stages``) and graded answers -> stored records (``schema/variant_result``). A
property with ``@section`` is a section; ``requested`` holds those that were read, which are the
ones that a run stores. The rest are rows of the files beside `results.json`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, TypeVar

from harness.compare.metrics import METRICS
from harness.data.records import Example
from harness.data.sampling import stratified
from harness.data.sources.students import load_students
from harness.disk.files import shown_path
from harness.models.weights import ADAPTER_FILE
from harness.pipeline import grading, interleaved_speed
from harness.pipeline.adapter_path import is_published
from harness.pipeline.stages import PARITY_EXAMPLES, VariantStages
from harness.runs.run_estimate import Step
from harness.schema import stage_results as calls
from harness.schema.rows import AnswerRow, CheckpointRow, PredictionRow, TrialRow
from harness.schema.stage_results import Answers, Call, Fused, Losses, Speeds
from harness.schema.variant_result import (
    CheckpointResult,
    ExactMatch,
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
from harness.sql.grade.score import Score
from harness.sql.grade.summary import summarize
from harness.stats import intervals

T = TypeVar("T")

_NEEDED: dict[str, tuple[Call[Any, Any], ...]] = {
    "finetuned": (calls.FINETUNE,),
    "evaluation": (calls.LOSSES,),
    **dict.fromkeys(
        ("generations", "predictions", "execution", "answers", "exact_match"), (calls.ANSWERS,)
    ),
    "memory": (calls.FINETUNE, calls.LOSSES, calls.ANSWERS, calls.FUSE),
    "parameters": (calls.DESCRIBE,),
    "size": (calls.DESCRIBE, calls.FUSE),
    "fused": (calls.FUSE,),
    "questions": (calls.QUESTION_ANSWERS,),
    "checkpoints": (calls.LOSSES, calls.ANSWERS),
}
"""By fixture: the stages that it is made of, beside training and what is read of the cache."""

SECTIONS: list[str] = []
"""The names of all sections, in the order of their definition below."""

OF_ANSWERS = {"execution", "exact_match", "questions"}
"""The sections that are made of answers alone."""


def section(compute: Callable[[VariantRun], T]) -> cached_property[T]:
    """Make a method a section: computed once, and noted as requested when that succeeded."""
    name = compute.__name__
    SECTIONS.append(name)

    @wraps(compute)
    def requested(self: VariantRun) -> T:
        value = compute(self)
        self.requested.add(name)
        return value

    return cached_property(requested)


@dataclass(eq=False)
class VariantRun:
    """One variant under one seed: its results, section by section."""

    stages: VariantStages
    seed: int
    """Seed of training and of resampling."""
    all_speeds: Callable[[], tuple[dict[str, Speeds], bool]]
    """Gives every variant's timings by name, and whether they came from the cache."""
    keep_fused: Path | None
    """The folder that keeps the fused models; None deletes them."""
    requested: set[str] = field(default_factory=set)
    """The sections that were read."""

    def __post_init__(self) -> None:
        self._invocation = self.stages.invocation
        self.examples = self._invocation.examples

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.stages.variant.name

    @property
    def has_adapter(self) -> bool:
        """Whether there is an adapter: trained, cached or given."""
        return self.stages.adapter.path is not None

    # --- fine-tuning and loss -----------------------------------------------------------------

    @section
    def finetune(self) -> Finetune | None:
        """Curve and wall time; None when an adapter was given."""
        if self.stages.adapter.source == "given":
            return None
        shared = self.stages.finetuned.model_dump(include=set(Finetune.model_fields))
        return Finetune(**shared, cached=self.stages.was_cached)

    @cached_property
    def losses(self) -> Losses:
        """Per-example losses on the test examples."""
        return self.stages.losses(self.stages.adapter.path)

    @section
    def loss(self) -> Loss:
        """Test loss by the three definitions, intervals by bootstrap over tables."""
        rows = self.losses.rows
        tables = [row.table_id for row in rows]

        def value(nll: list[float], tokens: list[int]) -> LossValue:
            interval = intervals.token_weighted_loss(nll, tokens, tables, self.seed)
            return LossValue.of_sum(math.fsum(nll), sum(tokens), interval)

        completion = None  # plain texts do not mark where an answer begins
        if self._invocation.dataset.has_answers:
            completion = value(
                [row.completion_nll for row in rows], [row.completion_tokens for row in rows]
            )
        return Loss(
            n=len(rows),
            of=self._test_size,
            full_text=value([row.full_nll for row in rows], [row.full_tokens for row in rows]),
            completion=completion,
            mlx_lm_compat=self.losses.mlx_lm_compat,
            truncated=self.losses.truncated,
        )

    # --- execution ----------------------------------------------------------------------------

    @cached_property
    def answers(self) -> Answers:
        """Generated answers to the test questions."""
        return self.stages.answers(self.stages.adapter.path)

    @cached_property
    def predictions(self) -> list[PredictionRow]:
        """Graded answers, in id order."""
        return self._grader.rows(self.answers, self.examples, self._scores)

    @cached_property
    def _scores(self) -> list[Score]:
        finished = self._invocation.estimate.finished
        return self._grader.scores(
            self.answers, self.examples, lambda seconds: finished(self._grading, seconds)
        )

    @section
    def execution(self) -> Execution:
        """Execution accuracy by every protocol."""
        return summarize(self._scores, self.examples, self._test_size)

    @cached_property
    def answer_rows(self) -> list[AnswerRow]:
        """Answers to data without tables beside the data's own, in id order."""
        return grading.answer_rows(self.answers, self.examples)

    @section
    def exact_match(self) -> ExactMatch | None:
        """Share of answers that equal the data's own; None for data with tables."""
        if self._invocation.dataset.has_tables:
            return None
        return grading.exact_match(self.answer_rows, self._test_size)

    @cached_property
    def checkpoint_rows(self) -> list[CheckpointRow]:
        """Every example under every checkpoint of --checkpoints; the last one is the adapter."""
        if not self.stages.variant.trains:
            return []
        wanted = self._invocation.options.checkpoints
        iterations = self.stages.saved if wanted == "all" else list(wanted or ())
        return [row for iteration in iterations for row in self._checkpoint(iteration)]

    def _checkpoint(self, iteration: int) -> list[CheckpointRow]:
        adapter = self.stages.adapter_folder(iteration)
        losses = self.stages.losses(adapter).rows
        if not self._invocation.dataset.has_tables:
            return grading.checkpoint_rows(iteration, losses, None)
        answers = self.stages.answers(adapter)
        scores = self._grader.scores(answers, self.examples)
        graded = self._grader.rows(answers, self.examples, scores)
        return grading.checkpoint_rows(iteration, losses, graded)

    @section
    def checkpoints(self) -> list[CheckpointResult]:
        """Saved checkpoints by loss and execution accuracy."""
        return grading.checkpoint_results(self.checkpoint_rows)

    # --- cost ---------------------------------------------------------------------------------

    @section
    def memory(self) -> Memory:
        """Memory by phase, from the process that ran it."""
        done = None if self.stages.adapter.source == "given" else self.stages.finetuned
        return Memory(
            load=self.stages.description.load,
            train=None if done is None else done.train,
            validate_=None if done is None else done.validation,
            test=self.losses.memory,
            generate=self.answers.memory,
            fuse=self._fused.memory if self.has_adapter else None,
        )

    @section
    def size(self) -> Size:
        """Bytes on disk of base, adapter and fused model."""
        adapter = self.stages.adapter.path
        fused = None if adapter is None else self._fused
        return Size(
            base_bytes=self.stages.description.base_bytes,
            base_by_dtype=self.stages.description.base_by_dtype,
            adapter_bytes=0 if adapter is None else (adapter / ADAPTER_FILE).stat().st_size,
            fused_bytes=None if fused is None else fused.fused_bytes,
            fused_by_dtype=None if fused is None else fused.fused_by_dtype,
        )

    @cached_property
    def _fused(self) -> Fused:
        return self.stages.fused([e.id for e in self._parity_examples], self.keep_fused)

    @property
    def _parity_examples(self) -> list[Example]:
        """A seeded subset of the examples under test, in id order."""
        ids = set(self._invocation.ids)
        sampling_seed = self._invocation.options.seeds[0]
        shuffled = stratified(self._invocation.dataset.test, -1, sampling_seed)
        subset = [example for example in shuffled if example.id in ids][:PARITY_EXAMPLES]
        return sorted(subset, key=lambda example: example.id)

    @section
    def fuse(self) -> Fuse | None:
        """Quality of the adapter, the fused and the dequantized form; None without an adapter."""
        if not self.has_adapter:
            return None
        subset = self._parity_examples
        return grading.fuse_section(
            self._fused, lambda texts: self._grader.rate_of_texts(texts, subset)
        )

    # --- speed --------------------------------------------------------------------------------

    @cached_property
    def speeds(self) -> Speeds:
        """Timings, interleaved with those of the other variants of the run."""
        return self.all_speeds()[0][self.name]

    @section
    def throughput(self) -> Throughput:
        """Speed of single-stream generation and of batches."""
        return interleaved_speed.throughput(self.speeds, cached=self.all_speeds()[1])

    @cached_property
    def trials(self) -> list[TrialRow]:
        """One row a timed trial."""
        return interleaved_speed.trial_rows(self.speeds)

    @section
    def questions(self) -> list[QuestionResult] | None:
        """The students questions, answered and graded, without speeds; None where the data has no
        tables, and the model learned something else."""
        if not self._invocation.dataset.has_tables:
            return None
        answers, style, asked = (
            self.stages.question_answers(),
            self._invocation.style,
            load_students(),
        )
        parts = [style.sha256, [repr(one) for one in asked], [one.text for one in answers.rows]]

        def graded() -> list[dict[str, Any]]:
            found = grading.questions(asked, answers.rows, style)
            return [one.model_dump(mode="json") for one in found]

        cache = self._invocation.cache
        kept = cache.value("grades", parts, grading.GRADING_PACKAGES, graded)
        return [QuestionResult.model_validate(one) for one in kept]

    # --- the estimate -------------------------------------------------------------------------

    def to_come(self, asked: Collection[str]) -> list[Step]:
        """What the tests that ask for these fixtures have still to compute."""
        has_tables, trains = self._invocation.dataset.has_tables, self.stages.variant.trains
        given = self.name in self._invocation.given
        impossible = {
            calls.QUESTION_ANSWERS: not has_tables,
            calls.FUSE: not (trains or given),
            calls.FINETUNE: given,
        }
        names = [name for name in asked if trains or name != "checkpoints"]
        needed = dict.fromkeys(call for name in names for call in _NEEDED.get(name, ()))
        wanted = [call for call in needed if not impossible.get(call)]
        if not wanted:
            return []
        earlier = self._earlier if "checkpoints" in asked and trains else []
        ids = [example.id for example in self._parity_examples]
        steps = self.stages.to_come(wanted, ids, earlier)
        graded = calls.ANSWERS in wanted and has_tables
        return [*steps, self._grading] if graded else steps

    @property
    def _earlier(self) -> list[int]:
        """The checkpoints to measure, but for the last."""
        variant, wanted = self.stages.variant, self._invocation.options.checkpoints
        every = range(variant.save_every, variant.iters, variant.save_every)
        return [*every] if wanted == "all" else sorted({*(wanted or ())} - {variant.iters})

    @property
    def _grading(self) -> Step:
        data = self._invocation.dataset.sha256
        return Step(kind="grading", model="", setting=data, units=len(self.examples))

    # --- the record ---------------------------------------------------------------------------

    def result(self) -> VariantResult:
        """Everything measured; sections that were not requested are null."""
        sections = {
            name: getattr(self, name) if name in self.requested else None for name in SECTIONS
        }
        if "throughput" in self.requested and sections["questions"] is not None:
            sections["questions"] = interleaved_speed.with_speeds(
                sections["questions"], self.speeds.questions
            )
        config = self.stages.config()
        if (resumed := config.get("resume_adapter_file")) is not None:
            config["resume_adapter_file"] = shown_path(Path(resumed))
        described = None if self.stages.without_weights else self.stages.description
        return VariantResult(
            config=config,
            adapter=self.stages.adapter.record(is_published(self._invocation.options.results_dir)),
            parameters=described and described.parameters,
            acceleration=described and described.acceleration,
            **sections,
        )

    def track(self) -> None:
        """Send the curve, where it was not sent while training, and every metric to the trackers
        of the variant's `report_to`."""
        if not self.requested or not self.stages.variant.report_to:
            return
        result = self.result()
        values = {key: metric.value(result) for key, metric in METRICS.items()}
        for name in ("full_text", "completion"):
            loss = getattr(result.loss, name, None)
            values[f"{name}_perplexity"] = loss and loss.ppl
        known = {key: value for key, value in values.items() if value is not None}
        self.stages.trackers.end(result.finetune.curve if result.finetune else (), known)

    @property
    def _test_size(self) -> int:
        return len(self._invocation.dataset.test.examples)

    @cached_property
    def _grader(self) -> grading.Grader:
        data = self._invocation.dataset
        return grading.Grader(data.test, data.sha256, self._invocation.cache)
