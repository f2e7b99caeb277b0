"""The token row that training and measuring share; `tokens.py` and `text_tokens.py` make them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """One row. ``tokens[:prompt_length]`` is the prompt; the rest is the answer and its stop token.

    Without ``has_answer`` nothing says where in the text an answer begins: there is no completion
    loss, and ``prompt_length`` is only the place from which a continuation is generated.
    """

    id: int
    table_id: str
    tokens: tuple[int, ...]
    prompt_length: int
    has_answer: bool = True
