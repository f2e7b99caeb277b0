"""A tokenizer's chat template: messages -> text; a template's own errors in one line.

Chat templates are Jinja programs that the models' authors wrote: some refuse a system message,
some want the roles to alternate, some are broken. `prompts.py` and `tokens.py` choose the messages.
"""

from __future__ import annotations

from typing import Any

import jinja2

from harness.errors import UserError

TEMPLATE_ERRORS = (
    *(jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)
"""What a chat template raises: Jinja's own errors, those of its expressions, and mlx-lm's."""


def has_chat_template(tokenizer: Any) -> bool:
    """Whether ``tokenizer`` (mlx-lm's wrapper or Hugging Face's) can render a conversation."""
    has = getattr(tokenizer, "has_chat_template", None)
    return bool(getattr(tokenizer, "chat_template", None) if has is None else has)


def render_conversation(tokenizer: Any, messages: list[dict[str, str]], answered: bool) -> str:
    """``messages`` as text for prompt style `chat`; ``answered``: the last one is the answer.

    Raises:
        UserError: the template refuses the messages, or is broken; its own words are quoted.
    """
    try:
        rendered = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=not answered, enable_thinking=False
        )
    except TEMPLATE_ERRORS as error:
        roles = " and ".join(message["role"] for message in messages)
        raise UserError(
            f"prompt style 'chat': the model's chat template refuses a conversation of {roles}: "
            f"{template_error(error)}. Use --prompt-style=dialect or sql, another model, or "
            "correct its chat_template."
        ) from error
    return str(rendered)


def template_error(error: Exception) -> str:
    """The first line of a template's error, with the line of the template where it is known."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    line = getattr(error, "lineno", None)
    return first if line is None else f"{first} (line {line} of the template)"
