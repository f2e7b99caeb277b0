"""The calls of a variant's model process: one method per call, a request in and a result out.

The base is loaded once and kept; an adapter is loaded from disk, also after training, so that what
is measured is what was saved. Requests and results are the records of ``schema/stage_results``;
which variant is timed next, and what becomes of timings, is decided by the parent.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.backend import backend_name
from harness.data.leakage import data_facts
from harness.data.tokens import row_facts
from harness.disk.files import link_or_copy, require_space
from harness.disk.journal import Journal
from harness.disk.kernels import use_private_kernels
from harness.machine.chip import compute_device
from harness.measure import generate, loss, speed
from harness.measure.contention import Contention
from harness.measure.memory import MemoryPhase
from harness.models.device import (
    device,
    device_memory,
    limit_memory,
    measured_at,
    product_gflops,
)
from harness.models.load import LoadedModel, load
from harness.progress import ProgressCallback, print_message
from harness.protocols import BATCH_ROWS
from harness.schema import stage_results as calls
from harness.schema.stage_results import Call, Request, Result
from harness.schema.variant_result import CurvePoint, Record
from harness.sharding import SINGLE_RANK, Shard
from harness.train.estimate import Computer, Estimate, estimate
from harness.train.finetune import finetune
from harness.train.fuse import weigh
from harness.train.past_runs import PastRuns
from harness.train.resume_state import disk_bytes
from harness.worker import memory_advice
from harness.worker.fused import measure_forms
from harness.worker.state import ModelState

ROWS_FILE = "rows.journal"


class Handlers:
    """The model, the data and the stages of one variant."""

    def __init__(
        self,
        progress: ProgressCallback,
        working: Callable[[str], None],
        on_row: Callable[[CurvePoint], None],
    ) -> None:
        self._progress = progress
        self._on_row = on_row
        self._working = working
        self._shard = SINGLE_RANK
        self._estimated: Estimate | None = None
        self._table = dict(
            [
                _entry(calls.OPEN, self.open),
                _entry(calls.RANK_FACTS, self.rank_facts),
                _entry(calls.JOIN, self.join),
                _entry(calls.DESCRIBE, self.describe),
                _entry(calls.DEVICE_MEMORY, self.device_memory),
                _entry(calls.ESTIMATE, self.estimate),
                _entry(calls.FINETUNE, self.finetune),
                _entry(calls.LOSSES, self.losses),
                _entry(calls.ANSWERS, self.answers),
                _entry(calls.QUESTION_ANSWERS, self.question_answers),
                _entry(calls.FUSE, self.fuse),
                _entry(calls.WARM_UP, self.warm_up),
                _entry(calls.SPEED_ROUND, self.speed_round),
                _entry(calls.QUESTION_TRIALS, self.question_trials),
            ]
        )

    def handle(self, call: str, request: dict[str, Any]) -> Record:
        """The result of the call of that name."""
        request_type, handler = self._table[call]
        return handler(request_type.model_validate(request))

    def open(self, request: calls.OpenRequest) -> calls.Nothing:
        """Find the model and the data, which must be those that the parent found; load nothing."""
        self._cache_root = Path(request.cache_root)
        use_private_kernels(self._cache_root)
        limit_memory()
        self.state = ModelState(request, self._progress, self._working)
        self.variant = self.state.variant
        return calls.Nothing()

    def rank_facts(self, _: calls.Nothing) -> calls.RankFacts:
        """What the other ranks must have as this one has it."""
        must_match = {
            "base model": self.state.base.sha256,
            "dataset": self.state.dataset.sha256,
        }
        return calls.RankFacts(must_match=must_match)

    def join(self, request: calls.JoinRequest) -> calls.Nothing:
        """Connect with the model processes of the other ranks."""
        os.environ.update(request.variables)
        self._shard = Shard.of_the_group(request.size)
        return calls.Nothing()

    def describe(self, _: calls.Nothing) -> calls.Description:
        """Load the base, and count and weigh it."""
        self.state.release()
        size = weigh(self.state.base.path)
        if warning := memory_advice.too_large(self.state.base.id, size.by_dtype, device_memory()):
            print_message(f"tunebench: {warning}")
        with MemoryPhase() as phase:
            loaded = load(self.state.base)
        acceleration = loaded.accelerate()
        self.state.keep(loaded)
        return calls.Description(
            device=device(),
            base_bytes=size.bytes,
            base_by_dtype=size.by_dtype,
            parameters=self.state.counts(),
            acceleration=acceleration.to_json(),
            load=phase.measured,
        )

    def device_memory(self, _: calls.Nothing) -> calls.DeviceMemory:
        """What MLX may take now, and what this process holds of it."""
        return device_memory()

    def estimate(self, _: calls.Nothing) -> calls.Estimate:
        """What fine-tuning will take, before it starts."""
        loaded = self.state.model(None)
        rows, _valid = self.state.training_rows(loaded, keep=True)
        checked = row_facts(rows, loaded.tokenizer, self.state.longest)
        memory = device_memory()
        computer = Computer(
            memory.backend, memory.total_bytes, product_gflops(), loaded.chunked_loss
        )
        lengths = [len(row.tokens) for row in rows.examples]
        valid_rows = len(self.state.dataset.valid.examples)
        self._estimated = estimate(self.state.subject(), computer, lengths, valid_rows)
        past = self._past_runs()
        found = past.corrected(self._estimated)
        shortage = memory_advice.shortage(found.peak_bytes, memory)
        return calls.Estimate(
            text=f"{found} ({past.note}){shortage}",
            checked=f"{checked}; {data_facts(self.state.dataset)}",
        )

    def _past_runs(self) -> PastRuns:
        return PastRuns.of(self._cache_root, [backend_name(), *compute_device()[1:]])

    def finetune(self, request: calls.FinetuneRequest) -> calls.Finetuned:
        """Train, and copy the finished adapter; an interrupted training goes on in its folder."""
        self.state.release()
        if self.variant.trains:
            self._require_disk(request.work)
        loaded = load(self.state.base)
        train, valid = self.state.training_rows(loaded)
        with Contention(root=os.getppid()) as contention:
            result = finetune(
                loaded,
                self.variant,
                train.examples,
                valid.examples,
                request.work,
                self._progress,
                self._on_row,
            )
        if result.adapter is not None:
            shutil.copytree(
                result.adapter, request.out, dirs_exist_ok=True, copy_function=link_or_copy
            )
        if self._estimated and result.train and not contention.contended:
            whole = result.resumed_from is None and self._shard.size == 1
            if whole:
                self._past_runs().add(self._estimated, result.wall_s, result.train.mlx_peak_bytes)
        return calls.Finetuned(
            **result.model_dump(include=set(calls.Training.model_fields)),
            iterations=self.variant.iters if self.variant.trains else 0,
            truncated=train.truncated,
            contended=contention.contended,
            measured_at=measured_at(),
            ranks=self._shard.size,
        )

    def _require_disk(self, work: Path) -> None:
        """Refuse a training whose checkpoints and states the disk cannot hold."""
        trainable = self.state.subject().trainable_bytes(backend_name())
        require_space(
            work,
            disk_bytes(self.variant, trainable),
            f"fine-tuning {self.variant.name!r}, its checkpoints and resume states,",
            "Save fewer (--set save_every=N), train less (num_layers, lora_parameters.rank)",
        )

    def losses(self, request: calls.EvaluateRequest) -> calls.Losses:
        """Loss of test examples by all three definitions."""
        loaded = self.state.model(request.adapter)
        rows = self.state.tokenized(self.state.examples(request.ids), loaded)
        with MemoryPhase() as phase:
            kept = self._kept_rows(loaded, request.work, phase)
            found = loss.evaluate(
                loaded.model,
                rows.examples,
                BATCH_ROWS,
                self._progress,
                kept,
                self._shard,
            )
        compat = loss.mlx_lm_compat(
            found,
            loss.CompatSettings(
                batch_size=self.variant.batch_size,
                seed=self.variant.seed,
                test_batches=self.variant.test_batches,
                max_seq_length=self.variant.max_seq_length,
            ),
        )
        # Of each row its record's fields are sent: those of `mlx_lm_compat` stay here.
        return calls.Losses(
            rows=found, truncated=rows.truncated, mlx_lm_compat=compat, memory=phase.measured
        )

    def answers(self, request: calls.EvaluateRequest) -> calls.Answers:
        """Greedy answers to test questions."""
        loaded = self.state.model(request.adapter)
        prompts = self.state.prompts(self.state.examples(request.ids), loaded)
        return self._answer(loaded, request.ids, prompts, request.work, self._shard)

    def question_answers(self, request: calls.QuestionsRequest) -> calls.Answers:
        """Greedy answers to the students questions."""
        loaded = self.state.model(request.adapter)
        prompts = self.state.student_prompts(loaded)
        return self._answer(loaded, range(len(prompts)), prompts, request.work, SINGLE_RANK)

    def _answer(
        self,
        loaded: LoadedModel,
        ids: Sequence[int],
        prompts: list[list[int]],
        work: Path,
        shard: Shard,
    ) -> calls.Answers:
        with MemoryPhase() as phase:
            kept = self._kept_rows(loaded, work, phase)
            found = generate.generate(
                loaded, prompts, self.state.generation, self._progress, kept, shard
            )
        rows = [
            calls.Answer(id=id, text=answer.text, tokens=answer.tokens, finish=answer.finish)
            for id, answer in zip(ids, found, strict=True)
        ]
        return calls.Answers(rows=rows, memory=phase.measured)

    @staticmethod
    def _kept_rows(loaded: LoadedModel, work: Path, phase: MemoryPhase) -> Journal:
        """The batches of an evaluation that a killed process kept in ``work``, computed by the
        same kernels (a cache may have moved); its memory counts in the phase that goes on."""
        kernels = loaded.acceleration and loaded.acceleration.to_json()
        journal = Journal(work / ROWS_FILE, kernels, lambda: phase.measured.model_dump())
        if journal.notes:
            phase.go_on_from(journal.notes[-1])
        return journal

    def fuse(self, request: calls.FuseRequest) -> calls.Fused:
        """The tuned model in its forms, each measured on the parity subset."""
        return measure_forms(self.state, request, self._progress)

    def warm_up(self, request: calls.TrialRequest) -> calls.Nothing:
        """One round that is not timed."""
        loaded = self.state.model(request.adapter)
        prompt = self.state.speed_prompt(loaded, request.prompt_tokens, request.new_tokens)
        speed.warm_up(loaded, prompt, request.batch, request.new_tokens)
        return calls.Nothing()

    def speed_round(self, request: calls.TrialRequest) -> calls.SpeedRound:
        """One round of the interleaved trials: a single stream and a batch."""
        if request.warm_up:
            self.warm_up(request)
        loaded = self.state.model(request.adapter)
        prompt = self.state.speed_prompt(loaded, request.prompt_tokens, request.new_tokens)
        batch = [prompt] * request.batch
        return calls.SpeedRound(
            trial=speed.trial(loaded, prompt, request.new_tokens, request.least_s),
            batched_tokens_per_s=speed.batched_trial(
                loaded, batch, request.new_tokens, request.least_s
            ),
        )

    def question_trials(self, request: calls.TrialRequest) -> calls.QuestionTrials:
        """One timed trial a students question."""
        loaded = self.state.model(request.adapter)
        prompts = self.state.student_prompts(loaded)
        return calls.QuestionTrials(
            trials=[speed.trial(loaded, p, request.new_tokens) for p in prompts]
        )


def _entry(
    call: Call[Request, Result], handler: Callable[[Request], Result]
) -> tuple[str, tuple[type[Record], Callable[[Any], Record]]]:
    """A row of the table of calls; the types of the call and of its handler must agree."""
    return call.name, (call.request, handler)
