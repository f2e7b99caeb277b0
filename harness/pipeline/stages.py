"""The stages of one variant, each run at most once and cached by content.

A :class:`VariantStages` owns the variant's model process and hands out stage results lazily:
description, fine-tuning, losses, answers, fused forms. A stage's cache key is made of what
decides its content (base, variant, data, seed, adapter, protocol, versions), so that the second
run of a command finds every stage and starts no process. Speed is not here: it is measured
across variants (`speed.py`).
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from harness.disk.files import content_key, sha256_file, write_json
from harness.distributed.ranked_worker import RankedWorker
from harness.errors import UserError
from harness.models.cpu import blas_advice
from harness.models.weights import ADAPTER_FILE
from harness.pipeline import cache_keys
from harness.pipeline.adapter_path import AdapterSource, check_given, given_adapter, path_text
from harness.pipeline.invocation import Setting as Setting
from harness.pipeline.once import Once
from harness.progress import ProgressCallback
from harness.schema.stage_results import Answers, Description, Finetuned, Fused, Losses
from harness.schema.variant_result import Record
from harness.train.variant import Variant
from harness.worker.client import Worker, WorkerError

PARITY_EXAMPLES = 24
"""Size of the seeded subset on which the fused forms are compared."""

Payload = TypeVar("Payload", bound=Record)


class VariantStages:
    """One variant with one seed: its stages, its process, its place in the cache."""

    def __init__(
        self,
        setting: Setting,
        variant: Variant,
        given_adapter: Path | None,
        progress: ProgressCallback,
        notify: Callable[[str], None],
    ) -> None:
        self.setting = setting
        self.variant = variant
        self._given_adapter = given_adapter
        self._progress = progress
        self._say = notify
        self._worker: Worker | RankedWorker | None = None
        self._trained_here = False
        self._once = Once()

    # --- the model process -------------------------------------------------------------------

    @property
    def worker(self) -> Worker | RankedWorker:
        """The variant's process, started on first use."""
        if self._worker is None:
            team, name = self.setting.team, self.variant.name
            if team is None:
                self._worker = Worker(name, notify=self._say)
            else:
                self._worker = RankedWorker(team, name, self._say)
            self._worker.call(
                "open",
                {
                    "model": self.setting.base.id,
                    "variant": self.variant.config(),
                    "dataset": self.setting.dataset_option,
                    "prompt_style": self.setting.style.name,
                    "cache_root": str(self.setting.cache.root),
                    "trust_remote_code": self.setting.trust_remote_code,
                    "kernels": self._kernels,
                    "expected": {
                        "model": self.setting.base.sha256,
                        "dataset": self.setting.dataset.sha256,
                    },
                },
                self._progress,
            )
        return self._worker

    @property
    def _kernels(self) -> Any:
        """The kernel choice that belongs to this variant's numbers, once it is known."""
        known = self.__dict__.get("description")
        return None if known is None else known.acceleration

    def close(self) -> None:
        """End the process; a later stage starts a new one."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Run a method of the workbench in the variant's process."""
        worker = self.worker
        try:
            return worker.call(method, parameters, self._labelled)
        except WorkerError:
            # It may be dead: the next stage starts a new one.
            self.close()
            raise

    def _labelled(self, label: str, done: float, total: float) -> None:
        self._progress(f"{self.variant.name}: {label}", done, total)

    # --- stages ------------------------------------------------------------------------------

    @cached_property
    def description(self) -> Description:
        """The base as this variant uses it."""
        # The record names the machine, so another machine takes it anew.
        parts = (platform.node(),)
        found = self._cached("describe", parts, Description, lambda *_: self.call("describe"))
        blas_advice.warn(found.device.blas, self._say)
        return found

    @cached_property
    def adapter(self) -> AdapterSource:
        """The adapter to measure, trained first if need be."""
        if self._given_adapter is not None:
            return given_adapter(self._given_adapter)
        if not self.variant.trains:
            return AdapterSource(None, None, 0, "cached")
        iterations = self.finetuned.iterations
        path = self.adapter_folder(iterations)
        digest = sha256_file(path / ADAPTER_FILE)
        return AdapterSource(path, digest, iterations, "cached" if self.was_cached else "trained")

    @property
    def was_cached(self) -> bool:
        """Whether the fine-tuning came from the cache: from an earlier run, or one beside us."""
        _ = self.finetuned
        return not self._trained_here

    @cached_property
    def finetuned(self) -> Finetuned:
        """Curve, times and checkpoints; the weights lie in :meth:`adapter_folder`.

        Raises:
            UserError: an adapter was given, so nothing is trained.
        """
        if self._given_adapter is not None:
            raise UserError("--adapter-path evaluates a given adapter: there is no fine-tuning")

        def train(folder: Path, work: str) -> dict[str, Any]:
            self._trained_here = True
            if self.variant.trains:
                told = self.call("estimate")
                self._say(f"{self.variant.name}: {told['checked']}")
                shared = "" if self._ranks == 1 else f" on one rank, less on {self._ranks}"
                self._say(f"{self.variant.name}: fine-tuning will take {told['text']}{shared}")
            payload = self.call("finetune", work=work, out=str(folder))
            for note in payload["notes"]:
                self._say(f"{self.variant.name}: {note}")
            return payload

        return self._cached("finetune", None, Finetuned, train)

    def adapter_folder(self, iteration: int) -> Path:
        """The mlx-lm adapter folder of a saved checkpoint."""
        folder = self.setting.cache.path("finetune", self._finetune_key)
        last = self.finetuned.iterations
        return folder if iteration == last else folder / "checkpoints" / f"{iteration:07d}"

    def losses(self, ids: Sequence[int], adapter: Path | None) -> Losses:
        """Loss of the test examples ``ids``, by all three definitions."""
        parts = (list(ids), self._data_key, cache_keys.adapter_key(adapter), self._compat_key)
        return self._cached(
            "loss",
            parts,
            Losses,
            lambda _, work: self.call(
                "losses", ids=list(ids), adapter=path_text(adapter), work=work
            ),
        )

    def answers(self, ids: Sequence[int], adapter: Path | None) -> Answers:
        """Greedy answers to the test questions ``ids``."""
        parts = (list(ids), self._data_key, cache_keys.adapter_key(adapter))
        return self._cached(
            "generate",
            parts,
            Answers,
            lambda _, work: self.call(
                "answers", ids=list(ids), adapter=path_text(adapter), work=work
            ),
        )

    def fused(self, ids: Sequence[int], keep: Path | None) -> Fused:
        """The tuned model in its three forms on the parity subset ``ids``."""
        adapter = self.adapter.path
        if adapter is None:
            raise UserError(f"variant {self.variant.name} has no adapter to fuse")

        def fuse(_: Path, folder: str) -> dict[str, Any]:
            kept = keep is not None
            return self.call("fuse", ids=list(ids), adapter=str(adapter), folder=folder, keep=kept)

        if keep is not None:
            return Fused.model_validate(fuse(keep, str(keep)))
        longest = self.variant.max_seq_length
        parts = (list(ids), self._data_key, longest, cache_keys.adapter_key(adapter))
        fused = self._cached("fuse", parts, Fused, fuse)
        if fused.skipped is not None:
            # For want of room just now: the next run looks again.
            self.setting.cache.discard("fuse", self._key("fuse", parts))
        return fused

    def question_answers(self) -> Answers:
        """Answers to the students questions, in their order."""
        from harness.data.sources.students import STUDENTS_FOLDER

        files = [sha256_file(path) for path in sorted(STUDENTS_FOLDER.glob("*.jsonl"))]
        adapter = self.adapter.path
        parts = ("students", files, self.setting.style.sha256, cache_keys.adapter_key(adapter))
        return self._cached(
            "generate",
            parts,
            Answers,
            lambda _, work: self.call("question_answers", adapter=path_text(adapter), work=work),
        )

    # --- keys --------------------------------------------------------------------------------

    @property
    def _base_key(self) -> list[Any]:
        return cache_keys.base_key(self.setting.base.sha256, self.variant.config()["quantize"])

    def tuned_key(self) -> list[Any]:
        """What decides the tuned model: for timings, which depend on nothing else of the run."""
        return [self._base_key, cache_keys.adapter_key(self.adapter.path)]

    @property
    def _data_key(self) -> list[str]:
        return [self.setting.dataset.sha256, self.setting.style.sha256]

    @property
    def _compat_key(self) -> list[Any]:
        v = self.variant
        return [v.batch_size, v.seed, v.test_batches, v.max_seq_length]

    @property
    def _finetune_key(self) -> str:
        return content_key(
            cache_keys.STAGE_VERSIONS["finetune"],
            self._base_key,
            self.variant.training_config(),
            self._data_key,
            *([] if self._ranks == 1 else [f"{self._ranks} ranks"]),  # they round otherwise
        )

    @property
    def _ranks(self) -> int:
        return 1 if self.setting.team is None else self.setting.team.size

    def _key(self, stage: str, parts: Any) -> str:
        config = self.variant.config()
        decides = [config["fine_tune_type"], config["num_layers"], config["lora_parameters"]]
        return content_key(cache_keys.STAGE_VERSIONS[stage], self._base_key, decides, parts)

    def _cached(
        self,
        stage: str,
        parts: Any,
        kind: type[Payload],
        run: Callable[[Path, str], dict[str, Any]],
    ) -> Payload:
        key = self._finetune_key if stage == "finetune" else self._key(stage, parts)
        work = self.setting.cache.work_folder(stage, key)

        def make(folder: Path) -> None:
            if stage != "describe":
                # First in a fresh process, so that its memory is that of loading alone.
                _ = self.description
            payload = run(folder, str(work))
            check_given(given)
            write_json(folder / PAYLOAD_FILE, payload)

        given = None if self._given_adapter is None else self.adapter
        check_given(given)
        with self._once.attempt((stage, key)):
            text = self.setting.cache.read(stage, key, make, PAYLOAD_FILE)
        # Only now is nothing lost with what was kept until all of it was done.
        self.setting.cache.clear_work(stage, key)
        return kind.model_validate(json.loads(text))


PAYLOAD_FILE = "payload.json"
