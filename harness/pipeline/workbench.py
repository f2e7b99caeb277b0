"""What runs inside a variant's model process: one method a stage, JSON in and JSON out.

The base is loaded once and kept; an adapter is loaded from disk, also after training, so that what
is measured is what was saved. Results are the payloads of `payloads.py` as plain JSON.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

import harness.models.backend as backend
from harness.cache import Cache
from harness.data.prompts import PromptStyle, style
from harness.data.records import Dataset, Example, Split
from harness.data.sources import resolve_dataset
from harness.data.students import load_students
from harness.data.tokens import TokenizedExample, encode_prompt, tokenize
from harness.measure import generate, loss, parity, speed
from harness.measure.contention import Contention
from harness.measure.generate import context_length
from harness.measure.memory import MemoryPhase
from harness.models import parameters
from harness.models.accelerate import accelerate
from harness.models.device import device
from harness.models.load import LoadedModel, load
from harness.models.quantize import quantized
from harness.models.resolve import BaseModel, resolve
from harness.progress import ProgressCallback
from harness.train.finetune import finetune
from harness.train.fuse import fuse
from harness.train.variant import Variant

LOSS_BATCH = 16
WEIGHT_FILES = "*.safetensors"


class Workbench:
    """The model, the data and the stages of one variant."""

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress = progress
        self._loaded: LoadedModel | None = None
        self._adapter: str | None = None

    def open(
        self,
        model: str,
        variant: dict[str, Any],
        dataset: str,
        prompt_style: str,
        cache_root: str,
        trust_remote_code: bool,
    ) -> dict[str, Any]:
        """Say what the process works on; nothing is loaded yet."""
        cache = Cache(Path(cache_root))
        self.variant = Variant.model_validate(variant)
        self.style: PromptStyle = style(prompt_style)
        self.dataset: Dataset = resolve_dataset(dataset, cache.root)
        original = resolve(model, cache, self._progress, trust_remote_code)
        self.base: BaseModel = quantized(original, self.variant.quantize, cache, self._progress)
        return {}

    def describe(self) -> dict[str, Any]:
        """Load the base and say what it is: the payload `Description`."""
        self._release()
        with MemoryPhase() as phase:
            loaded = load(self.base)
        acceleration = accelerate(loaded.model)
        self._loaded, self._adapter = loaded, None
        counts = parameters.count(
            dict(self.base.config),
            fine_tune_type=self.variant.fine_tune_type,
            num_layers=self.variant.num_layers,
            lora_parameters=self.variant.lora_parameters.model_dump(exclude_none=True),
            quantize=None,
        )
        return {
            "device": device(),
            "distributed_size": backend.mx.distributed.init().size(),
            "context_tokens": self._context(),
            "base_bytes": _weight_bytes(self.base.path),
            "base_sha256": self.base.sha256,
            "parameters": asdict(counts),
            "acceleration": acceleration.to_json(),
            "load": _memory(phase),
        }

    def finetune(self, work: str, out: str) -> dict[str, Any]:
        """Train in the folder ``work`` (kept when interrupted), leave the adapter in ``out``."""
        self._release()
        loaded = load(self.base)
        longest = min(self.variant.max_seq_length, self._context())
        rows = {
            name: tokenize(split, split.tables, self.style, loaded.tokenizer, longest)
            for name, split in (("train", self.dataset.train), ("valid", self.dataset.valid))
        }
        with Contention() as contention:
            result = finetune(
                loaded,
                self.variant,
                rows["train"].examples,
                rows["valid"].examples,
                Path(work),
                self.variant.seed,
                self._progress,
            )
        payload = {
            "curve": [asdict(point) for point in result.curve],
            "wall_s": result.wall_s,
            "resumed_from": result.resumed_from,
            "iterations": self.variant.iters if self.variant.trains else 0,
            "checkpoints": [checkpoint.iteration for checkpoint in result.checkpoints],
            "truncated": rows["train"].truncated,
            "train": None,
            "validation": None,
            "contended": contention.contended,
        }
        if result.adapter is not None:
            shutil.copytree(result.adapter, out, dirs_exist_ok=True)
            shutil.rmtree(work)
        return payload

    def losses(self, ids: list[int], adapter: str | None) -> dict[str, Any]:
        """Loss of test examples: the payload `Losses`."""
        loaded = self._model(adapter)
        rows = self._rows(self._examples(ids), loaded)
        started = time.perf_counter()
        with MemoryPhase() as phase:
            found = loss.evaluate(loaded.model, rows, LOSS_BATCH, self._progress)
        compat = loss.mlx_lm_compat(
            found,
            loss.CompatSettings(
                batch_size=self.variant.batch_size,
                seed=self.variant.seed,
                test_batches=self.variant.test_batches,
                max_seq_length=self.variant.max_seq_length,
            ),
        )
        return {
            "rows": [
                {
                    "id": row.id,
                    "table_id": row.table_id,
                    "full_nll": row.full_nll,
                    "full_tokens": row.full_tokens,
                    "completion_nll": row.completion_nll,
                    "completion_tokens": row.completion_tokens,
                }
                for row in found
            ],
            "mlx_lm_compat": None if compat is None else {**asdict(compat), "ci95": None},
            "memory": _memory(phase),
            "wall_s": time.perf_counter() - started,
        }

    def answers(self, ids: list[int], adapter: str | None) -> dict[str, Any]:
        """Greedy answers to test questions: the payload `Answers`."""
        loaded = self._model(adapter)
        examples = self._examples(ids)
        return self._answer(loaded, ids, self._prompts(examples, loaded))

    def question_answers(self, adapter: str | None) -> dict[str, Any]:
        """Answers to the students questions: the payload `Answers`."""
        loaded = self._model(adapter)
        prompts = self._student_prompts(loaded)
        return self._answer(loaded, list(range(len(prompts))), prompts)

    def fuse(self, ids: list[int], adapter: str, keep: str | None) -> dict[str, Any]:
        """The tuned model as adapter, fused and dequantized: the payload `Fused`."""
        examples = self._examples(ids)
        forms: dict[str, Any] = {"adapter": self._form(self._model(adapter), examples)}
        with tempfile.TemporaryDirectory(prefix="tunebench-fused-") as temporary:
            root = Path(keep) if keep is not None else Path(temporary)
            fused = fuse(self._model(adapter), root / "fused", dequantize=False)
            forms["fused"] = self._form(self._reload(root / "fused"), examples)
            forms["dequantized"], skipped = None, self._no_dequantized(root)
            if skipped is None:
                fuse(self._model(adapter), root / "dequantized", dequantize=True)
                forms["dequantized"] = self._form(self._reload(root / "dequantized"), examples)
            self._release()
        return {
            **forms,
            "skipped": skipped,
            "fused_bytes": fused.bytes,
            "fused_by_dtype": dict(fused.by_dtype),
            "kept": keep,
        }

    def speed_round(
        self, adapter: str | None, new_tokens: int, batch: int, warm_up: bool
    ) -> dict[str, Any]:
        """One round of the interleaved trials: a single stream and a batch."""
        loaded = self._model(adapter)
        prompts = self._speed_prompts(loaded, batch)
        middle = prompts[len(prompts) // 2]
        if warm_up:
            speed.trial(loaded, middle, new_tokens)
            speed.batched_trial(loaded, prompts, new_tokens)
        started = time.perf_counter()
        trial = speed.trial(loaded, middle, new_tokens)
        wall_s = time.perf_counter() - started
        batched = speed.batched_trial(loaded, prompts, new_tokens)
        return {
            "trial": {**asdict(trial), "wall_s": wall_s},
            "batched_tokens_per_s": batched.tokens_per_s,
        }

    def question_trials(self, adapter: str | None, new_tokens: int) -> dict[str, Any]:
        """One timed trial a students question."""
        loaded = self._model(adapter)
        trials = []
        for prompt in self._student_prompts(loaded):
            started = time.perf_counter()
            trial = speed.trial(loaded, prompt, new_tokens)
            trials.append({**asdict(trial), "wall_s": time.perf_counter() - started})
        return {"trials": trials}

    # --- the model ----------------------------------------------------------------------------

    def _model(self, adapter: str | None) -> LoadedModel:
        if self._loaded is None or self._adapter != adapter:
            self._release()
            self._loaded = load(self.base, None if adapter is None else Path(adapter))
            accelerate(self._loaded.model)
            self._adapter = adapter
        return self._loaded

    def _reload(self, folder: Path) -> LoadedModel:
        """A fused model from its folder; the next `_model` call loads the variant's own again."""
        self._release()
        base = resolve(str(folder), Cache(folder.parent / "cache"))
        self._loaded = load(base)
        accelerate(self._loaded.model)
        self._adapter = str(folder)
        return self._loaded

    def _release(self) -> None:
        self._loaded = None
        self._adapter = None
        gc.collect()
        backend.mx.clear_cache()

    # --- data ---------------------------------------------------------------------------------

    def _examples(self, ids: list[int]) -> list[Example]:
        return [self.dataset.test.examples[i] for i in ids]

    def _rows(
        self, examples: Sequence[Example], loaded: LoadedModel
    ) -> tuple[TokenizedExample, ...]:
        test: Split = self.dataset.test
        longest = min(self.variant.max_seq_length, self._context())
        return tokenize(examples, test.tables, self.style, loaded.tokenizer, longest).examples

    def _prompts(self, examples: Sequence[Example], loaded: LoadedModel) -> list[list[int]]:
        tables = self.dataset.test.tables
        return [
            encode_prompt(loaded.tokenizer, self.style, e.question, tables[e.table_id])
            for e in examples
        ]

    def _student_prompts(self, loaded: LoadedModel) -> list[list[int]]:
        return [
            encode_prompt(loaded.tokenizer, self.style, q.question, q.table, q.hint)
            for q in load_students()
        ]

    def _speed_prompts(self, loaded: LoadedModel, batch: int) -> list[list[int]]:
        """``batch`` prompts of like length around the split's median, shortest first."""
        prompts = sorted(self._prompts(self.dataset.test.examples, loaded), key=len)
        start = max(0, (len(prompts) - batch) // 2)
        return prompts[start : start + batch]

    def _answer(
        self, loaded: LoadedModel, ids: Sequence[int], prompts: list[list[int]]
    ) -> dict[str, Any]:
        started = time.perf_counter()
        with MemoryPhase() as phase:
            found = generate.generate(loaded, prompts, progress=self._progress)
        return {
            "rows": [
                {"id": id, "text": answer.text, "tokens": answer.tokens}
                for id, answer in zip(ids, found, strict=True)
            ],
            "memory": _memory(phase),
            "wall_s": time.perf_counter() - started,
        }

    def _form(self, loaded: LoadedModel, examples: Sequence[Example]) -> dict[str, Any]:
        found = parity.measure_form(
            loaded, self._rows(examples, loaded), None, LOSS_BATCH, self._progress
        )
        return {"ppl": found.ppl, "texts": [answer.text for answer in found.answers]}

    def _no_dequantized(self, root: Path) -> str | None:
        """Why the dequantized form is skipped, or None when there is room for it."""
        loaded = self._loaded
        assert loaded is not None
        needed = 4 * parameters.count(dict(self.base.config)).total  # float32 at the most
        memory, disk = psutil.virtual_memory().available, shutil.disk_usage(root).free
        for what, room in (("memory", memory), ("disk", disk)):
            # Once for the model and once for what writing and measuring it takes.
            if 2 * needed > room:
                return f"would need {2 * needed / 1e9:.1f} GB of {what}, {room / 1e9:.1f} are free"
        return None

    def _context(self) -> int:
        return context_length(dict(self.base.config)) or self.variant.max_seq_length


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(WEIGHT_FILES))


def _memory(phase: MemoryPhase) -> dict[str, Any]:
    # Each variant has a process of its own.
    return {**asdict(phase.measured), "shared_process": False}
