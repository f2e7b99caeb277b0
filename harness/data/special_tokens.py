"""What a tokenizer puts around a text: its BOS, its EOS, and the tokens at which it stops.

Tokenizer + prompt style -> :class:`Edges`, asked once for many rows; :func:`encode` gives a text's
tokens with BOS as the tokenizer adds it and without the EOS that some append. Rows are made of
them in `tokens.py` and `text_tokens.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.data.chat_template import chat_template_of, conversation
from harness.data.prompts import PromptStyle
from harness.errors import UserError


@dataclass(frozen=True, slots=True)
class Edges:
    """What a tokenizer puts around a text, asked once: its BOS, EOS, and where it stops."""

    bos: str | None
    """The BOS text, where the tokenizer adds BOS by itself."""
    adds_eos: bool
    eos: int
    stop: int
    """What ends a row."""
    stops: frozenset[int]
    """Every token at which generation would stop."""


def encode(tokenizer: Any, text: str, edges: Edges) -> list[int]:
    """Tokens of ``text``: BOS as the tokenizer adds it, never twice; no EOS."""
    # A chat template may write the BOS that the tokenizer then adds again.
    tokens = [int(token) for token in tokenizer.encode(text.removeprefix(edges.bos or ""))]
    # Some tokenizers end every text with EOS; the stop token is added once, by us.
    if edges.adds_eos and tokens[-1:] == [edges.eos]:
        tokens.pop()
    return tokens


def edges_of(tokenizer: Any, style: PromptStyle) -> Edges:
    """What ``tokenizer`` does around texts of ``style``.

    Raises:
        UserError: it has no end-of-text token.
    """
    eos = tokenizer.eos_token_id
    if eos is None:
        raise UserError(
            "this tokenizer has no end-of-text token (eos_token), so an answer could never stop. "
            "Set eos_token in the model's tokenizer_config.json."
        )
    stops = stop_tokens(tokenizer)
    stop = int(eos)
    if style.chat and chat_template_of(tokenizer):
        stop = _turn_end(tokenizer, stops, default=stop)
    probe = list(tokenizer.encode("a"))
    adds_bos = tokenizer.bos_token_id is not None and probe[:1] == [tokenizer.bos_token_id]
    bos = str(tokenizer.bos_token) if adds_bos else None
    return Edges(bos, probe[-1:] == [eos], int(eos), stop, stops)


def stop_tokens(tokenizer: Any) -> frozenset[int]:
    """Every token at which generation stops: the EOS, and what else the model's files name."""
    # Only mlx-lm's wrapper knows several; Hugging Face gives the one EOS under this name too.
    known = getattr(tokenizer, "eos_token_ids", None)
    several = known if isinstance(known, set | frozenset | list | tuple) else ()
    return frozenset({int(tokenizer.eos_token_id), *map(int, several)})


def _turn_end(tokenizer: Any, stops: frozenset[int], default: int) -> int:
    """The stop token with which the chat template closes an assistant's turn, if it does."""
    answer = "SELECT 1"
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]
    rendered = conversation(tokenizer, messages, answered=True)
    tail = rendered.rpartition(answer)[2]
    tokens = tokenizer.encode(tail, add_special_tokens=False) if tail else []
    return int(tokens[0]) if tokens and int(tokens[0]) in stops else default
