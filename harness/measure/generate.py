"""The evaluation's answers: token prompts -> greedy texts, by one named protocol.

DESIGN.md section 5, generation: greedy. An answer of one line (the dialect's) ends at a stop token,
the first newline or 128 new tokens, any other at a stop token, the fence that closes a fenced query
(``answer_end.py``) or 256. 16 prompts at a time in length order (of 64 neighbours that share
beginnings, by the length of what they do not share: ``batch_plan.py``). A batch is fixed by the
prompts alone, never by what the model answers, so that a low-precision model, whose batched answers
may differ from its single ones, still gives the same answers every time. On the CPU, in float32,
several batches go through the model as one (:func:`decode_continuously`), and adapters are merged
into the weights. Reading the texts as SQL is left to `sql`; ``speed.py`` times generation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness import protocols
from harness.disk.journal import Journal
from harness.errors import UserError
from harness.measure.answer_end import closes_query, left_open
from harness.measure.decode import BatchDecoder, batchable, decoders
from harness.models.config import ModelConfig
from harness.models.cpu.decode_batches import fitting_batches
from harness.models.cpu.merged_adapters import merged
from harness.models.load import LoadedModel
from harness.progress import ProgressCallback, silent
from harness.schema.rows import Finish
from harness.sharding import SINGLE_RANK, Shard


@dataclass(frozen=True, slots=True)
class GenerationProtocol:
    """How answers are generated; a change raises its version in ``schema/stage_results``."""

    max_new_tokens: int = protocols.LINE_TOKENS
    batch_size: int = protocols.BATCH_ROWS
    """Prompts decoded together, cut from length order."""
    stop_at_newline: bool = True
    """End at the first newline, as an answer of the dialect is one line; else a newline ends
    nothing, and the fence that closes a fenced query ends the answer."""

    @classmethod
    def of(cls, one_line: bool, max_new_tokens: int | None) -> GenerationProtocol:
        """The protocol of answers of one line or of several; a limit of None is the usual one."""
        limit = max_new_tokens or protocols.usual_tokens(one_line)
        return cls(limit, stop_at_newline=one_line)


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer: its text before the stop, tokens decoded with the stop included, why it ended."""

    text: str
    tokens: int
    finish: Finish


def generate(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    protocol: GenerationProtocol | None = None,
    progress: ProgressCallback = silent,
    kept: Journal | None = None,
    share: Shard = SINGLE_RANK,
) -> list[Generation]:
    """Answer every prompt; results in input order, none for no prompts.

    Args:
        loaded: model (put in evaluation mode and back) and its tokenizer.
        prompts: token ids as `data.tokens.encode_prompt` gives them.
        protocol: how; the default is the published one.
        progress: called with the number of answers finished.
        kept: batches of an earlier, killed process, which are not answered again; new ones are
            added. The same prompts, model and protocol must have made them.
        share: of several ranks, which batches are this one's; all get every answer.

    Raises:
        UserError: a prompt is empty or does not fit the model's context.
    """
    protocol = protocol or GenerationProtocol()
    limits = _max_new_tokens(loaded, prompts, protocol.max_new_tokens)
    found = {row: Generation(**fields) for row, fields in kept.rows.items()} if kept else {}
    answering = _Answering(loaded.tokenizer, protocol.stop_at_newline, limits, prompts)

    def take(position: int, token: int) -> bool:
        answer = answering.take(position, token)
        if answer is None:
            return True
        found[position] = answer
        progress("generate", share.of_all(len(found), len(prompts)), len(prompts))
        if kept is not None and (batch := answering.ended(position)):
            kept.add({row: asdict(found[row]) for row in batch})
        return False

    from mlx_lm.generate import wired_limit

    was_training = bool(loaded.model.training)
    loaded.model.eval()
    try:
        with wired_limit(loaded.model), merged(loaded.model, loaded.answering.folded):
            size, batches = _decoded_together(loaded, prompts, protocol)
            ready = decoders(loaded.model, prompts, protocol.batch_size, frozenset(found), share)
            decode_continuously(map(answering.begin, ready), size, batches, take)
    finally:
        loaded.model.train(was_training)
    for ours in share.gather([[row, asdict(answer)] for row, answer in found.items()]):
        found.update({row: Generation(**fields) for row, fields in ours})
    return [found[position] for position in range(len(prompts))]


ReadyBatch = tuple[tuple[int, ...], BatchDecoder]
"""Positions of the rows of a batch, and the decoder that holds them."""

_LEAVING = 4
"""A quarter of the rows leaves together: each leaving copies the caches of all that stay."""


def decode_continuously(
    ready: Iterator[ReadyBatch], batch_size: int, batches: int, take: Callable[[int, int], bool]
) -> None:
    """Decode every row of every batch, one token per row and step (continuous batching).

    With ``batches`` 1 a row leaves the moment it is done. Where several batches are decoded as
    one, the next batch joins as soon as its rows fit, and rows leave some at a time.

    Args:
        ready: batches, each requested when it can begin.
        batch_size: most rows of one batch.
        batches: how many may be decoded as one.
        take: called with a row's position and its next token; returns whether the row goes on.
    """
    rows: list[int] = []
    going: set[int] = set()
    decoder: BatchDecoder | None = None
    while True:
        while len(rows) + batch_size <= batches * batch_size:
            if (found := next(ready, None)) is None:
                break
            positions, batch = found
            if decoder is None:
                decoder = batch
            else:
                decoder.extend(batch)
            rows += positions
            going.update(positions)
        if decoder is None:
            return
        for row, token in zip(rows, decoder.step(), strict=True):
            if row in going and not take(row, token):
                going.remove(row)
        leaving = len(rows) - len(going)
        if not going:
            rows, decoder = [], None
        elif leaving and (batches == 1 or leaving * _LEAVING >= len(rows)):
            decoder.keep([place for place, row in enumerate(rows) if row in going])
            rows = [row for row in rows if row in going]


class _Answering:
    """The rows that are being answered, the batches they belong to, and what ends an answer."""

    def __init__(
        self,
        tokenizer: Any,
        at_newline: bool,
        limits: Sequence[int],
        prompts: Sequence[Sequence[int]],
    ) -> None:
        """``limits`` are the most new tokens of each row, by position."""
        self._tokenizer = tokenizer
        self._stop_tokens = frozenset(tokenizer.eos_token_ids)
        self._at_newline = at_newline
        self._marks: dict[int, bool] = {}
        self._prompts = prompts
        self._left_open: dict[int, str] = {}
        self._limits = limits
        self._tokens: dict[int, list[int]] = {}
        self._batch: dict[int, tuple[int, ...]] = {}

    def begin(self, batch: ReadyBatch) -> ReadyBatch:
        """Note the rows of a batch that begins, and return the batch."""
        rows, _ = batch
        self._tokens.update({row: [] for row in rows})
        self._batch.update(dict.fromkeys(rows, rows))
        return batch

    def take(self, row: int, token: int) -> Generation | None:
        """Add a token to a row; returns the answer if that token was the last."""
        tokens = self._tokens[row]
        tokens.append(token)
        finish = self._finish(row, token)
        if finish is None and len(tokens) < self._limits[row]:
            return None
        del self._tokens[row]
        text = self._text(tokens[:-1] if finish == "stop" else tokens)
        if self._at_newline:
            text = text.split("\n", 1)[0]
        return Generation(text, len(tokens), finish or "length")

    def ended(self, row: int) -> tuple[int, ...]:
        """The rows of ``row``'s batch if all of them are answered, else none."""
        batch = self._batch[row]
        return () if any(other in self._tokens for other in batch) else batch

    def _finish(self, row: int, token: int) -> Finish | None:
        """Why ``token`` ends its row, or None if it does not."""
        if token in self._stop_tokens:
            return "stop"
        if token not in self._marks:
            # A newline or a backquote is one byte, so no tokenizer splits it: looking at one token
            # is enough to know that nothing ends here.
            self._marks[token] = ("\n" if self._at_newline else "`") in self._text([token])
        if not self._marks[token]:
            return None
        if self._at_newline:
            return "newline"
        if row not in self._left_open:
            self._left_open[row] = left_open(self._text(list(self._prompts[row])))
        text = self._left_open[row] + self._text(self._tokens[row])
        return "fence" if closes_query(text) else None

    def _text(self, tokens: list[int]) -> str:
        """The text of ``tokens`` exactly; HF's clean-up would take spaces out of SQL values."""
        return str(self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False))


def _decoded_together(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], protocol: GenerationProtocol
) -> tuple[int, int]:
    """Rows of a batch, and how many batches are decoded as one."""
    if not prompts or not batchable(loaded.model):
        return 1, 1
    # A row that is done may go on, unread, for as long as the others have an answer to finish.
    longest = max(map(len, prompts)) + 2 * protocol.max_new_tokens
    context = ModelConfig(loaded.base.config).context
    if context is not None and longest > context:
        return protocol.batch_size, 1
    chosen = loaded.answering.batches
    return protocol.batch_size, fitting_batches(loaded.model, chosen, protocol.batch_size, longest)


def _max_new_tokens(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> list[int]:
    """The most new tokens of each prompt; all prompts are checked before one is answered."""
    context = ModelConfig(loaded.base.config).context
    limits = []
    for position, prompt in enumerate(prompts):
        if not prompt:
            raise UserError(f"prompt {position} has no tokens; a prompt needs at least one")
        left = max_new_tokens if context is None else min(max_new_tokens, context - len(prompt))
        if left < 1:
            raise UserError(
                f"prompt {position} has {len(prompt)} tokens, but the model's context is "
                f"{context}, of which at least one must be left for the answer. Shorten the "
                "table or question, or use a model with a longer context (--model)."
            )
        limits.append(left)
    return limits
