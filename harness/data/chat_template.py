"""A tokenizer's chat template: messages -> text, its refusals in one line.

Templates are programs of the models' authors: some take no system's turn, some want turns to
alternate, some are broken. What is said in them is the callers' (`prompts.py`, `text_tokens.py`).
"""

from __future__ import annotations

from typing import Any

import jinja2

from harness.errors import UserError

REFUSALS = (
    *(jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)
"""What a chat template raises: jinja's own errors, those of its expressions, mlx-lm's."""


def chat_template_of(tokenizer: Any) -> bool:
    """Whether ``tokenizer`` (mlx-lm's wrapper or Hugging Face's) can render a conversation."""
    has = getattr(tokenizer, "has_chat_template", None)
    return bool(getattr(tokenizer, "chat_template", None) if has is None else has)


def conversation(tokenizer: Any, messages: list[dict[str, str]], answered: bool) -> str:
    """``messages`` as prompt style `chat` writes them; ``answered``: the last is the answer.

    Raises:
        UserError: the template refuses them, or is broken; its own words are quoted.
    """
    try:
        rendered = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=not answered, enable_thinking=False
        )
    except REFUSALS as error:
        roles = " and ".join(message["role"] for message in messages)
        raise UserError(
            f"prompt style 'chat': the model's chat template refuses a conversation of {roles}: "
            f"{refusal_of(error)}. Use --prompt-style=dialect or sql, another model, or mend its "
            "chat_template."
        ) from error
    return str(rendered)


def refusal_of(error: Exception) -> str:
    """What a template said, on one line."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    line = getattr(error, "lineno", None)
    return first if line is None else f"{first} (line {line} of the template)"
