"""The tokens that a tokenizer puts around a text: its BOS, its EOS, and those that end an answer.

Tokenizer + prompt style -> :class:`SpecialTokens`, found once for many rows; :func:`encode` gives
the tokens of a text with BOS as the tokenizer adds it and without the EOS that some append. The
rows of a dataset are made in `tokens.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.data.chat_template import has_chat_template, render_conversation
from harness.data.prompts import PromptStyle
from harness.errors import UserError


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """BOS, EOS and stop tokens of one tokenizer with one prompt style."""

    bos: str | None
    """The text of the BOS token; None where the tokenizer does not add it by itself."""
    adds_eos: bool
    """Whether the tokenizer ends every text with its EOS."""
    eos: int
    stop: int
    """The token that ends a row."""
    stops: frozenset[int]
    """Every token at which generation would stop."""


def encode(tokenizer: Any, text: str, special: SpecialTokens) -> list[int]:
    """The tokens of ``text``: BOS as the tokenizer adds it, never twice; no EOS."""
    # A chat template may write the BOS that the tokenizer then adds again.
    tokens = [int(token) for token in tokenizer.encode(text.removeprefix(special.bos or ""))]
    # Some tokenizers end every text with EOS; `tokens.py` adds the stop token once.
    if special.adds_eos and tokens[-1:] == [special.eos]:
        tokens.pop()
    return tokens


def special_tokens(tokenizer: Any, style: PromptStyle) -> SpecialTokens:
    """What ``tokenizer`` puts around texts of ``style``.

    Raises:
        UserError: the tokenizer has no end-of-text token.
    """
    eos = tokenizer.eos_token_id
    if eos is None:
        raise UserError(
            "this tokenizer has no end-of-text token (eos_token), so an answer could never stop. "
            "Set eos_token in the model's tokenizer_config.json."
        )
    stops = stop_tokens(tokenizer)
    stop = int(eos)
    if style.chat and has_chat_template(tokenizer):
        stop = _end_of_turn(tokenizer, stops, default=stop)
    probe = list(tokenizer.encode("a"))
    adds_bos = tokenizer.bos_token_id is not None and probe[:1] == [tokenizer.bos_token_id]
    bos = str(tokenizer.bos_token) if adds_bos else None
    return SpecialTokens(bos, probe[-1:] == [eos], int(eos), stop, stops)


def stop_tokens(tokenizer: Any) -> frozenset[int]:
    """Every token at which generation stops: the EOS, and what else the model's files name."""
    # Only mlx-lm's wrapper knows several; Hugging Face gives the one EOS under this name too.
    known = getattr(tokenizer, "eos_token_ids", None)
    several = known if isinstance(known, set | frozenset | list | tuple) else ()
    return frozenset({int(tokenizer.eos_token_id), *map(int, several)})


def _end_of_turn(tokenizer: Any, stops: frozenset[int], default: int) -> int:
    """The stop token with which the chat template closes an assistant's turn, if it does."""
    answer = "SELECT 1"
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]
    rendered = render_conversation(tokenizer, messages, answered=True)
    tail = rendered.rpartition(answer)[2]
    tokens = tokenizer.encode(tail, add_special_tokens=False) if tail else []
    return int(tokens[0]) if tokens and int(tokens[0]) in stops else default
