"""The evaluation's answers: token prompts -> greedy texts, by one named protocol.

DESIGN.md section 5, generation: greedy, at most 128 new tokens, stopped at a stop token or the
first newline, 16 prompts at a time in length order (of 64 neighbours that share beginnings, by
the length of what they do not share: ``prefixes.py``). A batch is fixed by the prompts alone,
never by what the model answers, so that a low-precision model, whose batched answers may differ
from its single ones, still gives the same answers every time. On the CPU, in float32, several
batches go through the model as one (``running.py``), and adapters are folded into the weights.
Reading the texts as SQL is `sql`'s business; the speed of generation is ``speed.py``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness import protocols
from harness.disk.journal import Journal
from harness.errors import UserError
from harness.measure.decode import BatchDecoder, batchable, decoders
from harness.measure.running import run
from harness.models.config import ModelConfig
from harness.models.cpu.decode_batches import fitting
from harness.models.cpu.merged_adapters import merged
from harness.progress import ProgressCallback, silent
from harness.sharding import SINGLE_RANK, Shard

if TYPE_CHECKING:
    from harness.models.load import LoadedModel

Finish = Literal["stop", "newline", "length"]
"""Why a row ended: a stop token, the first newline, or the limit on new tokens."""


@dataclass(frozen=True, slots=True)
class GenerationProtocol:
    """How answers are generated; a change raises the stage version in ``pipeline/cache_keys``."""

    name: str = protocols.GENERATION
    max_new_tokens: int = 128
    batch_size: int = protocols.BATCH_ROWS
    """Prompts decoded together, cut from length order."""
    stop_at_newline: bool = True
    """End at the first newline, as one answer of the dialect is one line."""

    def describe(self) -> str:
        """The protocol in words, to print beside its numbers."""
        newline = " or the first newline" if self.stop_at_newline else ""
        return (
            f"{self.name}: greedy, at most {self.max_new_tokens} new tokens, to a stop token"
            f"{newline}, batch {self.batch_size} in length order"
        )


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer: its text before the stop, the tokens that were decoded, why it ended.

    ``tokens`` includes the one that ended it.
    """

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
        progress: told the answers finished.
        kept: batches of an earlier, killed process, which are not answered again; new ones are
            added. The same prompts, model and protocol must have made them.
        share: of several ranks, which batches are this one's; all get every answer.

    Raises:
        UserError: a prompt is empty or does not fit the model's context.
    """
    protocol = protocol or GenerationProtocol()
    room = _room(loaded, prompts, protocol.max_new_tokens)
    stops = _Stops(loaded.tokenizer, protocol.stop_at_newline)
    found = {row: Generation(**fields) for row, fields in kept.rows.items()} if kept else {}

    answering = _Answering(stops, room)

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
        with wired_limit(loaded.model), merged(loaded.model):
            size, join = _together(loaded, prompts, protocol)
            ready = decoders(loaded.model, prompts, protocol.batch_size, frozenset(found), share)
            run(map(answering.begun, ready), size, join, take)
    finally:
        loaded.model.train(was_training)
    for ours in share.gather([[row, asdict(answer)] for row, answer in found.items()]):
        found.update({row: Generation(**fields) for row, fields in ours})
    return [found[position] for position in range(len(prompts))]


class _Stops:
    """Which tokens end an answer."""

    def __init__(self, tokenizer: Any, at_newline: bool) -> None:
        self._tokenizer = tokenizer
        self._stop_tokens = frozenset(tokenizer.eos_token_ids)
        self._at_newline = at_newline
        self._newlines: dict[int, bool] = {}

    def reason(self, token: int) -> Finish | None:
        """Why ``token`` ends its row, or None if it does not."""
        if token in self._stop_tokens:
            return "stop"
        if self._at_newline and token not in self._newlines:
            # A newline is one byte, so no tokenizer splits it: looking at one token is enough.
            self._newlines[token] = "\n" in self.text([token])
        return "newline" if self._newlines.get(token) else None

    def text(self, tokens: list[int]) -> str:
        """The text of ``tokens`` exactly; HF's clean-up would take spaces out of SQL values."""
        return str(self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False))

    def generation(self, tokens: list[int], finish: Finish) -> Generation:
        """The answer of a row that ended with the last of ``tokens``."""
        text = self.text(tokens[:-1] if finish == "stop" else tokens)
        if self._at_newline:
            text = text.split("\n", 1)[0]
        return Generation(text, len(tokens), finish)


class _Answering:
    """The rows that are being answered, and the batches they are of."""

    def __init__(self, stops: _Stops, room: Sequence[int]) -> None:
        """``room`` is the limit on new tokens by position."""
        self._stops = stops
        self._room = room
        self._tokens: dict[int, list[int]] = {}
        self._batch: dict[int, tuple[int, ...]] = {}

    def begun(
        self, batch: tuple[tuple[int, ...], BatchDecoder]
    ) -> tuple[tuple[int, ...], BatchDecoder]:
        """Note the rows of a batch that begins; it is passed on."""
        rows, _ = batch
        self._tokens.update({row: [] for row in rows})
        self._batch.update(dict.fromkeys(rows, rows))
        return batch

    def take(self, row: int, token: int) -> Generation | None:
        """One more token of a row; its answer if that was the last."""
        tokens = self._tokens[row]
        tokens.append(token)
        reason = self._stops.reason(token)
        if reason is None and len(tokens) < self._room[row]:
            return None
        del self._tokens[row]
        return self._stops.generation(tokens, reason or "length")

    def ended(self, row: int) -> tuple[int, ...]:
        """The rows of ``row``'s batch if all of them are answered, else none."""
        batch = self._batch[row]
        return () if any(other in self._tokens for other in batch) else batch


def _together(
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
    return protocol.batch_size, fitting(loaded.model, protocol.batch_size, longest)


def _room(loaded: LoadedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[int]:
    """New tokens each prompt may have, all prompts checked before the first is answered."""
    context = ModelConfig(loaded.base.config).context
    room = []
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
        room.append(left)
    return room
