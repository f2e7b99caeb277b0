"""The state of a variant's model process: the base, an adapter on it, and the data as tokens.

Names and options -> a loaded, accelerated model, and prompts, token rows and counts for it. The
base is loaded once and kept; an adapter comes from disk, also after training, so that what is
measured is what was saved. The calls that use it are in ``handlers``.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.backend import mx
from harness.data.prompts import PromptStyle, answers_in_one_line, style
from harness.data.records import Dataset, Example
from harness.data.sources.resolve import resolve_dataset
from harness.data.sources.students import load_students
from harness.data.tokens import Tokenized, encode_prompt, tokenize
from harness.disk.cache import Cache
from harness.disk.files import require_space
from harness.errors import UserError
from harness.measure.decode import batchable
from harness.measure.generate import GenerationProtocol
from harness.models.config import ModelConfig
from harness.models.load import LoadedModel, load
from harness.models.parameters import predict
from harness.models.quantize import quantized
from harness.models.resolve import BaseModel, resolve
from harness.models.weights import weight_bytes
from harness.progress import ProgressCallback
from harness.protocols import BATCH_ROWS
from harness.schema.stage_results import OpenRequest
from harness.schema.variant_result import Parameters
from harness.train.estimate import Subject
from harness.train.fuse import FusedSize, fuse, weigh
from harness.train.variant import Variant
from harness.worker import memory_advice


class ModelState:
    """The model and the data of one variant; nothing is loaded until it is used.

    ``working`` takes a sentence of ``memory_advice`` about the work that begins.

    Raises:
        UserError: model or data are not found, or are not those of the request.
    """

    def __init__(
        self, request: OpenRequest, progress: ProgressCallback, working: Callable[[str], None]
    ) -> None:
        cache = Cache(Path(request.cache_root))
        self.variant = Variant.model_validate(request.variant)
        self.style: PromptStyle = style(request.prompt_style)
        self.dataset: Dataset = resolve_dataset(request.dataset)
        one_line = answers_in_one_line(self.style, self.dataset)
        self.generation = GenerationProtocol.of(one_line, request.max_new_tokens)
        self._working = working
        self.original: BaseModel = resolve(
            request.model, cache, progress, request.trust_remote_code
        )
        self._working(memory_advice.loading(self.original.id, weight_bytes(self.original.path)))
        self.base: BaseModel = quantized(self.original, self.variant.quantize, cache, progress)
        self._loaded: LoadedModel | None = None
        self._adapter: Path | None = None
        self._speed_prompt: list[int] = []
        self._rows: tuple[Tokenized, Tokenized] | None = None
        self._require(request.expected)

    def _require(self, expected: Mapping[str, str]) -> None:
        """Refuse model or data of another SHA-256 than the command found when it was given.

        Raises:
            UserError: they were changed meanwhile: their results would be stored as the others'.
        """
        found = {
            "model": (self.original.id, self.original.sha256),
            "dataset": (self.dataset.name, self.dataset.sha256),
        }
        for what, wanted in expected.items():
            name, digest = found[what]
            if digest != wanted:
                raise UserError(
                    f"{what} {name!r} was changed after the command was given. Give it again, and "
                    "leave the files alone until it has ended."
                )

    # --- the model ----------------------------------------------------------------------------

    def model(self, adapter: Path | None) -> LoadedModel:
        """The base with the adapter in folder ``adapter`` (None: without), ready to measure."""
        if self._loaded is None or self._adapter != adapter:
            self.release()
            self._loaded = load(self.base, adapter)
            self._loaded.accelerate()
            self._adapter = adapter
        return self._loaded

    def keep(self, loaded: LoadedModel) -> None:
        """Keep a base that was just loaded and accelerated."""
        self._loaded, self._adapter = loaded, None

    def fused(self, folder: Path) -> LoadedModel:
        """A fused model from its folder, in place of the variant's own."""
        self.release()
        cache = Cache(folder.parent / "cache")
        trusted = self.base.trusted
        self._loaded = load(resolve(str(folder), cache, trust_remote_code=trusted))
        self._adapter = folder
        self._loaded.accelerate()
        return self._loaded

    def write_fused(self, adapter: Path, folder: Path, dequantize: bool) -> FusedSize:
        """Write the fused model as mlx-lm would: from weights in their stored types, not as they
        are accelerated here."""
        self.release()
        if not dequantize:  # the dequantized form, larger, is skipped where it does not fit
            require_space(
                folder,
                weight_bytes(self.base.path),
                f"the fused model of {self.variant.name!r}",
                "Leave fusing out (name the suites to run, without suites/test_fuse.py, "
                "test_size.py and test_memory.py)",
            )
        return fuse(load(self.base, adapter), folder, dequantize)

    def release(self) -> None:
        """Free the model."""
        self._loaded = None
        self._adapter = None
        self._working(memory_advice.loading(self.base.id, weight_bytes(self.base.path)))
        gc.collect()
        mx.clear_cache()

    # --- data ---------------------------------------------------------------------------------

    def examples(self, ids: Sequence[int]) -> list[Example]:
        """Test examples by id."""
        return [self.dataset.test.examples[i] for i in ids]

    def training_rows(self, loaded: LoadedModel, keep: bool = False) -> tuple[Tokenized, Tokenized]:
        """Token rows of the training and the validation split.

        ``keep`` keeps them for the next call: tokenizing a large split takes half a minute.
        """
        train, valid = self._rows or (
            tokenize(split, split.tables, self.style, loaded.tokenizer, self.longest)
            for split in (self.dataset.train, self.dataset.valid)
        )
        self._rows = (train, valid) if keep else None
        self._working(memory_advice.training(self.variant, (row.tokens for row in train.examples)))
        return train, valid

    def counts(self) -> Parameters:
        """Counts of the base as it is on disk, quantized or not, with the variant's adapter."""
        return predict(
            dict(self.base.config),
            fine_tune_type=self.variant.fine_tune_type,
            num_layers=self.variant.num_layers,
            lora_parameters=self.variant.lora_parameters.model_dump(exclude_none=True),
        )[0]

    def subject(self) -> Subject:
        """The variant as its time and memory are estimated."""
        by_dtype = weigh(self.base.path).by_dtype
        return Subject(self.variant, dict(self.base.config), self.counts(), by_dtype)

    def tokenized(self, examples: Sequence[Example], loaded: LoadedModel) -> Tokenized:
        """Token rows of test examples, and how many were cut."""
        tables = self.dataset.test.tables
        found = tokenize(examples, tables, self.style, loaded.tokenizer, self.longest)
        lengths = (row.tokens for row in found.examples)
        self._working(memory_advice.evaluating("scoring test texts", BATCH_ROWS, lengths))
        return found

    def prompts(self, examples: Sequence[Example], loaded: LoadedModel) -> list[list[int]]:
        """Prompts of test examples, as tokens; of whole texts, the first half of each."""
        if not self.dataset.has_tables:
            rows = self.tokenized(examples, loaded).examples
            return [list(row.tokens[: row.prompt_length]) for row in rows]
        tables = self.dataset.test.tables
        found = [
            encode_prompt(loaded.tokenizer, self.style, e.question, tables[e.table_id])
            for e in examples
        ]
        at_once = BATCH_ROWS * loaded.answering.batches if batchable(loaded.model) else 1
        self._working(memory_advice.evaluating("answering test prompts", at_once, found))
        return found

    def student_prompts(self, loaded: LoadedModel) -> list[list[int]]:
        """Prompts of the students questions, as tokens."""
        found = [
            encode_prompt(loaded.tokenizer, self.style, q.question, q.table, q.hint)
            for q in load_students()
        ]
        self._working(memory_advice.evaluating("answering questions", BATCH_ROWS, found))
        return found

    def speed_prompt(self, loaded: LoadedModel, tokens: int, new_tokens: int) -> list[int]:
        """The test prompts one after another, again and again, cut to ``tokens``: to fewer where
        those and ``new_tokens`` do not fit the model's context."""
        context = ModelConfig(self.base.config).context
        length = tokens if context is None else max(1, min(tokens, context - new_tokens))
        if len(self._speed_prompt) != length:  # read in every round
            prompts = self.prompts(self.dataset.test.examples[:length], loaded)
            stream = itertools.cycle(itertools.chain.from_iterable(prompts))
            self._speed_prompt = list(itertools.islice(stream, length))
        return self._speed_prompt

    @property
    def longest(self) -> int:
        """Longest row in tokens: what the variant sets, or the model's context where it is less."""
        length = self.variant.max_seq_length
        return min(length, ModelConfig(self.base.config).context or length)
