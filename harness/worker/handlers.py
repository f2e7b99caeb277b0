"""What runs inside a variant's model process: one method a stage, JSON in and JSON out.

The base is loaded once and kept; an adapter is loaded from disk, also after training, so that what
is measured is what was saved. Results are the payloads of `payloads.py` as plain JSON.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness.backend as backend
from harness.data.token_stats import data_facts, row_facts
from harness.disk.cache import Cache
from harness.measure import generate, loss
from harness.measure.contention import Contention
from harness.measure.memory import MemoryPhase
from harness.models.device import device, measured_at
from harness.models.load import LoadedModel, load
from harness.models.weights import weight_bytes
from harness.progress import ProgressCallback
from harness.protocols import BATCH_ROWS
from harness.schema.stage_results import Answer, Answers, Finetuned, Losses
from harness.sharding import SINGLE_RANK, Shard
from harness.train.estimate import estimate
from harness.train.finetune import finetune
from harness.train.fuse import FusedSize, fuse
from harness.train.loop import TrainingHooks
from harness.train.variant import Variant
from harness.worker import memory_advice
from harness.worker.fused import Forms, same_weights
from harness.worker.resumable import KeptRows
from harness.worker.room import no_room
from harness.worker.state import Holdings
from harness.worker.trials import Trials


class Workbench(Trials):
    """The model, the data and the stages of one variant."""

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress = progress
        self._share = SINGLE_RANK

    def open(
        self,
        model: str,
        variant: dict[str, Any],
        dataset: str,
        prompt_style: str,
        cache_root: str,
        trust_remote_code: bool,
        kernels: Any = None,
        expected: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Say what the process works on, and how it computes; nothing is loaded yet, and model and
        data must be those whose SHA-256 are ``expected``."""
        self.variant = Variant.model_validate(variant)
        self.holdings = Holdings(
            model,
            self.variant,
            dataset,
            prompt_style,
            Cache(Path(cache_root)),
            trust_remote_code,
            self._progress,
        )
        self.holdings.kernels = kernels
        self.holdings.require(expected or {})
        self._forms = Forms(self.holdings, BATCH_ROWS, self._progress)
        return {}

    def facts(self) -> dict[str, Any]:
        """What the other ranks need to compute as this one does."""
        base, dataset = self.holdings.base, self.holdings.dataset
        alike = {"base model": base.sha256, "dataset": dataset.sha256}
        return {"alike": alike, "kernels": self.holdings.kernels}

    def join(self, size: int, variables: dict[str, str]) -> dict[str, Any]:
        """Connect with the other ranks' model processes; ``variables`` say how."""
        os.environ.update(variables)
        self._share = Shard.of_the_group(size)
        return {}

    def describe(self) -> dict[str, Any]:
        """Load the base and say what it is: the payload `Description`."""
        self.holdings.release()
        with MemoryPhase() as phase:
            loaded = load(self.holdings.base)
        acceleration = self.holdings.hold(loaded)
        return {
            "device": device(),
            "base_bytes": weight_bytes(self.holdings.base.path),
            "parameters": self.holdings.counts().model_dump(),
            "acceleration": acceleration.to_json(),
            "load": phase.measured.model_dump(),
        }

    def estimate(self) -> dict[str, Any]:
        """What fine-tuning will take, before it starts."""
        loaded = self.holdings.model(None)
        rows, _ = self.holdings.training_rows(loaded, keep=True)
        limit = min(self.variant.max_seq_length, self.holdings.context())
        checked = row_facts(rows, loaded.tokenizer).sentence(limit)
        gflops = backend.measured_blas().gflops or 1.0
        found = estimate(
            self.variant,
            dict(self.holdings.base.config),
            self.holdings.counts(),
            weight_bytes(self.holdings.base.path),
            [len(row.tokens) for row in rows.examples],
            gflops,
            len(self.holdings.dataset.valid.examples),
        )
        return {
            "text": f"{found}{memory_advice.shortage(found.peak_bytes)}",
            "checked": f"{checked}; {data_facts(self.holdings.dataset)}",
        }

    def finetune(self, work: str, out: str) -> dict[str, Any]:
        """Train in the folder ``work``, which is the caller's to remove once the copy of the
        adapter in ``out`` is safe: an interrupted training goes on in it."""
        self.holdings.release()
        loaded = load(self.holdings.base)
        train, valid = self.holdings.training_rows(loaded)
        with Contention(root=os.getppid()) as contention:
            result = finetune(
                loaded,
                self.variant,
                train.examples,
                valid.examples,
                Path(work),
                self.variant.seed,
                TrainingHooks(self._progress, self.holdings.kernels),
            )
        if result.adapter is not None:
            shutil.copytree(result.adapter, out, dirs_exist_ok=True)
        return Finetuned(
            **result.record(),
            iterations=self.variant.iters if self.variant.trains else 0,
            truncated=train.truncated,
            contended=contention.contended,
            measured_at=measured_at(),
            ranks=self._share.size,
        ).model_dump(mode="json")

    def losses(self, ids: list[int], adapter: str | None, work: str) -> dict[str, Any]:
        """Loss of test examples: the payload `Losses`; finished batches are kept in ``work``."""
        loaded = self.holdings.model(adapter)
        rows = self.holdings.tokenized(self.holdings.examples(ids), loaded)
        with MemoryPhase() as phase:
            kept = KeptRows(Path(work), self.holdings.kernels, phase)
            found = loss.evaluate(
                loaded.model, rows.examples, BATCH_ROWS, self._progress, kept.journal, self._share
            )
        self._forms.saw_losses(adapter, ids, found)
        compat = loss.mlx_lm_compat(
            found,
            loss.CompatSettings(
                batch_size=self.variant.batch_size,
                seed=self.variant.seed,
                test_batches=self.variant.test_batches,
                max_seq_length=self.variant.max_seq_length,
            ),
        )
        # Of each row its record's fields are dumped: those of `mlx_lm_compat` stay here.
        return Losses(
            rows=found, truncated=rows.truncated, mlx_lm_compat=compat, memory=kept.memory()
        ).model_dump(mode="json")

    def answers(self, ids: list[int], adapter: str | None, work: str) -> dict[str, Any]:
        """Greedy answers to test questions: the payload `Answers`; finished batches are kept in
        ``work``."""
        loaded = self.holdings.model(adapter)
        examples = self.holdings.examples(ids)
        prompts = self.holdings.prompts(examples, loaded)
        found, told = self._answer(loaded, ids, prompts, work, self._share)
        self._forms.saw_answers(adapter, ids, prompts, found)
        return told

    def question_answers(self, adapter: str | None, work: str) -> dict[str, Any]:
        """Answers to the students questions: the payload `Answers`."""
        loaded = self.holdings.model(adapter)
        prompts = self.holdings.student_prompts(loaded)
        return self._answer(loaded, list(range(len(prompts))), prompts, work)[1]

    def fuse(self, ids: list[int], adapter: str, folder: str, keep: bool) -> dict[str, Any]:
        """The tuned model as adapter, fused and dequantized: the payload `Fused`; the models lie
        in ``folder`` meanwhile, and stay there under ``keep``."""
        examples = self.holdings.examples(ids)
        forms: dict[str, Any] = {"adapter": self._forms.adapter(adapter, examples)}
        root = Path(folder)
        if not keep:
            shutil.rmtree(root, ignore_errors=True)  # what a killed process left
        try:
            fused = self._write_fused(adapter, root / "fused", dequantize=False)
            forms["fused"] = self._forms.of(self.holdings.fused(root / "fused"), examples)
            forms["dequantized"], skipped = None, no_room(self.holdings.counts().total, root)
            if skipped is None:
                self._write_fused(adapter, root / "plain", dequantize=True)
                forms["dequantized"] = (
                    forms["fused"]
                    if same_weights(root / "fused", root / "plain")
                    else self._forms.of(self.holdings.fused(root / "plain"), examples)
                )
            self.holdings.release()
        finally:
            if not keep:
                shutil.rmtree(root, ignore_errors=True)
        return {
            **forms,
            "skipped": skipped,
            "fused_bytes": fused.bytes,
            "fused_by_dtype": dict(fused.by_dtype),
        }

    def _answer(
        self,
        loaded: LoadedModel,
        ids: Sequence[int],
        prompts: list[list[int]],
        work: str,
        share: Shard = SINGLE_RANK,
    ) -> tuple[list[generate.Generation], dict[str, Any]]:
        with MemoryPhase() as phase:
            kept = KeptRows(Path(work), self.holdings.kernels, phase)
            found = generate.generate(
                loaded, prompts, progress=self._progress, kept=kept.journal, share=share
            )
        rows = [
            Answer(id=id, text=answer.text, tokens=answer.tokens)
            for id, answer in zip(ids, found, strict=True)
        ]
        return found, Answers(rows=rows, memory=kept.memory()).model_dump(mode="json")

    def _write_fused(self, adapter: str, folder: Path, dequantize: bool) -> FusedSize:
        """Fused as mlx-lm would: from weights in their stored types, not as accelerated."""
        self.holdings.release()
        return fuse(load(self.holdings.base, Path(adapter)), folder, dequantize)
