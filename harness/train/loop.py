"""One run of mlx-lm's trainer, with validation, checkpoints, resume states, NaN and progress.

``train`` of ``mlx_lm/tuner/trainer.py`` (0.32.2) takes each batch from our iterator and calls us
after each step; everything else happens in between, outside of its step timer, on the weights after
exactly N iterations. Its own validation and saving stay off: it validates before the step that the
validation is numbered by, and it writes files that a kill can leave incomplete.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.backend import backend_name, mx
from harness.data.tokens import TokenizedExample
from harness.errors import UserError
from harness.measure.memory import MemoryPhase
from harness.models.chunked_loss import split_for_loss
from harness.models.load import LoadedModel
from harness.progress import ProgressCallback, silent
from harness.schema.variant_result import CurvePoint
from harness.train.batches import EXACT, FEW, BatchIterator, Schedule
from harness.train.curve import Curve, reports_at, validates_at
from harness.train.loss_function import mean_loss
from harness.train.mlx_lm_trainer import errors_explained, train_with_mlx_lm
from harness.train.resume_state import ResumeState, StateStore
from harness.train.trainable import build_optimizer
from harness.train.variant import Variant

STATE_EVERY_S = 5.0
"""Shortest time between two resume states besides those at checkpoints."""
_STATE_SHARE = 50
# A state is written no more often than 50 times its own cost: 2% of the training at most.


@dataclass(frozen=True)
class TrainingJob:
    """What is trained, on which rows, and where it is saved."""

    loaded: LoadedModel
    variant: Variant
    out: Path
    train: Sequence[TokenizedExample]
    subset: Sequence[TokenizedExample]
    """The rows to validate on."""
    on_row: Callable[[CurvePoint], None] = lambda row: None
    """Takes the rows of the curve as they come."""


class TrainingLoop:
    """One training; :meth:`run` is called once."""

    def __init__(self, job: TrainingJob, store: StateStore, progress: ProgressCallback) -> None:
        """Prepare to train from the newest resume state of ``store``, if there is one."""
        variant = job.variant
        self.memory = {"train": MemoryPhase(), "validate": MemoryPhase()}
        """Memory of the two phases, which alternate."""
        self.overhead_s = 0.0
        self.step_s = 0.0
        self._job = job
        self._model = job.loaded.model
        self._variant = variant
        self._store = store
        self._world = mx.distributed.init()
        self._progress = progress if self._world.rank() == 0 else silent
        self._training = ExitStack()
        """The open context of the memory phase ``train``."""
        self._trains = False
        self._started = self._mark = self._saved = time.perf_counter()
        self._earlier_s = self._save_cost_s = 0.0
        self._optimizer = build_optimizer(variant, self._model)
        self._lengths = tuple(len(row.tokens) for row in job.train)
        self._batches = BatchIterator(
            job.train,
            Schedule(self._lengths, variant.batch_size, variant.seed),
            variant.grad_accumulation_steps,
            variant.mask_prompt,
            variant.max_seq_length,
            EXACT if backend_name() == "cpu" else FEW,
            on_iteration_end=self._on_iteration_end,
            on_batch_ready=self._on_batch_ready,
        )
        self.curve = Curve(accumulate=variant.grad_accumulation_steps)
        self.resumed_from: int | None = None
        if (state := store.newest) is not None:
            store.restore(self._model, self._optimizer)
            self.curve = Curve(accumulate=variant.grad_accumulation_steps, **state.curve)
            self._earlier_s = state.elapsed_s
            for name, phase in self.memory.items():
                phase.go_on_from(state.memory[name])
            self.resumed_from = self._batches.start = state.iteration

    def elapsed_s(self) -> float:
        """Wall time so far, that of a cut-off run included."""
        return self._earlier_s + time.perf_counter() - self._started

    def run(self) -> None:
        """Train to the end; the model is left in evaluation mode."""
        start, last = self._batches.start, self._variant.iters
        for point in self.curve.points:
            self._job.on_row(point)
        mx.eval(self._model.parameters(), self._optimizer.state)
        self._split = split_for_loss(self._model, self._job.loaded.chunked_loss)
        with self._training, errors_explained(self._variant, max(self._lengths)):
            if start < last:
                train_with_mlx_lm(
                    self._model,
                    self._optimizer,
                    self._variant,
                    self._split,
                    self._job.out,
                    self._batches,
                    self,
                )
            self._on_iteration_end(last)
        self._model.eval()

    def _on_batch_ready(self) -> None:
        """Note that a batch is ready and mlx-lm's step begins."""
        if not self._trains:
            self._trains = True
            self._training.enter_context(self.memory["train"])
        now = time.perf_counter()
        self.overhead_s += now - self._mark
        self._mark = now

    def on_train_loss_report(self, info: dict[str, Any]) -> None:
        """mlx-lm's callback, after each step (``steps_per_report`` is 1)."""
        now = time.perf_counter()
        seconds, self._mark = now - self._mark, now
        self.step_s += seconds
        iteration = self._batches.start + int(info["iteration"])
        loss = float(info["train_loss"])
        if not math.isfinite(loss):
            raise self._diverged(loss, iteration)
        counts = self._batches.counts
        # mlx-lm reports the mean over ranks of sum/denominator: undo both for the sum.
        nats = loss * counts.denominator * self._world.size()
        compiles = iteration == self._batches.start + 1 or (
            backend_name() != "cpu" and self._batches.first_of_its_shape
        )
        self.curve.add(nats, counts.targets, counts.tokens, None if compiles else seconds)
        self._progress(f"fine-tune {self._variant.name}", iteration, self._variant.iters)

    def _on_iteration_end(self, done: int) -> None:
        """Do all that needs the weights after ``done`` iterations: report, validate, save."""
        begun = time.perf_counter()
        if done == self._batches.start:
            self._mark = begun  # what preceded was preparation
        if self.resumed_from == done:
            return  # it was all done before the state was saved
        if reports_at(self._variant, done):
            self._row(done)
        is_checkpoint = done % self._variant.save_every == 0 or done == self._variant.iters
        if done and is_checkpoint:
            base = self._job.loaded.base.id
            self._store.write_checkpoint(self._model, self._variant, base, done)
        if done and (is_checkpoint or self._state_is_due()):
            self._save_state(done)
        # Validation and saving are work of their own, not overhead of the loop.
        self._mark += time.perf_counter() - begun

    def _row(self, done: int) -> None:
        loss = None
        if validates_at(self._variant, done):
            label = f"validate {self._variant.name} at {done}"
            size = self._variant.batch_size
            self._training.close()
            self._trains = False
            with self.memory["validate"]:
                loss = mean_loss(
                    self._model, self._job.subset, size, self._progress, label, self._split
                )
            self._model.train()
            if not math.isfinite(loss):
                raise self._diverged(loss, done)
        self.curve.close(done, loss)
        self._job.on_row(self.curve.points[-1])

    def _state_is_due(self) -> bool:
        pause = max(STATE_EVERY_S, _STATE_SHARE * self._save_cost_s)
        return time.perf_counter() - self._saved >= pause

    def _save_state(self, done: int) -> None:
        """Save a resume state, if this is a boundary of gradient accumulation.

        Between two boundaries mlx-lm holds gradients that cannot be reached.
        """
        boundary = done % self._variant.grad_accumulation_steps == 0
        if not boundary or done == self._variant.iters:
            return
        begun = time.perf_counter()
        parts = {name: phase.so_far for name, phase in self.memory.items()}
        memory = {name: part and part.model_dump() for name, part in parts.items()}
        state = ResumeState(done, self.curve.state(), self.elapsed_s(), memory)
        self._store.save(self._model, self._optimizer, state)
        self._saved = time.perf_counter()
        self._save_cost_s = self._saved - begun

    def _diverged(self, loss: float, iteration: int) -> UserError:
        """The error for a loss that is not finite; removes all that the training has saved."""
        self._store.clear()
        shutil.rmtree(self._job.out / "checkpoints", ignore_errors=True)
        for file in self._job.out.glob("*_adapters.safetensors"):
            file.unlink()
        name = self._variant.name
        if iteration == 0:
            return UserError(
                f"the loss of the base model is {loss} before any training of {name!r}: its "
                "weights or its number format are unusable. Try another --model, or one in float32."
            )
        rate = self._variant.learning_rate
        return UserError(
            f"fine-tuning {name!r} diverged: the loss is {loss} at iteration {iteration} of "
            f"{self._variant.iters}. Nothing was kept. Try a lower learning rate "
            f"(--set learning_rate={rate / 10:g}), a smaller lora_parameters.scale, a warm-up "
            "(lr_schedule), or a base in float32 or bfloat16 instead of float16."
        )
