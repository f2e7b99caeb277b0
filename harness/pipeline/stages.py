"""The stages of one variant, each run at most once and cached by content.

A :class:`VariantStages` owns the variant's model process and returns stage results when they are
first used: description, fine-tuning, losses, answers, fused forms. A stage's cache key is made of
what decides its content (base, variant, data, seed, adapter, protocol, versions), so that the
second run of a command finds every stage and starts no process. Speed is not here: it is measured
across variants (``interleaved_speed``).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from harness.data.prompts import answers_in_one_line, texts_key
from harness.data.sources.students import STUDENTS_FOLDER
from harness.disk.files import content_key, sha256_file, write_json
from harness.disk.kernels import kernel_folder, remove_kernels
from harness.disk.manifest import MANIFEST
from harness.distributed.ranked_worker import RankedWorker
from harness.errors import UserError, one_line
from harness.machine.installed import warn_of_blas
from harness.models.weights import ADAPTER_FILE
from harness.pipeline import cache_keys
from harness.pipeline.adapter_path import (
    AdapterSource,
    check_unchanged,
    checkpoint_folder,
    numbered,
)
from harness.pipeline.invocation import Invocation
from harness.pipeline.trackers import Trackers
from harness.runs.run_estimate import Step
from harness.schema import stage_results as calls
from harness.schema.stage_results import Call, Request, Result
from harness.train.estimate import training_rows
from harness.train.variant import Variant
from harness.worker.client import KernelFault, Worker, WorkerError

PARITY_EXAMPLES = 24
"""Size of the seeded subset on which the fused forms are compared."""

RESULT_FILE = "payload.json"
"""The file of a cache entry that holds the stage's result."""


class VariantStages:
    """One variant with one seed: its stages, its process, its place in the cache."""

    def __init__(
        self, invocation: Invocation, variant: Variant, trackers: Trackers | None = None
    ) -> None:
        self.invocation = invocation
        self.variant = variant
        self.trackers = trackers or Trackers(None, (), invocation.notify)
        self._given = invocation.given.get(variant.name)
        self._worker: Worker | RankedWorker | None = None
        self._trained_here = False
        self._starting_s = 0.0
        """Spent on starting processes; no part of a stage's time."""
        self._failures: dict[tuple[str, str], Exception] = {}
        """Why a stage failed, by its cache key. Every section of a variant reads its training; one
        that ran out of memory would run out of it again for each of them, after as long."""

    @property
    def without_weights(self) -> str:
        """Why a stage that needs weights is skipped; empty where they are here."""
        return ""

    def config(self) -> dict[str, Any]:
        """The effective variant file, as it is stored."""
        return self.variant.config()

    # --- the model process -------------------------------------------------------------------

    @property
    def worker(self) -> Worker | RankedWorker:
        """The variant's process, started on first use."""
        if self._worker is None:
            began = time.monotonic()
            invocation, name = self.invocation, self.variant.name
            if invocation.coordinator is None:
                self._worker = Worker(name, None, invocation.notify, self.trackers.row)
            else:
                ranks, notify = invocation.coordinator, invocation.notify
                self._worker = RankedWorker(ranks, name, notify, self.trackers.row)
            request = calls.OpenRequest(
                model=invocation.base.id,
                variant=self.variant.config(),
                dataset=invocation.data_name,
                prompt_style=invocation.style.name,
                max_new_tokens=invocation.options.max_new_tokens,
                cache_root=str(invocation.cache.root),
                trust_remote_code=invocation.options.trust_remote_code,
                expected={"model": invocation.base.sha256, "dataset": invocation.dataset.sha256},
            )
            self._worker.call(calls.OPEN, request, invocation.progress)
            spent = time.monotonic() - began
            self._starting_s += spent
            invocation.estimate.finished(self.step("start", 1), spent)
        return self._worker

    def close(self) -> None:
        """End the process; a later stage starts a new one."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def call(self, call: Call[Request, Result], request: Request) -> Result:
        """Send a request to the variant's process and return its result; once more, in a new
        process, where code that MLX has compiled may be damaged."""
        try:
            return self._sent(call, request)
        except KernelFault as fault:
            folder = fault.removed_from or kernel_folder(self.invocation.cache.root)
            if isinstance(folder, Path) and not remove_kernels(folder):
                raise
            self._note(
                f"{call.name} failed ({one_line(fault).rpartition(', ')[2]}); the code that MLX "
                f"compiled in {folder} may be damaged: removed, and tried once more"
            )
            return self._sent(call, request)

    def _sent(self, call: Call[Request, Result], request: Request) -> Result:
        worker = self.worker
        try:
            return worker.call(call, request, self._labelled)
        except WorkerError:
            # It may be dead: the next stage starts a new one.
            self.close()
            raise

    def _labelled(self, label: str, done: float, total: float) -> None:
        self.invocation.progress(f"{self.variant.name}: {label}", done, total)

    def _note(self, message: str) -> None:
        self.invocation.notify(f"{self.variant.name}: {message}")

    # --- stages ------------------------------------------------------------------------------

    @cached_property
    def description(self) -> calls.Description:
        """The base as this variant uses it."""
        found = self._cached(
            calls.DESCRIBE,
            self.key_of(calls.DESCRIBE),
            lambda *_: self.call(calls.DESCRIBE, calls.Nothing()),
        )
        warn_of_blas(found.device.blas, self.invocation.notify)
        return found

    @cached_property
    def adapter(self) -> AdapterSource:
        """The adapter to measure, trained first where it is not cached."""
        if self._given is not None:
            return self._given
        if not self.variant.trains:
            return AdapterSource(None, None, 0, "cached")
        iterations = self.finetuned.iterations
        path = self.adapter_folder(iterations)
        digest = sha256_file(path / ADAPTER_FILE)
        return AdapterSource(path, digest, iterations, "cached" if self.was_cached else "trained")

    @property
    def was_cached(self) -> bool:
        """Whether the fine-tuning is from the cache: of an earlier run, or a simultaneous one."""
        _ = self.finetuned
        return not self._trained_here

    @cached_property
    def finetuned(self) -> calls.Finetuned:
        """Curve, times and checkpoints; the weights lie in :meth:`adapter_folder`.

        Raises:
            UserError: an adapter was given, so nothing is trained.
        """
        if self._given is not None:
            raise UserError("--adapter-path evaluates a given adapter: there is no fine-tuning")
        return self._cached(calls.FINETUNE, self.key_of(calls.FINETUNE), self._train)

    def _train(self, folder: Path, work: Path) -> calls.Finetuned:
        self._trained_here = True
        if self.variant.trains:
            estimate = self.call(calls.ESTIMATE, calls.Nothing())
            ranks = self.invocation.ranks
            shared = "" if ranks == 1 else f" on one rank, less on {ranks}"
            self._note(estimate.checked)
            self._note(f"fine-tuning will take {estimate.text}{shared}")
            if sys.platform == "darwin":
                self._note("a Mac that falls asleep stops its GPU: `caffeinate -is` prevents it")
        done = self.call(calls.FINETUNE, calls.FinetuneRequest(work=work, out=folder))
        for note in done.notes:
            self._note(note)
        return done

    def adapter_folder(self, iteration: int) -> Path:
        """The mlx-lm adapter folder of a saved checkpoint."""
        if self._given is not None:
            return checkpoint_folder(self._given, iteration, self.invocation.cache)
        folder = self.invocation.cache.path("finetune", self._finetune_key)
        last = self.finetuned.iterations
        return folder if iteration == last else folder / "checkpoints" / f"{iteration:07d}"

    @property
    def saved(self) -> list[int]:
        """The iterations of the saved checkpoints, the adapter's own last."""
        if self._given is not None:
            return list(numbered(self._given))
        return self.finetuned.checkpoints

    def losses(self, adapter: Path | None) -> calls.Losses:
        """Loss of the test examples, by all three definitions."""
        return self._evaluated(calls.LOSSES, adapter)

    def answers(self, adapter: Path | None) -> calls.Answers:
        """Greedy answers to the test questions."""
        return self._evaluated(calls.ANSWERS, adapter)

    def _evaluated(self, call: Call[calls.EvaluateRequest, Result], adapter: Path | None) -> Result:
        """The result of an evaluation of the test examples."""
        ids = self.invocation.ids

        def evaluate(_: Path, work: Path) -> Result:
            return self.call(call, calls.EvaluateRequest(ids=ids, adapter=adapter, work=work))

        return self._cached(call, self.key_of(call, adapter), evaluate)

    def fused(self, ids: Sequence[int], keep: Path | None) -> calls.Fused:
        """The tuned model in its three forms on the parity subset ``ids``."""
        adapter = self.adapter.path
        if adapter is None:
            raise UserError(f"variant {self.variant.name} has no adapter to fuse")

        def fuse(_: Path, folder: Path) -> calls.Fused:
            request = calls.FuseRequest(
                ids=list(ids), adapter=adapter, folder=folder, keep=keep is not None
            )
            return self.call(calls.FUSE, request)

        if keep is not None:
            return fuse(keep, keep)
        key = self.key_of(calls.FUSE, adapter, ids)
        fused = self._cached(calls.FUSE, key, fuse, ids)
        if fused.skipped is not None:
            # There was too little memory or disk just now: the next run tries again.
            self.invocation.cache.discard("fuse", key)
        return fused

    def question_answers(self) -> calls.Answers:
        """Answers to the students questions, in their order."""
        adapter = self.adapter.path
        key = self.key_of(calls.QUESTION_ANSWERS, adapter)

        def answer(_: Path, work: Path) -> calls.Answers:
            request = calls.QuestionsRequest(adapter=adapter, work=work)
            return self.call(calls.QUESTION_ANSWERS, request)

        return self._cached(calls.QUESTION_ANSWERS, key, answer)

    # --- what is to come ----------------------------------------------------------------------

    def to_come(
        self, wanted: Collection[Call[Any, Any]], ids: Sequence[int], earlier: Sequence[int]
    ) -> list[Step]:
        """The steps of the calls ``wanted`` that are not in the cache, as far as it can be known
        before training.

        Args:
            ids: the parity subset.
            earlier: the checkpoints that are measured beside the last.
        """
        known, adapter = self.known_adapter()
        first: list[Call[Any, Any]] = (
            [calls.DESCRIBE] if known else [calls.DESCRIBE, calls.FINETUNE]
        )
        steps = []
        for call in dict.fromkeys([*first, *wanted]):
            several = call in (calls.LOSSES, calls.ANSWERS)
            places = [adapter, *(self._checkpoint(adapter, at) for at in earlier if several)]
            early = call in (calls.DESCRIBE, calls.FINETUNE)  # known before the adapter is
            times = sum(
                not ((known or early) and self._is_cached(call.stage, self.key_of(call, one, ids)))
                for one in places
            )
            steps.append(self.step(call.name, times * self._units(call, ids)))
        begun = any(step.units for step in steps)
        return [self.step("start", 1), *steps] if begun else []

    @staticmethod
    def _checkpoint(adapter: Path | None, iteration: int) -> Path | None:
        """Where a checkpoint lies beside a trained adapter, if it does."""
        folder = adapter and adapter / "checkpoints" / f"{iteration:07d}"
        return folder if folder and folder.is_dir() else None

    def known_adapter(self) -> tuple[bool, Path | None]:
        """Whether the adapter is there before anything is trained, and its folder; a base has
        none, and needs none."""
        if self._given is not None:
            return True, self._given.path
        if not self.variant.trains:
            return True, None
        key = self.key_of(calls.FINETUNE)
        known = self._is_cached("finetune", key)
        return known, self.invocation.cache.path("finetune", key) if known else None

    def step(self, kind: str, units: float) -> Step:
        """A part of the run that this variant's model computes."""
        invocation, variant = self.invocation, self.variant
        how = (invocation.style.name, invocation.options.max_new_tokens, invocation.dataset.sha256)
        return Step(
            kind=kind,
            model=f"{invocation.base.sha256[:16]} {invocation.ranks}",
            setting=content_key(variant.fine_tune_type, self._quantize, how),
            units=units,
        )

    def _units(self, call: Call[Any, Any], ids: Sequence[int]) -> float:
        """The size of a stage in rows."""
        rows = len(self.invocation.examples)
        sizes = {calls.LOSSES: rows, calls.ANSWERS: rows, calls.FUSE: len(ids)}
        if call != calls.FINETUNE:
            return sizes.get(call, 1)
        return training_rows(self.variant, len(self.invocation.dataset.valid.examples))

    def _is_cached(self, stage: str, key: str) -> bool:
        return (self.invocation.cache.path(stage, key) / MANIFEST).is_file()

    # --- keys --------------------------------------------------------------------------------

    @property
    def _base_key(self) -> list[Any]:
        return cache_keys.base_key(self.invocation.base.sha256, self._quantize)

    @property
    def _quantize(self) -> Any:
        """What the variant changes of the base; a base that is quantized stays as it is."""
        quantized = self.invocation.base.quantization is not None
        return None if quantized else self.variant.config()["quantize"]

    def tuned_key(self, adapter: Path | None) -> list[Any]:
        """What decides the tuned model: for timings, which depend on nothing else of the run."""
        return [self._base_key, cache_keys.adapter_key(adapter)]

    @property
    def _data_key(self) -> list[str]:
        invocation = self.invocation
        return [invocation.dataset.sha256, texts_key(invocation.style, invocation.dataset)]

    @property
    def _finetune_key(self) -> str:
        ranks = self.invocation.ranks
        return content_key(
            calls.STAGE_VERSIONS["finetune"],
            self._base_key,
            self.variant.training_config() | {"quantize": self._quantize},
            self._data_key,
            *([] if ranks == 1 else [f"{ranks} ranks"]),  # their sums are rounded otherwise
        )

    def key_of(
        self, call: Call[Any, Any], adapter: Path | None = None, ids: Sequence[int] = ()
    ) -> str:
        """The cache key of a stage of the model with ``adapter``; ``ids`` are the parity subset."""
        invocation, v = self.invocation, self.variant
        limit = invocation.options.max_new_tokens
        if call == calls.DESCRIBE:
            # The record names the machine's memory.
            return self._key(call.stage, (psutil.virtual_memory().total,))
        if call == calls.FINETUNE:
            return self._finetune_key
        if call == calls.QUESTION_ANSWERS:
            files = [sha256_file(path) for path in sorted(STUDENTS_FOLDER.glob("*.jsonl"))]
            one_line = answers_in_one_line(invocation.style, invocation.dataset)
            how = (invocation.style.sha256, one_line, limit)
            return self._key(call.stage, ("students", files, how, cache_keys.adapter_key(adapter)))
        tuned = cache_keys.adapter_key(adapter)
        if call == calls.FUSE:
            longest = v.max_seq_length
            return self._key(call.stage, (list(ids), self._data_key, longest, limit, tuned))
        compat = [v.batch_size, v.seed, v.test_batches, v.max_seq_length]
        decides = compat if call == calls.LOSSES else limit
        return self._key(call.stage, (invocation.ids, self._data_key, tuned, decides))

    def _key(self, stage: str, parts: Any) -> str:
        config = self.variant.config()
        decides = [config["fine_tune_type"], config["num_layers"], config["lora_parameters"]]
        return content_key(calls.STAGE_VERSIONS[stage], self._base_key, decides, parts)

    def _cached(
        self,
        call: Call[Any, Result],
        key: str,
        run: Callable[[Path, Path], Result],
        ids: Sequence[int] = (),
    ) -> Result:
        """The result of a stage: from the cache, or of ``run(folder of the entry, working
        folder)``.

        Raises:
            UserError, WorkerError: its own, or those of an earlier attempt in this run.
        """
        stage = call.stage
        if (failure := self._failures.get((stage, key))) is not None:
            raise failure
        cache = self.invocation.cache
        work = cache.work_folder(stage, key)

        def make(folder: Path) -> None:
            if stage != "describe":
                # First in a fresh process, so that its memory is that of loading alone.
                _ = self.description
            whole = not work.exists()
            began = time.monotonic() - self._starting_s
            result = run(folder, work)
            spent = time.monotonic() - self._starting_s - began
            step = self.step(call.name, self._units(call, ids))
            self.invocation.estimate.finished(step, spent, whole)
            check_unchanged(self._given)
            write_json(folder / RESULT_FILE, result.model_dump(mode="json"))

        check_unchanged(self._given)
        try:
            text = cache.read(stage, key, make, RESULT_FILE)
        except (UserError, WorkerError) as error:
            self._failures[stage, key] = error
            raise
        # The result is stored now, so that the batches kept for it are not needed any more.
        cache.clear_work(stage, key)
        return call.result.model_validate(json.loads(text))
